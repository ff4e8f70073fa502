use lock_api::RawRwLock;
use vread_addr::{ByteLen, PAGE_SIZE, Pfn, VirtAddr, VirtRange};

use super::area_state::{AreaKind, Shared};
use super::vmap::frames_len;
use super::{Arena, ArenaError, FrameProvider, vm_struct};
use crate::VmFlags;

impl<P: FrameProvider, R: RawRwLock> Arena<P, R> {
    /// An area of `size` bytes in which pages come and go, none at first. Readers get zeros of all of it
    /// (R16).
    ///
    /// # Errors
    ///
    /// [`ArenaError::ZeroSize`], [`ArenaError::TooLarge`], [`ArenaError::NoSpace`].
    pub fn get_vm_area_sparse(&self, size: ByteLen) -> Result<VirtAddr, ArenaError> {
        let vm = vm_struct(VmFlags::SPARSE);
        let (start, _area) = self.new_area(size, PAGE_SIZE, self.window(), AreaKind::Sparse, vm)?;
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
        let (shared, range) = self.sparse_part(addr, len, "vm_area_map_pages")?;
        let area = shared.write();
        area.check(
            area.area.range.start(),
            AreaKind::Sparse,
            "vm_area_map_pages",
        )?;
        let taken = pages(range).find(|page| self.table.get(*page).is_some());
        if let Some(addr) = taken {
            return Err(ArenaError::AlreadyMapped { addr });
        }
        self.map(addr, frames);
        Ok(())
    }

    /// Takes the pages of `len` bytes at `addr` out of a sparse area.
    ///
    /// # Errors
    ///
    /// As for [`vm_area_map_pages`](Self::vm_area_map_pages), and [`ArenaError::NotMapped`] at the first
    /// page that is not; no page is taken out then.
    pub fn vm_area_unmap_pages(&self, addr: VirtAddr, len: ByteLen) -> Result<(), ArenaError> {
        let (shared, range) = self.sparse_part(addr, len, "vm_area_unmap_pages")?;
        let area = shared.write();
        area.check(
            area.area.range.start(),
            AreaKind::Sparse,
            "vm_area_unmap_pages",
        )?;
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

    fn sparse_part(
        &self,
        addr: VirtAddr,
        len: ByteLen,
        call: &'static str,
    ) -> Result<(Shared<R>, VirtRange), ArenaError> {
        let out = ArenaError::OutOfArea { addr, len };
        if !addr.is_page_aligned() {
            return Err(ArenaError::Unaligned { addr });
        }
        let wanted = VirtRange::from_len(addr, len)
            .filter(|range| range.end().is_page_aligned())
            .ok_or(out)?;
        let shared = self.index.read().find_exceeding(addr).ok_or(out)?;
        {
            let area = shared.read();
            let start = area.area.range.start();
            area.check(start, AreaKind::Sparse, call)?;
            let usable = area.area.vm.map_or(ByteLen::ZERO, |vm| vm.usable_size());
            VirtRange::from_len(start, usable)
                .filter(|room| room.contains_range(&wanted))
                .ok_or(out)?;
        }
        Ok((shared, wanted))
    }
}

fn pages(range: VirtRange) -> impl Iterator<Item = VirtAddr> {
    core::iter::successors(Some(range.start()), |page| page.checked_add(PAGE_SIZE))
        .take_while(move |page| *page < range.end())
}
