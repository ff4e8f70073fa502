use lock_api::RawRwLock;
use vread_addr::{ByteLen, PhysAddr, VirtAddr};
use vread_iov_iter::{Destination, IovIter, PageSource, Progress, SourceFailure};

use super::area_state::AreaGuard;
use super::{Arena, FrameProvider};
use crate::{PageRun, VmapSpace};

impl<P: FrameProvider, R: RawRwLock> VmapSpace for Arena<P, R> {
    type Locked<'a>
        = AreaGuard<'a, R>
    where
        Self: 'a;

    fn find_vmap_area_exceed_addr_lock(
        &self,
        addr: VirtAddr,
        within: ByteLen,
    ) -> Result<Option<AreaGuard<'_, R>>, SourceFailure> {
        Ok(self.index.find_exceeding(addr, within))
    }

    #[inline]
    fn vmalloc_to_run(&self, addr: VirtAddr, max: ByteLen) -> Result<PageRun, SourceFailure> {
        Ok(self.table.run(addr, max))
    }

    #[inline]
    fn vmalloc_to_runs(
        &self,
        addr: VirtAddr,
        max: ByteLen,
    ) -> impl Iterator<Item = Result<PageRun, SourceFailure>> {
        self.table.runs(addr, max).map(Ok)
    }
}

impl<D: Destination, P: PageSource<D>, R> PageSource<D> for Arena<P, R> {
    #[inline]
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        self.frames.copy_run_to_iter_nofault(start, len, iter)
    }
}
