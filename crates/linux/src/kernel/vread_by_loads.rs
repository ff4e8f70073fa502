//! Small reads of vmalloc space: what a debugger does all day.

use vread_addr::{ByteLen, PAGE_SIZE, VirtAddr};
use vread_iov_iter::{IovIter, Progress};
use vread_nofault::UserBuf;
use vread_physmem::Loads;

use super::Kernel;

/// The longest read that is tried this way: for more the copy is what takes its time.
const LONGEST: ByteLen = ByteLen::new(256);

impl Kernel {
    /// [`vread_iter`](vread_vmalloc::vread_iter) for the case that nearly every small read is: a few bytes
    /// of one mapped page, of an area that is what it was when the areas were last walked. `None` for
    /// every other case, with nothing done.
    ///
    /// The page table is walked first, so that the bytes travel while the area's records are compared; and
    /// an area that is the same before and after was the same when its page was looked up, which is more
    /// than the other order could say.
    #[inline]
    pub(super) fn vread_by_loads(
        &self,
        iter: &mut IovIter<'_, UserBuf<'_>>,
        addr: VirtAddr,
        len: ByteLen,
    ) -> Option<Progress> {
        if len > LONGEST || addr.page_offset().saturating_add(len) > PAGE_SIZE {
            return None;
        }
        let loads = self.mem.loads()?;
        let phys = self.table.translate_by_loads(&loads, addr)?;
        loads.prefetch(phys);
        if !self.is_unchanged(&loads, addr, len) {
            return None;
        }
        Some(loads.copy_to_iter(phys, len, iter)?.or_dest_fault(len))
    }

    /// Whether the `len` bytes at `addr` are of the pages of one area, which is what it was when the areas were last
    /// walked.
    #[inline]
    fn is_unchanged(&self, loads: &Loads<'_>, addr: VirtAddr, len: ByteLen) -> bool {
        self.hints.with(addr, |hint| {
            hint.zip(self.areas.as_ref()).is_some_and(|(hint, areas)| {
                hint.has_pages(addr, len) && areas.is_unchanged(loads, &hint.known)
            })
        })
    }
}
