use lock_api::RawRwLock;
use vread_addr::{ByteLen, PAGE_SIZE, PageCount, Pfn, PhysAddr, VirtAddr};

use super::area_state::{AreaKind, Owns};
use super::{Arena, ArenaError, FrameProvider};

/// The largest alignment that a window gets for its size: x86_64's (V7).
const MAX_IOREMAP_ALIGN: ByteLen = ByteLen::new(1 << 30);

impl<P: FrameProvider, R: RawRwLock> Arena<P, R> {
    /// A window to `size` bytes of device memory at `phys`, aligned to the next power of two of its size
    /// (V7). Readers get zeros: the device is never touched for them (R16).
    ///
    /// # Errors
    ///
    /// [`ArenaError::ZeroSize`], [`ArenaError::TooLarge`], [`ArenaError::NoSpace`],
    /// [`ArenaError::Frame`] where the device memory would pass the 64-bit space.
    pub fn ioremap(&self, phys: PhysAddr, size: ByteLen) -> Result<VirtAddr, ArenaError> {
        let window = self.window();
        let too_large = ArenaError::TooLarge { size, window };
        if size.is_zero() {
            return Err(ArenaError::ZeroSize);
        }
        let whole = size
            .checked_add(phys.page_offset())
            .filter(|whole| *whole <= window.len())
            .ok_or(too_large)?;
        let first = Pfn::containing(phys);
        let frame = ArenaError::Frame { frame: first };
        phys.checked_add(size).ok_or(frame)?;
        let align = whole.get().checked_next_power_of_two().ok_or(too_large)?;
        let align = ByteLen::new(align).max(PAGE_SIZE).min(MAX_IOREMAP_ALIGN);
        let (start, slot) = self.new_area(whole, align, window, AreaKind::Ioremap)?;
        let mut at = start;
        for page in 0..PageCount::to_hold(whole).get() {
            // WRAP: the last byte's address was checked, and so was the area.
            self.table.set(at, Pfn::new(first.get().wrapping_add(page)));
            at = at.wrapping_add(PAGE_SIZE);
        }
        slot.publish(Owns::Device(phys.page_start()));
        // WRAP: an offset in the first page of the area.
        Ok(start.wrapping_add(phys.page_offset()))
    }

    /// Takes a window away that [`ioremap`](Self::ioremap) gave; any address of its first page will do.
    ///
    /// # Errors
    ///
    /// [`ArenaError::NotAnArea`], [`ArenaError::InsideArea`], [`ArenaError::WrongKind`].
    pub fn iounmap(&self, addr: VirtAddr) -> Result<(), ArenaError> {
        self.free_area(addr.page_start(), AreaKind::Ioremap, "iounmap")
    }
}
