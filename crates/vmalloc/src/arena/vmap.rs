use lock_api::RawRwLock;
use vread_addr::{ByteLen, PAGE_SIZE, PageCount, Pfn, VirtAddr};

use super::area_state::{AreaKind, Owns};
use super::{Arena, ArenaError, FrameProvider};

impl<P: FrameProvider, R: RawRwLock> Arena<P, R> {
    /// Maps frames of the caller's one after another (V29). They stay the caller's, who takes them back
    /// only after [`vunmap`](Self::vunmap); the same frame may be mapped in several places.
    ///
    /// # Errors
    ///
    /// [`ArenaError::ZeroSize`] for no frame, [`ArenaError::Frame`], [`ArenaError::TooLarge`],
    /// [`ArenaError::NoSpace`], [`ArenaError::Map`].
    pub fn vmap(&self, frames: &[Pfn]) -> Result<VirtAddr, ArenaError> {
        let size = frames_len(frames)?;
        let (start, slot) = self.new_area(size, PAGE_SIZE, self.window(), AreaKind::Vmap)?;
        if let Err(error) = self.map(start, frames) {
            self.abandon(start, slot);
            return Err(error);
        }
        slot.publish(Owns::Nothing);
        Ok(start)
    }

    /// Takes a mapping away that [`vmap`](Self::vmap) made. When this returns, nobody reads the frames
    /// through it any more.
    ///
    /// # Errors
    ///
    /// [`ArenaError::NotAnArea`], [`ArenaError::InsideArea`], [`ArenaError::WrongKind`].
    pub fn vunmap(&self, addr: VirtAddr) -> Result<(), ArenaError> {
        self.free_area(addr, AreaKind::Vmap, "vunmap")
    }
}

/// The bytes of `frames`, each of which must have a physical address.
pub(super) fn frames_len(frames: &[Pfn]) -> Result<ByteLen, ArenaError> {
    if let Some(frame) = frames.iter().find(|frame| frame.checked_start().is_none()) {
        return Err(ArenaError::Frame { frame: *frame });
    }
    let pages = PageCount::new(ByteLen::from_usize(frames.len()).get());
    // A slice of frame numbers cannot be that long.
    Ok(pages.checked_bytes().unwrap_or_default())
}
