//! What an arena of the benches is made of.

use std::sync::atomic::{AtomicU64, Ordering};

use vread_addr::{ByteLen, PageCount, Pfn, PhysAddr, VirtAddr, VirtRange};
use vread_iov_iter::{Destination, IovIter, PageSource, Progress, SourceFailure};
use vread_vmalloc::FrameProvider;

/// A frame, where frames lie.
#[repr(align(4096))]
pub(crate) struct Page(pub(crate) [u8; 4096]);

/// Frames full of bytes that nobody writes any more: a source without a lock of its own, as RAM is.
pub(crate) struct Frozen {
    pub(crate) frames: Vec<Box<Page>>,
    taken: AtomicU64,
}

impl Frozen {
    pub(crate) fn new(pages: u64) -> Self {
        let frame = |n: u64| Box::new(Page([u8::try_from(n % 251).unwrap(); 4096]));
        Self {
            frames: (0..pages).map(frame).collect(),
            taken: AtomicU64::new(0),
        }
    }

    /// Frame numbers in an order without neighbours: a stride that shares no factor with a power of two.
    pub(crate) fn scattered(&self, n: u64) -> u64 {
        n * 1657 % ByteLen::from_usize(self.frames.len()).get()
    }
}

impl FrameProvider for Frozen {
    fn total(&self) -> PageCount {
        PageCount::new(ByteLen::from_usize(self.frames.len()).get())
    }
    fn alloc_frame(&self) -> Option<Pfn> {
        let n = self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Pfn::new(self.scattered(n)))
    }
    fn free_frame(&self, _frame: Pfn) {}
    fn write_frame(&self, _: Pfn, _: ByteLen, _: &[u8]) -> Result<(), SourceFailure> {
        Err(SourceFailure::Gone)
    }
}

impl<D: Destination> PageSource<D> for Frozen {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        // No two frames of an area are neighbours, so that a run is a page.
        let frame = usize::try_from(Pfn::containing(start).get()).unwrap();
        let offset = start.page_offset().to_usize_clamped();
        let page = &self.frames[frame].0[offset..offset + len.to_usize_clamped()];
        Progress::copied(ByteLen::from_usize(iter.copy_to_iter_nofault(page)))
    }
}

/// `len` bytes of vmalloc space.
pub(crate) fn window(len: u64) -> VirtRange {
    VirtRange::from_len(VirtAddr::new(0xffff_c900_0000_0000), ByteLen::new(len)).unwrap()
}
