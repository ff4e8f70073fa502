use vread_addr::{ByteLen, PAGE_SIZE, PageCount, PhysAddr, VirtAddr, VirtRange};

use crate::{VmFlags, VmapAreaFlags};

/// A busy area: Linux's `struct vmap_area`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmapArea {
    /// `[va_start, va_end)`, with the guard page.
    pub range: VirtRange,
    /// What kind of `vm_map_ram` area this is, if it is one.
    pub flags: VmapAreaFlags,
    /// The descriptor, where there is one (V1).
    pub vm: Option<VmStruct>,
}

/// An area's descriptor: what `struct vm_struct` says that matters to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmStruct {
    /// The size in bytes, with the guard page unless [`VmFlags::NO_GUARD`].
    pub size: ByteLen,
    /// What the area is.
    pub flags: VmFlags,
    /// The number of pages that the allocation owns; 0 where it owns none (V5).
    pub nr_pages: PageCount,
    /// Where an ioremapped window points.
    pub phys_addr: PhysAddr,
    /// The return address of whoever allocated it.
    pub caller: VirtAddr,
}

/// What a reader gets of an area. Lengths count from the area's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AreaContent {
    /// Nothing yet or no more: the area counts as a hole (R7, R8).
    Skip,
    /// `len` bytes that must not be touched and read as zeros (R16 b).
    Zeros {
        /// How many.
        len: ByteLen,
    },
    /// `len` bytes of mapped pages, or zeros where nothing is mapped (R16 a, c).
    Pages {
        /// How many.
        len: ByteLen,
    },
}

impl VmapArea {
    /// What a reader gets of this area (R7 to R13, R16).
    ///
    /// The lengths never exceed the area, whatever the descriptor says: the next area's bytes are not
    /// this one's to give.
    #[must_use]
    pub fn content(&self) -> AreaContent {
        let whole = self.range.len();
        let Some(vm) = &self.vm else {
            // R11, V6: an area of `vm_map_ram` has no guard page.
            return match self.flags.is_empty() {
                true => AreaContent::Skip,
                false => AreaContent::Pages { len: whole },
            };
        };
        if vm.flags.contains(VmFlags::UNINITIALIZED) {
            return AreaContent::Skip;
        }
        let len = vm.readable_len().min(whole);
        let untouchable = vm.flags.intersects(VmFlags::IOREMAP | VmFlags::SPARSE);
        match untouchable && !self.flags.contains(VmapAreaFlags::RAM) {
            true => AreaContent::Zeros { len },
            false => AreaContent::Pages { len },
        }
    }
}

impl VmStruct {
    /// The size without the guard page (V6). It is subtracted even from areas that have none, such as
    /// those of the per-CPU allocator, whose last page thus reads as zeros (V8).
    #[must_use]
    pub fn usable_size(&self) -> ByteLen {
        match self.flags.contains(VmFlags::NO_GUARD) {
            true => self.size,
            false => self.size.saturating_sub(PAGE_SIZE),
        }
    }

    /// How much of the area has content: all its pages, where it owns them (R13), else its usable size
    /// (R12).
    ///
    /// Linux has R13 since 7.2, together with an in-place shrink that lowers `nr_pages`; before, both
    /// numbers are the same.
    #[must_use]
    pub fn readable_len(&self) -> ByteLen {
        match self.flags.contains(VmFlags::ALLOC) && self.nr_pages.get() != 0 {
            true => self
                .nr_pages
                .checked_bytes()
                .unwrap_or(ByteLen::new(u64::MAX)),
            false => self.usable_size(),
        }
    }
}
