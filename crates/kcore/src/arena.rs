use alloc::vec::Vec;

use lock_api::RawRwLock;
use vread_addr::{ByteLen, VirtAddr};
use vread_iov_iter::{Destination, IovIter, PageSource, Progress};
use vread_vmalloc::{Arena, FrameProvider, vread_iter};

use crate::{KcoreSegment, KernelMemory, SegmentKind};

/// The segments of an arena's own kcore: one, of kind [`Vmalloc`](SegmentKind::Vmalloc), over the
/// arena's window.
#[must_use]
pub fn arena_segments<P: FrameProvider, R: RawRwLock>(arena: &Arena<P, R>) -> Vec<KcoreSegment> {
    let window = arena.window();
    [KcoreSegment {
        kind: SegmentKind::Vmalloc,
        start: window.start(),
        len: window.len(),
        phys: None,
    }]
    .into()
}

impl<D, P, R> KernelMemory<D> for Arena<P, R>
where
    D: Destination,
    P: FrameProvider + PageSource<D>,
    R: RawRwLock,
{
    fn vread_iter(&self, iter: &mut IovIter<'_, D>, addr: VirtAddr, len: ByteLen) -> Progress {
        vread_iter(self, iter, addr, len)
    }

    /// Zeros: an arena has no text, no direct map and no page descriptors.
    fn copy_segment_to_iter_nofault(
        &self,
        _segment: &KcoreSegment,
        iter: &mut IovIter<'_, D>,
        _addr: VirtAddr,
        len: ByteLen,
    ) -> Progress {
        let zeroed = iter.zero_nofault(len.to_usize_clamped());
        Progress::zeroed(ByteLen::from_usize(zeroed)).or_dest_fault(len)
    }
}
