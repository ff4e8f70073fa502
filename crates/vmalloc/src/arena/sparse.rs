use lock_api::RawRwLock;
use vread_addr::{ByteLen, PAGE_SIZE, Pfn, VirtAddr, VirtRange};

use super::area_state::{AreaKind, AreaState, Owns, check};
use super::vmap::frames_len;
use super::{Arena, ArenaError, FrameProvider};

impl<P: FrameProvider, R: RawRwLock> Arena<P, R> {
    /// An area of `size` bytes in which pages come and go, none at first. Readers get zeros of all of it
    /// (R16).
    ///
    /// # Errors
    ///
    /// [`ArenaError::ZeroSize`], [`ArenaError::TooLarge`], [`ArenaError::NoSpace`].
    pub fn get_vm_area_sparse(&self, size: ByteLen) -> Result<VirtAddr, ArenaError> {
        let (start, slot) = self.new_area(size, PAGE_SIZE, self.window(), AreaKind::Sparse)?;
        slot.publish(Owns::Nothing);
        Ok(start)
    }

    /// Maps frames of the caller's at `addr` of a sparse area. They stay the caller's.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Unaligned`], [`ArenaError::OutOfArea`], [`ArenaError::WrongKind`],
    /// [`ArenaError::Frame`], and [`ArenaError::AlreadyMapped`] at the first page that is; no page is
    /// mapped then.
    pub fn vm_area_map_pages(&self, addr: VirtAddr, frames: &[Pfn]) -> Result<(), ArenaError> {
        let len = frames_len(frames)?;
        check_aligned(addr)?;
        let found = self.index.around(addr);
        let (start, slot) = found.ok_or(ArenaError::OutOfArea { addr, len })?;
        let area = slot.write();
        let range = sparse_part(&area, start, addr, len, "vm_area_map_pages")?;
        let taken = pages(range).find(|page| self.table.get(*page).is_some());
        if let Some(addr) = taken {
            return Err(ArenaError::AlreadyMapped { addr });
        }
        self.map(addr, frames)
    }

    /// Takes the pages of `len` bytes at `addr` out of a sparse area.
    ///
    /// # Errors
    ///
    /// As for [`vm_area_map_pages`](Self::vm_area_map_pages), and [`ArenaError::NotMapped`] at the first
    /// page that is not; no page is taken out then.
    pub fn vm_area_unmap_pages(&self, addr: VirtAddr, len: ByteLen) -> Result<(), ArenaError> {
        check_aligned(addr)?;
        let found = self.index.around(addr);
        let (start, slot) = found.ok_or(ArenaError::OutOfArea { addr, len })?;
        let area = slot.write();
        let range = sparse_part(&area, start, addr, len, "vm_area_unmap_pages")?;
        let missing = pages(range).find(|page| self.table.get(*page).is_none());
        if let Some(addr) = missing {
            return Err(ArenaError::NotMapped { addr });
        }
        self.unmap(range);
        Ok(())
    }

    /// Frees a sparse area. Pages that are still mapped are unmapped.
    ///
    /// # Errors
    ///
    /// [`ArenaError::NotAnArea`], [`ArenaError::InsideArea`], [`ArenaError::WrongKind`].
    pub fn free_vm_area(&self, addr: VirtAddr) -> Result<(), ArenaError> {
        self.free_area(addr, AreaKind::Sparse, "free_vm_area")
    }
}

fn check_aligned(addr: VirtAddr) -> Result<(), ArenaError> {
    match addr.is_page_aligned() {
        true => Ok(()),
        false => Err(ArenaError::Unaligned { addr }),
    }
}

/// The `len` bytes at `addr`, if they are whole pages of the usable part of a sparse area, which starts
/// at `start`.
fn sparse_part(
    slot: &Option<AreaState>,
    start: VirtAddr,
    addr: VirtAddr,
    len: ByteLen,
    call: &'static str,
) -> Result<VirtRange, ArenaError> {
    let out = ArenaError::OutOfArea { addr, len };
    let area = check(slot, start, AreaKind::Sparse, call)?;
    let wanted = VirtRange::from_len(addr, len)
        .filter(|range| range.end().is_page_aligned())
        .ok_or(out)?;
    let usable = area.len.saturating_sub(PAGE_SIZE);
    VirtRange::from_len(start, usable)
        .filter(|room| room.contains_range(&wanted))
        .ok_or(out)?;
    Ok(wanted)
}

fn pages(range: VirtRange) -> impl Iterator<Item = VirtAddr> {
    core::iter::successors(Some(range.start()), |page| page.checked_add(PAGE_SIZE))
        .take_while(move |page| *page < range.end())
}
