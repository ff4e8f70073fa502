use core::fmt;

use vread_addr::{ByteLen, PhysAddr, VirtAddr};

/// What a segment of kernel memory is: Linux's `enum kcore_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// The kernel image (`KCORE_TEXT`).
    Text,
    /// The direct map of RAM (`KCORE_RAM`).
    Ram,
    /// Vmalloc space, and the modules' range (`KCORE_VMALLOC`).
    Vmalloc,
    /// The page descriptors (`KCORE_VMEMMAP`).
    Vmemmap,
    /// The vsyscall page (`KCORE_USER`).
    User,
    /// Device memory of some architectures (`KCORE_REMAP`): never read.
    Remap,
}

impl fmt::Display for SegmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Text => "text",
            Self::Ram => "ram",
            Self::Vmalloc => "vmalloc",
            Self::Vmemmap => "vmemmap",
            Self::User => "user",
            Self::Remap => "remap",
        })
    }
}

/// A range of kernel memory of one kind: Linux's `struct kcore_list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KcoreSegment {
    /// What it is.
    pub kind: SegmentKind,
    /// Its first byte.
    pub start: VirtAddr,
    /// Its size in bytes, exactly as its program header says: on x86_64 that of vmalloc space is one
    /// byte short of a page (E14).
    pub len: ByteLen,
    /// Where its first byte lies in physical memory, for text and RAM (E3).
    pub phys: Option<PhysAddr>,
}

impl KcoreSegment {
    /// Whether `addr` lies in the segment.
    #[must_use]
    pub fn contains(&self, addr: VirtAddr) -> bool {
        addr.checked_offset_from(self.start)
            .is_some_and(|offset| offset < self.len)
    }

    /// The address behind the last byte; 0 for the top of the address space.
    #[must_use]
    pub fn wrapping_end(&self) -> VirtAddr {
        // WRAP: no kernel maps the top page, but a segment list is somebody's word.
        self.start.wrapping_add(self.len)
    }
}
