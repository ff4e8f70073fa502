use std::ops::Deref;

use vread_addr::{ByteLen, PhysAddr, VirtAddr};
use vread_iov_iter::{IovIter, PageSource, Progress, SourceFailure};
use vread_nofault::UserBuf;
use vread_vmalloc::{PageRun, VmapArea, VmapSpace};

use super::Kernel;
use crate::LinuxError;

/// A copy of an area. Nothing of a target can be held, so an area may be freed while it is read; the
/// page table, walked for every page, is what decides then (G54).
#[derive(Debug)]
pub struct AreaCopy(VmapArea);

impl Deref for AreaCopy {
    type Target = VmapArea;

    fn deref(&self) -> &VmapArea {
        &self.0
    }
}

impl VmapSpace for Kernel {
    type Locked<'a> = AreaCopy;

    /// The last walk of the areas says where to look; what is there is read anew each time. Where the
    /// records have changed, or something is mapped where no area was, the areas are walked anew and
    /// that decides.
    fn find_vmap_area_exceed_addr_lock(
        &self,
        addr: VirtAddr,
        within: ByteLen,
    ) -> Result<Option<AreaCopy>, SourceFailure> {
        let hint = self.hints.with(addr, |hint| hint.map(|hint| hint.known));
        // The bytes before the next area, as far as anybody asks.
        let gap = hint.as_ref().map_or(within, |known| {
            let gap = known.area.range.start().checked_offset_from(addr);
            gap.unwrap_or_default().min(within)
        });
        // Nothing may be mapped there: what is, is in an area that the hint does not know.
        if gap.is_zero() || self.is_unmapped(addr, gap)? {
            match hint {
                Some(known) if gap < within || gap.is_zero() => {
                    if let Some(area) = self.read_area_again(&known) {
                        return Ok(Some(AreaCopy(area)));
                    }
                }
                // The next area is none of the reader's business.
                _ => return Ok(None),
            }
        }
        match self.refresh_hints() {
            Ok(areas) => Ok(areas.find(addr).map(|hint| AreaCopy(hint.known.area))),
            Err(LinuxError::Source(failure)) => Err(failure),
            // A kernel whose areas cannot be had at all, as `Kernel::missing` says: its vmalloc space is not
            // read by areas.
            Err(LinuxError::Needs { .. }) => Ok(None),
            Err(error) => {
                tracing::warn!(%error, "areas cannot be read");
                Err(SourceFailure::Torn)
            }
        }
    }

    fn vmalloc_to_run(&self, addr: VirtAddr, max: ByteLen) -> Result<PageRun, SourceFailure> {
        self.translate_run(addr, max)
    }
}

impl Kernel {
    /// Whether nothing is mapped in the `len` bytes from `addr`. May say no for a very large hole in very
    /// many tables.
    fn is_unmapped(&self, addr: VirtAddr, len: ByteLen) -> Result<bool, SourceFailure> {
        Ok(match self.translate_run(addr, len)? {
            PageRun::Hole { len: hole } => hole >= len.min(addr.bytes_to_top()),
            PageRun::Mapped { .. } => false,
        })
    }
}

impl<'b> PageSource<UserBuf<'b>> for Kernel {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, UserBuf<'b>>,
    ) -> Progress {
        self.mem.copy_run_to_iter_nofault(start, len, iter)
    }
}

#[cfg(test)]
mod tests;
