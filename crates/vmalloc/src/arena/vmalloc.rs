use lock_api::RawRwLock;
use vread_addr::{ByteLen, PAGE_SIZE, PageCount, VirtAddr, VirtRange};

use super::area_state::{AreaKind, Frames, Owns, Slot};
use super::frames::PMD_PAGES;
use super::{Arena, ArenaError, FrameProvider};

impl<P: FrameProvider, R: RawRwLock> Arena<P, R> {
    /// An area of `size` bytes, rounded up to pages, all zero. Returns its first address.
    ///
    /// (Linux's `vmalloc` leaves what was in the pages; here no allocation ever shows the bytes of an
    /// earlier one, so that this and `vzalloc` are the same.)
    ///
    /// # Errors
    ///
    /// [`ArenaError::ZeroSize`], [`ArenaError::TooLarge`], [`ArenaError::NoSpace`],
    /// [`ArenaError::OutOfFrames`], [`ArenaError::Map`].
    #[doc(alias = "vzalloc")]
    pub fn vmalloc(&self, size: ByteLen) -> Result<VirtAddr, ArenaError> {
        self.vmalloc_range(size, PAGE_SIZE, self.window())
    }

    /// An area as from [`vmalloc`](Self::vmalloc) that starts at a multiple of `align`, a power of two
    /// of at least a page, and lies in `within` with its guard page: the lowest that fits (V13).
    ///
    /// # Errors
    ///
    /// As for `vmalloc`, and [`ArenaError::Alignment`].
    #[doc(alias = "__vmalloc_node_range")]
    pub fn vmalloc_range(
        &self,
        size: ByteLen,
        align: ByteLen,
        within: VirtRange,
    ) -> Result<VirtAddr, ArenaError> {
        let pages = PageCount::to_hold(size);
        // V9: listed, then filled, then shown.
        let (start, slot) = self.new_area(size, align, within, AreaKind::Vmalloc)?;
        self.fill(start, slot, self.take_frames(pages))
    }

    /// An area as from [`vmalloc`](Self::vmalloc), in huge pages of [`PMD_PAGES`] where it is at least as long as
    /// one, there is room at a multiple of their size, and the provider has such: then its length is rounded up
    /// to them, and each is read in one copy. Otherwise all its pages are small (V28).
    ///
    /// # Errors
    ///
    /// As for `vmalloc`.
    pub fn vmalloc_huge(&self, size: ByteLen) -> Result<VirtAddr, ArenaError> {
        match self.vmalloc_pmd(size) {
            Some(start) => Ok(start),
            None => self.vmalloc(size),
        }
    }

    fn vmalloc_pmd(&self, size: ByteLen) -> Option<VirtAddr> {
        let pmd = PageCount::new(PMD_PAGES).checked_bytes()?;
        if size < pmd {
            return None;
        }
        let len = pmd.checked_mul(size.get().div_ceil(pmd.get()))?;
        let area = self.new_area(len, pmd, self.window(), AreaKind::Vmalloc);
        let (start, slot) = area.ok()?;
        let frames = self.gather(PageCount::to_hold(len), |frames| {
            let taken = self.frames().alloc_pmd_frames();
            taken.map(|first| frames.push_huge(first)).is_some()
        });
        self.fill(start, slot, frames).ok()
    }

    /// Maps the pages of an area in the making and shows it, or takes it off the list.
    fn fill(
        &self,
        start: VirtAddr,
        slot: &Slot<R>,
        frames: Result<Frames, ArenaError>,
    ) -> Result<VirtAddr, ArenaError> {
        let frames = frames.and_then(|frames| match self.map(start, frames.get()) {
            Ok(()) => Ok(frames),
            Err(error) => {
                self.give_back(frames);
                Err(error)
            }
        });
        match frames {
            Ok(frames) => {
                slot.publish(Owns::Frames(frames));
                Ok(start)
            }
            Err(error) => {
                self.abandon(start, slot);
                Err(error)
            }
        }
    }

    /// Frees the area that starts at `addr`. A reader under way sees its bytes or zeros, and no one
    /// sees them afterwards.
    ///
    /// # Errors
    ///
    /// [`ArenaError::NotAnArea`], [`ArenaError::InsideArea`], [`ArenaError::WrongKind`].
    pub fn vfree(&self, addr: VirtAddr) -> Result<(), ArenaError> {
        self.free_area(addr, AreaKind::Vmalloc, "vfree")
    }
}
