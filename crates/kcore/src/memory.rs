use vread_addr::{ByteLen, VirtAddr};
use vread_iov_iter::{Destination, IovIter, Progress};

use crate::KcoreSegment;

/// A kernel's memory, as [`read_kcore_iter`](crate::read_kcore_iter) asks for it.
///
/// Neither method faults the destination in or sleeps. Each delivers content, and zeros for what
/// cannot or must not be read; a short [`Progress`] says that the destination refused, or that the
/// source as a whole is gone.
pub trait KernelMemory<D: Destination> {
    /// `len` bytes of vmalloc space or of the modules' range from `addr`, for segments of kind
    /// [`Vmalloc`](crate::SegmentKind::Vmalloc): most often
    /// [`vread_vmalloc::vread_iter`](vread_vmalloc::vread_iter).
    fn vread_iter(&self, iter: &mut IovIter<'_, D>, addr: VirtAddr, len: ByteLen) -> Progress;

    /// `len` bytes from `addr` of a segment of another kind.
    ///
    /// `segment` holds the first byte; the last may lie past its end, by less than a page (K10). For
    /// RAM, pages that are offline, poisoned or not mapped are zeros (K15).
    fn copy_segment_to_iter_nofault(
        &self,
        segment: &KcoreSegment,
        iter: &mut IovIter<'_, D>,
        addr: VirtAddr,
        len: ByteLen,
    ) -> Progress;

    /// Called with nothing held after every [`CADENCE`](crate::CADENCE) bytes at most, and between
    /// segments: the place to reschedule, and to let those in who take pages offline (K11, K12).
    fn cond_resched(&self) {}
}
