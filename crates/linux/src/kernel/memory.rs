use vread_addr::{ByteLen, PhysAddr, VirtAddr};
use vread_iov_iter::{IovIter, PageSource, Progress};
use vread_kcore::{KcoreSegment, KernelMemory, SegmentKind};
use vread_nofault::UserBuf;
use vread_vmalloc::{PageRun, vread_iter};

use super::Kernel;
use crate::memory::{MAX_CHECKED, PageFilter, PageVerdict};

impl<'b> KernelMemory<UserBuf<'b>> for Kernel {
    fn vread_iter(
        &self,
        iter: &mut IovIter<'_, UserBuf<'b>>,
        addr: VirtAddr,
        len: ByteLen,
    ) -> Progress {
        match self.vread_by_loads(iter, addr, len) {
            Some(progress) => progress,
            None => self.vread_by_steps(iter, addr, len),
        }
    }

    /// Text, RAM and page descriptors are read where the page table maps them; what it does not map is
    /// zeros, as the kernel's own fault-tolerant copy gives (K17, G5). Of RAM, pages that must not be
    /// touched are zeros too (K15).
    fn copy_segment_to_iter_nofault(
        &self,
        segment: &KcoreSegment,
        iter: &mut IovIter<'_, UserBuf<'b>>,
        addr: VirtAddr,
        len: ByteLen,
    ) -> Progress {
        match segment.kind {
            SegmentKind::Ram => match &self.page_filter {
                Some(filter) => self.copy_mapped(iter, addr, len, |phys, len, iter| {
                    self.copy_filtered(filter, phys, len, iter)
                }),
                // Without a way to tell which pages must not be touched, none is.
                None => zeros(iter, len),
            },
            SegmentKind::Text | SegmentKind::Vmemmap => {
                self.copy_mapped(iter, addr, len, |phys, len, iter| {
                    self.mem.copy_run_to_iter_nofault(phys, len, iter)
                })
            }
            SegmentKind::Vmalloc => KernelMemory::vread_iter(self, iter, addr, len),
            // Neither is among the segments that a `Kernel` lists.
            SegmentKind::User | SegmentKind::Remap => zeros(iter, len),
        }
    }
}

impl Kernel {
    // Kept apart from the few instructions of the common case.
    #[inline(never)]
    fn vread_by_steps(
        &self,
        iter: &mut IovIter<'_, UserBuf<'_>>,
        addr: VirtAddr,
        len: ByteLen,
    ) -> Progress {
        match self.areas {
            Some(_) => vread_iter(self, iter, addr, len),
            // The page table alone tells what there is. It has no memory of devices either, since that is
            // none of the machine's RAM.
            None => self.copy_mapped(iter, addr, len, |phys, len, iter| {
                self.mem.copy_run_to_iter_nofault(phys, len, iter)
            }),
        }
    }

    /// Copies `len` bytes from `addr`, run by run of what the page table maps, holes as zeros.
    fn copy_mapped<'b>(
        &self,
        iter: &mut IovIter<'_, UserBuf<'b>>,
        addr: VirtAddr,
        len: ByteLen,
        copy: impl Fn(PhysAddr, ByteLen, &mut IovIter<'_, UserBuf<'b>>) -> Progress,
    ) -> Progress {
        let mut total = Progress::default();
        let want = len.min(addr.bytes_to_top());
        while total.stopped.is_none() && total.advanced() < want {
            let left = want.saturating_sub(total.advanced());
            // WRAP: `want` ends at the top of the address space at the latest.
            let cursor = addr.wrapping_add(total.advanced());
            let step = match self.translate_run(cursor, left) {
                Ok(PageRun::Mapped { phys, len }) => copy(phys, len, iter).or_dest_fault(len),
                Ok(PageRun::Hole { len }) => zeros(iter, len).or_dest_fault(len),
                Err(failure) => Progress::failed(failure),
            };
            total = total.then(step);
        }
        total
    }

    /// Copies `len` bytes of RAM from `phys`, pages that must not be touched as zeros.
    fn copy_filtered<'b>(
        &self,
        filter: &PageFilter,
        phys: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, UserBuf<'b>>,
    ) -> Progress {
        let mut total = Progress::default();
        while total.stopped.is_none() && total.advanced() < len {
            let left = len.saturating_sub(total.advanced()).min(MAX_CHECKED);
            // WRAP: a run that the page table maps ends below 2^52.
            let cursor = phys.wrapping_add(total.advanced());
            let step = match filter.check(self.virt(), cursor, left) {
                Ok(PageVerdict::Readable(len)) => self
                    .mem
                    .copy_run_to_iter_nofault(cursor, len, iter)
                    .or_dest_fault(len),
                Ok(PageVerdict::Withheld(len)) => zeros(iter, len).or_dest_fault(len),
                Err(failure) => Progress::failed(failure),
            };
            total = total.then(step);
        }
        total
    }
}

fn zeros(iter: &mut IovIter<'_, UserBuf<'_>>, len: ByteLen) -> Progress {
    let done = iter.zero_nofault(len.to_usize_clamped());
    Progress::zeroed(ByteLen::from_usize(done))
}
