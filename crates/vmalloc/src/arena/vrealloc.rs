use alloc::vec::Vec;

use lock_api::RawRwLock;
use vread_addr::{ByteLen, PAGE_SIZE, PageCount, VirtAddr, VirtRange};

use super::area_state::{AreaKind, Shared};
use super::{Arena, ArenaError, FrameProvider, vm_struct};
use crate::VmFlags;

impl<P: FrameProvider, R: RawRwLock> Arena<P, R> {
    /// Makes the area of [`vmalloc`](Self::vmalloc) at `addr` `size` bytes long. Returns its address,
    /// which is another one if it had to grow.
    ///
    /// Shrinking gives the pages behind the new end back in place, growing within the pages it has does
    /// nothing (V10). Growing beyond them moves the pages to a larger area, where Linux copies them; the
    /// new ones are zero, and a reader of either area meanwhile sees the bytes or zeros.
    ///
    /// # Errors
    ///
    /// As for `vmalloc` and [`vfree`](Self::vfree); the area is as it was then.
    pub fn vrealloc(&self, addr: VirtAddr, size: ByteLen) -> Result<VirtAddr, ArenaError> {
        const CALL: &str = "vrealloc";
        let wanted = PageCount::to_hold(size);
        if size.is_zero() {
            return Err(ArenaError::ZeroSize);
        }
        let shared = self.index.read().at(addr)?;
        let had = {
            let area = shared.read();
            area.check(addr, AreaKind::Vmalloc, CALL)?;
            area.frames.len()
        };
        let had = PageCount::new(ByteLen::from_usize(had).get());
        if wanted <= had {
            self.shrink(&shared, addr, wanted)?;
            return Ok(addr);
        }
        self.grow(&shared, addr, size)
    }

    /// Cuts an area to `wanted` pages. The size and the end of the area stay (V10).
    fn shrink(
        &self,
        shared: &Shared<R>,
        addr: VirtAddr,
        wanted: PageCount,
    ) -> Result<(), ArenaError> {
        let keep = usize::try_from(wanted.get()).unwrap_or(usize::MAX);
        let tail = {
            let mut area = shared.write();
            area.check(addr, AreaKind::Vmalloc, "vrealloc")?;
            if keep >= area.frames.len() {
                return Ok(());
            }
            let tail = area.frames.split_off(keep);
            if let Some(vm) = &mut area.area.vm {
                vm.nr_pages = wanted;
            }
            let cut = wanted.checked_bytes().and_then(|len| addr.checked_add(len));
            let cut = cut.and_then(|cut| VirtRange::new(cut, area.area.range.end()));
            if let Some(cut) = cut {
                self.unmap(cut);
            }
            tail
        };
        self.give_back(tail);
        Ok(())
    }

    fn grow(&self, old: &Shared<R>, addr: VirtAddr, size: ByteLen) -> Result<VirtAddr, ArenaError> {
        let vm = vm_struct(VmFlags::ALLOC | VmFlags::UNINITIALIZED);
        let window = self.window();
        let (start, new) = self.new_area(size, PAGE_SIZE, window, AreaKind::Vmalloc, vm)?;
        match self.move_frames(old, addr, PageCount::to_hold(size)) {
            Ok((range, frames)) => {
                self.unmap(range);
                self.index.write().remove(addr);
                self.map(start, &frames);
                let mut area = new.write();
                area.frames = frames;
                if let Some(vm) = &mut area.area.vm {
                    vm.nr_pages = PageCount::to_hold(size);
                    vm.flags.remove(VmFlags::UNINITIALIZED);
                }
                Ok(start)
            }
            Err(error) => {
                self.index.write().remove(start);
                Err(error)
            }
        }
    }

    /// Takes the old area from its readers. Returns its range and its frames, with new ones behind them
    /// to make `wanted`.
    fn move_frames(
        &self,
        old: &Shared<R>,
        addr: VirtAddr,
        wanted: PageCount,
    ) -> Result<(VirtRange, Vec<vread_addr::Pfn>), ArenaError> {
        loop {
            let had = old.read().frames.len();
            let more = wanted.get().saturating_sub(ByteLen::from_usize(had).get());
            let extra = self.take_frames(PageCount::new(more))?;
            let mut area = old.write();
            if let Err(error) = area.check(addr, AreaKind::Vmalloc, "vrealloc") {
                drop(area);
                self.give_back(extra);
                return Err(error);
            }
            if area.frames.len() == had {
                let range = area.area.range;
                let mut frames = area.retire();
                frames.extend(extra);
                return Ok((range, frames));
            }
            // Somebody else changed the size meanwhile.
            drop(area);
            self.give_back(extra);
        }
    }
}
