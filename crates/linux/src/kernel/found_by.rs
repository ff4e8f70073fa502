use std::fmt;

use vread_addr::PhysAddr;

use crate::PagingLevels;

/// What a processor of the machine uses for paging, in the VMM's word: where to begin to look for the
/// kernel that runs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuPaging {
    /// The register `CR3`.
    pub cr3: u64,
    /// How many levels the tables have, by `LA57` of `CR4`.
    pub levels: PagingLevels,
}

/// Which way led to a kernel's VMCOREINFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// The page table of a processor, and the pointers in the image that it maps.
    Processor,
    /// The lowest part of RAM, where it lies nearly always on small machines.
    LowMemory,
    /// A scan of all RAM.
    WholeScan,
}

/// `CR3`'s address of a table; the bits around it are flags and the process's number.
const ROOT_BITS: u64 = 0x000f_ffff_ffff_f000;
/// Where kernels keep user space's own table apart from theirs, it is the second of a pair of pages.
const USER_TABLE: u64 = 1 << 12;

impl CpuPaging {
    /// The tables that may map the kernel: the one in use, and the kernel's own if that is user space's.
    pub(super) fn roots(self) -> impl Iterator<Item = PhysAddr> {
        let root = self.cr3 & ROOT_BITS;
        let of_kernel = (root & USER_TABLE != 0).then_some(root & !USER_TABLE);
        [Some(root), of_kernel]
            .into_iter()
            .flatten()
            .map(PhysAddr::new)
    }
}

impl fmt::Display for FoundBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processor => "the page table of a vCPU",
            Self::LowMemory => "a scan of low memory",
            Self::WholeScan => "a scan of all memory",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_the_kernels_table_beside_that_of_user_space() {
        let roots = |cr3| {
            let levels = PagingLevels::Four;
            let roots = CpuPaging { cr3, levels }.roots();
            roots.map(PhysAddr::get).collect::<Vec<_>>()
        };
        assert_eq!(roots(0x8000_0000_0123_4005), [0x123_4000]);
        assert_eq!(roots(0x123_5806), [0x123_5000, 0x123_4000]);
    }
}
