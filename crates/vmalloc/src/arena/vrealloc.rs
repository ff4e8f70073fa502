use lock_api::RawRwLock;
use vread_addr::{ByteLen, PAGE_SIZE, PageCount, VirtAddr, VirtRange};

use super::area_state::{AreaKind, Frames, Owns, Slot, check, check_mut};
use super::{Arena, ArenaError, FrameProvider};

const CALL: &str = "vrealloc";

impl<P: FrameProvider, R: RawRwLock> Arena<P, R> {
    /// Makes the area of [`vmalloc`](Self::vmalloc) at `addr` `size` bytes long. Returns its address,
    /// which is another one if it had to grow.
    ///
    /// Shrinking gives the pages behind the new end back in place, unless they are huge, and growing within
    /// the pages it has does nothing (V10). Growing beyond them moves the pages to a larger area, where
    /// Linux copies them, and all of them are small ones then; the new ones are zero, and a reader of either
    /// area meanwhile sees the bytes or zeros.
    ///
    /// # Errors
    ///
    /// As for `vmalloc` and [`vfree`](Self::vfree); the area is as it was then.
    pub fn vrealloc(&self, addr: VirtAddr, size: ByteLen) -> Result<VirtAddr, ArenaError> {
        let wanted = PageCount::to_hold(size);
        if size.is_zero() {
            return Err(ArenaError::ZeroSize);
        }
        let slot = self.index.at(addr)?;
        let had = check(&slot.read(), addr, AreaKind::Vmalloc, CALL)?.nr_pages();
        if wanted <= had {
            self.shrink(slot, addr, wanted)?;
            return Ok(addr);
        }
        self.grow(slot, addr, size)
    }

    /// Cuts an area to `wanted` pages. The size and the end of the area stay (V10).
    fn shrink(&self, slot: &Slot<R>, addr: VirtAddr, wanted: PageCount) -> Result<(), ArenaError> {
        let keep = usize::try_from(wanted.get()).unwrap_or(usize::MAX);
        let tail = {
            let mut held = slot.write();
            let area = check_mut(&mut held, addr, AreaKind::Vmalloc, CALL)?;
            if area.is_huge() {
                return Ok(());
            }
            let tail = area.cut(keep);
            if tail.get().is_empty() {
                return Ok(());
            }
            let end = area.range(addr).map(|range| range.end());
            let cut = wanted.checked_bytes().and_then(|len| addr.checked_add(len));
            let cut = cut.and_then(|cut| VirtRange::new(cut, end?));
            if let Some(cut) = cut {
                self.unmap(cut);
            }
            tail
        };
        self.give_back(tail);
        Ok(())
    }

    fn grow(&self, old: &Slot<R>, addr: VirtAddr, size: ByteLen) -> Result<VirtAddr, ArenaError> {
        let wanted = PageCount::to_hold(size);
        if !Frames::can_be(wanted) {
            return Err(self.out_of_frames(wanted));
        }
        let (start, new) = self.new_area(size, PAGE_SIZE, self.window(), AreaKind::Vmalloc)?;
        match self.move_frames(old, addr, wanted, start) {
            Ok((range, frames)) => {
                self.unmap(range);
                self.index.remove(range);
                new.publish(Owns::Frames(frames));
                Ok(start)
            }
            Err(error) => {
                self.abandon(start, new);
                Err(error)
            }
        }
    }

    /// Takes the old area from its readers, and maps its frames at `start`, with new ones behind them to
    /// make `wanted`. Returns the old range and all frames.
    fn move_frames(
        &self,
        old: &Slot<R>,
        addr: VirtAddr,
        wanted: PageCount,
        start: VirtAddr,
    ) -> Result<(VirtRange, Frames), ArenaError> {
        loop {
            let had = check(&old.read(), addr, AreaKind::Vmalloc, CALL)?.nr_pages();
            let more = wanted.get().saturating_sub(had.get());
            let extra = self.take_frames(PageCount::new(more))?;
            let mut held = old.write();
            let checked = check(&held, addr, AreaKind::Vmalloc, CALL);
            if checked.is_ok_and(|area| area.nr_pages() != had) {
                // Somebody else changed the size meanwhile.
                drop(held);
                self.give_back(extra);
                continue;
            }
            // The old mapping stays until the new one is there, so that a failure changes nothing.
            let mapped = checked.and_then(|area| {
                let frames = [area.frames(), extra.get()].concat();
                self.map(start, &frames)?;
                area.range(addr).ok_or(ArenaError::NotAnArea { addr })
            });
            return match (mapped, held.take_if(|_area| mapped.is_ok())) {
                (Ok(range), Some(area)) => Ok((range, area.into_frames().and(extra))),
                (mapped, _stays) => {
                    drop(held);
                    self.give_back(extra);
                    Err(mapped.err().unwrap_or(ArenaError::NotAnArea { addr }))
                }
            };
        }
    }
}
