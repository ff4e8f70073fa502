use vread_addr::{ByteLen, PageCount, Pfn};
use vread_iov_iter::SourceFailure;

/// Where an [`Arena`](crate::Arena)'s pages come from: a kernel's page allocator, a memfd, the heap.
///
/// To be read, a provider is also a [`PageSource`](vread_iov_iter::PageSource). For a physical address
/// of a frame that nobody has taken, that source gives zeros.
pub trait FrameProvider {
    /// How many frames there are in all, taken or not: no request for more is tried.
    fn total(&self) -> PageCount;

    /// Takes a frame, all of whose bytes are zero; `None` when there is no more.
    fn alloc_frame(&self) -> Option<Pfn>;

    /// Takes a frame back. Nobody reads it any more, and nothing maps it.
    fn free_frame(&self, frame: Pfn);

    /// Writes `bytes` to `offset` of a taken frame. They end in the frame.
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where the memory is gone.
    fn write_frame(&self, frame: Pfn, offset: ByteLen, bytes: &[u8]) -> Result<(), SourceFailure>;
}
