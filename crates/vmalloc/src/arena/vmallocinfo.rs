use alloc::vec::Vec;
use core::fmt;

use lock_api::RawRwLock;
use vread_addr::VirtRange;

use super::{Arena, FrameProvider};
use crate::{VmFlags, VmapArea, VmapAreaFlags};

/// A line of `/proc/vmallocinfo`, as [`Display`](fmt::Display) writes it (V31 to V35), with the real
/// addresses and without caller and NUMA nodes, which an arena does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmallocInfo {
    /// A busy area.
    Busy(VmapArea),
    /// A range that was freed and waits for a purge.
    Unpurged(VirtRange),
}

impl<P: FrameProvider, R: RawRwLock> Arena<P, R> {
    /// What `/proc/vmallocinfo` would list: the areas, lowest first, then the lazily freed ranges (V30).
    /// Areas that are being set up are left out (V34).
    #[must_use]
    pub fn vmallocinfo(&self) -> Vec<VmallocInfo> {
        let shown = |area: &VmapArea| {
            let flags = area.vm.map_or(VmFlags::empty(), |vm| vm.flags);
            !flags.contains(VmFlags::UNINITIALIZED)
        };
        let busy = self.areas().into_iter().filter(shown);
        let lazy = self.lazily_freed().into_iter();
        busy.map(VmallocInfo::Busy)
            .chain(lazy.map(VmallocInfo::Unpurged))
            .collect()
    }
}

impl fmt::Display for VmallocInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let area = match self {
            Self::Unpurged(range) => {
                write_range(f, range)?;
                return f.write_str(" unpurged vm_area");
            }
            Self::Busy(area) => area,
        };
        write_range(f, &area.range)?;
        let Some(vm) = &area.vm else {
            return match area.flags.contains(VmapAreaFlags::RAM) {
                true => f.write_str(" vm_map_ram"),
                false => Ok(()),
            };
        };
        if vm.nr_pages.get() != 0 {
            write!(f, " pages={}", vm.nr_pages.get())?;
        }
        if vm.phys_addr.get() != 0 {
            write!(f, " phys={:#018x}", vm.phys_addr.get())?;
        }
        let words = [
            (VmFlags::IOREMAP, " ioremap"),
            (VmFlags::SPARSE, " sparse"),
            (VmFlags::ALLOC, " vmalloc"),
            (VmFlags::MAP, " vmap"),
            (VmFlags::USERMAP, " user"),
            (VmFlags::DMA_COHERENT, " dma-coherent"),
        ];
        for (flag, word) in words {
            if vm.flags.contains(flag) {
                f.write_str(word)?;
            }
        }
        Ok(())
    }
}

fn write_range(f: &mut fmt::Formatter<'_>, range: &VirtRange) -> fmt::Result {
    let (start, end, len) = (range.start().get(), range.end().get(), range.len().get());
    write!(f, "{start:#018x}-{end:#018x} {len:7}")
}
