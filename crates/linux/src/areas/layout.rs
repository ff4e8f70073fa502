use vread_addr::{ByteLen, PageCount, PhysAddr, VirtAddr, VirtRange};
use vread_vmalloc::{VmFlags, VmStruct, VmapAreaFlags};

use crate::fields::{u32_at, u64_at};
use crate::{Btf, LinuxError};

/// The most bytes that are copied of a `vmap_area` or a `vm_struct`. Both have 64 to 80 (G42).
pub(super) const MAX_RECORD_LEN: usize = 128;

/// Where the members of Linux's `vmap_area` and `vm_struct` lie, from BTF: offsets in bytes (G42).
#[derive(Debug, Clone, Copy)]
pub(crate) struct AreaLayout {
    pub(super) area_len: usize,
    pub(super) va_start: usize,
    pub(super) va_end: usize,
    pub(super) list: usize,
    /// `None` where the word is something else, as in areas that were freed.
    pub(super) vm: Option<usize>,
    /// Since 6.9.
    pub(super) flags: Option<usize>,
    /// The link of areas that were freed, where that is a list of its own (before 6.1).
    pub(super) purge_list: Option<usize>,
    pub(super) vm_len: usize,
    pub(super) vm_size: usize,
    pub(super) vm_flags: usize,
    pub(super) pages: usize,
    pub(super) nr_pages: usize,
    /// 4 bytes up to 6.12, 8 in 7.2.
    pub(super) nr_pages_len: usize,
    pub(super) phys_addr: usize,
    pub(super) caller: usize,
    /// `vmap_node`, since 6.9.
    pub(super) node: Option<NodeLayout>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct NodeLayout {
    pub(super) len: ByteLen,
    pub(super) busy: ByteLen,
    pub(super) lazy: ByteLen,
}

/// What a `vmap_area` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AreaRecord {
    pub(super) range: VirtRange,
    pub(super) flags: VmapAreaFlags,
    /// Where the descriptor lies, if there is one.
    pub(super) vm: Option<VirtAddr>,
    /// The list entries before and behind.
    pub(super) prev: VirtAddr,
    pub(super) next: VirtAddr,
}

/// What a `vm_struct` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DescriptorRecord {
    pub(super) vm: VmStruct,
    /// Where the array of page descriptors' addresses lies.
    pub(super) pages: VirtAddr,
}

impl AreaLayout {
    pub(crate) fn from_btf(btf: &Btf) -> Result<Self, LinuxError> {
        let offset = |name: &'static str| {
            let found = btf.offset_of(name).and_then(ByteLen::to_usize);
            found.ok_or(LinuxError::NoType { name })
        };
        let size = |name: &'static str| {
            let len = btf.size_of_struct(name).and_then(ByteLen::to_usize);
            len.filter(|len| *len <= MAX_RECORD_LEN)
                .ok_or(LinuxError::NoType { name })
        };
        let node = |len: ByteLen| {
            Some(NodeLayout {
                len,
                busy: btf.offset_of("vmap_node.busy.head")?,
                lazy: btf.offset_of("vmap_node.lazy.head")?,
            })
        };
        let nr_pages_len = btf.size_of_member("vm_struct.nr_pages");
        Ok(Self {
            area_len: size("vmap_area")?,
            va_start: offset("vmap_area.va_start")?,
            va_end: offset("vmap_area.va_end")?,
            list: offset("vmap_area.list")?,
            vm: Some(offset("vmap_area.vm")?),
            flags: offset("vmap_area.flags").ok(),
            purge_list: offset("vmap_area.purge_list").ok(),
            vm_len: size("vm_struct")?,
            vm_size: offset("vm_struct.size")?,
            vm_flags: offset("vm_struct.flags")?,
            pages: offset("vm_struct.pages")?,
            nr_pages: offset("vm_struct.nr_pages")?,
            nr_pages_len: nr_pages_len.and_then(ByteLen::to_usize).unwrap_or(4),
            phys_addr: offset("vm_struct.phys_addr")?,
            caller: offset("vm_struct.caller")?,
            node: btf.size_of_struct("vmap_node").and_then(node),
        })
    }

    /// That of 6.12 (G42), for memory that is made up.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) const fn of_6_12() -> Self {
        Self {
            area_len: 72,
            va_start: 0,
            va_end: 8,
            list: 40,
            vm: Some(56),
            flags: Some(64),
            purge_list: None,
            vm_len: 72,
            vm_size: 16,
            vm_flags: 24,
            pages: 32,
            nr_pages: 44,
            nr_pages_len: 4,
            phys_addr: 48,
            caller: 56,
            node: Some(NodeLayout {
                len: ByteLen::new(6272),
                busy: ByteLen::new(6160),
                lazy: ByteLen::new(6192),
            }),
        }
    }

    /// For areas that were freed: the descriptor's word is used for something else then.
    pub(super) fn without_descriptors(self) -> Self {
        Self { vm: None, ..self }
    }

    /// Decodes the bytes of a `vmap_area`; `None` where its range cannot be that of any area.
    #[inline]
    pub(super) fn area(&self, bytes: &[u8]) -> Option<AreaRecord> {
        let pointer = |at| u64_at(bytes, at).map(VirtAddr::new);
        let range = VirtRange::new(pointer(self.va_start)?, pointer(self.va_end)?)?;
        let aligned = range.start().is_page_aligned() && range.end().is_page_aligned();
        if range.is_empty() || !aligned {
            return None;
        }
        let flags = match self.flags {
            Some(at) => Self::type_flags(u64_at(bytes, at)?),
            None => VmapAreaFlags::empty(),
        };
        Some(AreaRecord {
            range,
            flags,
            vm: self.vm.and_then(pointer).filter(|vm| vm.get() != 0),
            next: pointer(self.list)?,
            prev: pointer(self.list.checked_add(8)?)?,
        })
    }

    /// What kind of area `vmap_area.flags` says it is. V2: the byte above the two type bits is a node's
    /// number.
    #[inline]
    pub(super) fn type_flags(word: u64) -> VmapAreaFlags {
        VmapAreaFlags::from_bits_truncate(word & 3)
    }

    /// Decodes the bytes of a `vm_struct`.
    #[inline]
    pub(super) fn descriptor(&self, bytes: &[u8]) -> Option<DescriptorRecord> {
        let word = |at| u64_at(bytes, at);
        let nr_pages = match self.nr_pages_len {
            4 => u64::from(u32_at(bytes, self.nr_pages)?),
            _ => word(self.nr_pages)?,
        };
        Some(DescriptorRecord {
            vm: VmStruct {
                size: ByteLen::new(word(self.vm_size)?),
                flags: VmFlags::from_bits_retain(word(self.vm_flags)?),
                nr_pages: PageCount::new(nr_pages),
                phys_addr: PhysAddr::new(word(self.phys_addr)?),
                caller: VirtAddr::new(word(self.caller)?),
            },
            pages: VirtAddr::new(word(self.pages)?),
        })
    }
}
