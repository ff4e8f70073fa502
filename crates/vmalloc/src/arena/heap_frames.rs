use alloc::boxed::Box;
use core::fmt;

use spin::{Mutex, RwLock};
use vread_addr::{ByteLen, PAGE_SIZE, PageCount, Pfn, PhysAddr};
use vread_iov_iter::{Destination, IovIter, PageSource, Progress, SourceFailure};

use super::frames::PMD_PAGES;
use super::{FrameProvider, FreeFrames};

const PAGE_BYTES: usize = 4096;

type Frame = Option<Box<[u8; PAGE_BYTES]>>;

/// Frames on the heap: physical memory for tests, examples and embedders that have no other.
///
/// A frame's memory is allocated when it is taken and freed with it. Its number is its place in the
/// table, so that physical memory starts at 0.
pub struct HeapFrames {
    frames: Box<[RwLock<Frame>]>,
    free: Mutex<FreeFrames>,
}

impl HeapFrames {
    /// `count` frames, none of them taken. They are handed out in the order of their numbers at first;
    /// later the frame freed last goes first, which scatters areas.
    #[must_use]
    pub fn new(count: PageCount) -> Self {
        Self {
            frames: (0..count.get()).map(|_| RwLock::new(None)).collect(),
            free: Mutex::new(FreeFrames::in_order(count)),
        }
    }

    /// How many frames are taken.
    #[must_use]
    pub fn taken(&self) -> PageCount {
        self.free.lock().taken()
    }

    /// Gives a frame that was taken its memory.
    fn fill(&self, frame: Pfn) {
        if let Some(slot) = self.frame(frame) {
            *slot.write() = Some(Box::new([0; PAGE_BYTES]));
        }
    }

    fn frame(&self, frame: Pfn) -> Option<&RwLock<Frame>> {
        usize::try_from(frame.get())
            .ok()
            .and_then(|index| self.frames.get(index))
    }
}

impl FrameProvider for HeapFrames {
    fn total(&self) -> PageCount {
        PageCount::new(ByteLen::from_usize(self.frames.len()).get())
    }

    fn alloc_frame(&self) -> Option<Pfn> {
        let frame = self.free.lock().take()?;
        self.fill(frame);
        Some(frame)
    }

    fn alloc_pmd_frames(&self) -> Option<Pfn> {
        let first = self.free.lock().take_pmd()?;
        // WRAP: frames of the table.
        (0..PMD_PAGES).for_each(|n| self.fill(Pfn::new(first.get().wrapping_add(n))));
        Some(first)
    }

    fn free_frame(&self, frame: Pfn) {
        let taken = self.frame(frame).and_then(|slot| slot.write().take());
        // A frame that is not taken is not ours to hand out twice.
        if taken.is_some() {
            self.free.lock().give_back(frame);
        }
    }

    fn write_frame(&self, frame: Pfn, offset: ByteLen, bytes: &[u8]) -> Result<(), SourceFailure> {
        let slot = self.frame(frame).ok_or(SourceFailure::Gone)?;
        let mut slot = slot.write();
        let target = slot
            .as_mut()
            .and_then(|page| page.get_mut(offset.to_usize()?..))
            .and_then(|tail| tail.get_mut(..bytes.len()))
            .ok_or(SourceFailure::Gone)?;
        target.copy_from_slice(bytes);
        Ok(())
    }
}

impl<D: Destination> PageSource<D> for HeapFrames {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        let mut total = Progress::default();
        let mut at = start;
        let mut left = len;
        while !left.is_zero() && total.stopped.is_none() {
            let offset = at.page_offset();
            let want = PAGE_SIZE.saturating_sub(offset).min(left);
            let slot = self.frame(Pfn::containing(at)).map(RwLock::read);
            let bytes = slot
                .as_ref()
                .and_then(|slot| slot.as_ref())
                .and_then(|page| page.get(offset.to_usize()?..))
                .and_then(|tail| tail.get(..want.to_usize()?));
            let step = match bytes {
                Some(bytes) => {
                    Progress::copied(ByteLen::from_usize(iter.copy_to_iter_nofault(bytes)))
                }
                None => Progress::zeroed(ByteLen::from_usize(
                    iter.zero_nofault(want.to_usize_clamped()),
                )),
            };
            total = total.then(step.or_dest_fault(want));
            // WRAP: the last page of the physical space may be asked for.
            at = at.wrapping_add(step.advanced());
            left = left.saturating_sub(step.advanced());
        }
        total
    }
}

impl fmt::Debug for HeapFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapFrames")
            .field("total", &self.total())
            .field("taken", &self.taken())
            .finish()
    }
}
