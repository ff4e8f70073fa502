use vread_addr::{ByteLen, PageCount, Pfn, VirtAddr, VirtRange};
use vread_iov_iter::SourceFailure;

/// The pages of a huge one: what one entry of a page middle directory maps on machines with pages of 4 KiB.
pub const PMD_PAGES: u64 = 512;

/// Where an [`Arena`](crate::Arena)'s pages come from: a kernel's page allocator, a memfd, the heap.
///
/// To be read, a provider is also a [`PageSource`](vread_iov_iter::PageSource). For a physical address
/// of a frame that nobody has taken, that source gives zeros.
pub trait FrameProvider {
    /// How many frames there are in all, taken or not: no request for more is tried.
    fn total(&self) -> PageCount;

    /// Takes a frame, all of whose bytes are zero; `None` when there is no more.
    fn alloc_frame(&self) -> Option<Pfn>;

    /// Takes [`PMD_PAGES`] frames one after another, all of whose bytes are zero, and returns the first, whose
    /// number is a multiple of that. They are given back one by one. `None` where there are none, or where
    /// the provider cannot tell: then small pages have to do (V28).
    fn alloc_pmd_frames(&self) -> Option<Pfn> {
        None
    }

    /// Takes a frame back. Nobody reads it any more, and nothing maps it.
    fn free_frame(&self, frame: Pfn);

    /// Writes `bytes` to `offset` of a taken frame. They end in the frame.
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where the memory is gone.
    fn write_frame(&self, frame: Pfn, offset: ByteLen, bytes: &[u8]) -> Result<(), SourceFailure>;

    /// Puts `frames` behind the addresses from `at` on, for whoever uses the arena's addresses as
    /// pointers. Nobody does before this returns, and nothing is mapped there.
    ///
    /// An arena whose addresses are no more than names has nothing to do here.
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where that cannot be; some may be mapped then, and are unmapped.
    fn map_frames(&self, at: VirtAddr, frames: &[Pfn]) -> Result<(), SourceFailure> {
        let _ = (at, frames);
        Ok(())
    }

    /// Takes away what [`map_frames`](Self::map_frames) put behind the addresses of `range`, if anything
    /// is there. The frames may go to another area as soon as this returns.
    fn unmap_range(&self, range: VirtRange) {
        let _ = range;
    }
}
