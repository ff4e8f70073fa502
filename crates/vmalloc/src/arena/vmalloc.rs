use lock_api::RawRwLock;
use vread_addr::{ByteLen, PAGE_SIZE, PageCount, VirtAddr, VirtRange};

use super::area_state::{AreaKind, Owns};
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
        let frames = self.take_frames(pages);
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
