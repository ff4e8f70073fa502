//! The arena: vmalloc space of one's own.

mod area_state;
mod area_table;
mod block;
mod error;
mod frames;
mod free_frames;
mod free_map;
mod heap_frames;
mod index;
mod ioremap;
mod page_table;
mod sparse;
mod sync;
mod vm_map_ram;
mod vmalloc;
mod vmallocinfo;
mod vmap;
mod vmap_space;
mod vrealloc;

use alloc::vec::Vec;
use core::fmt;

use lock_api::{RawRwLock, RwLock};
use vread_addr::{ByteLen, PAGE_SIZE, PageCount, Pfn, VirtAddr, VirtRange};

pub use area_state::AreaGuard;
pub use error::ArenaError;
pub use frames::{FrameProvider, PMD_PAGES};
pub use free_frames::FreeFrames;
pub use heap_frames::HeapFrames;
pub use vmallocinfo::VmallocInfo;

use crate::VmapArea;
use area_state::{AreaKind, Frames, Slot, check, check_mut};
use free_map::Request;
use index::Index;
use page_table::PageTable;

/// Vmalloc space of one's own: areas of scattered pages in a window of addresses, each with a guard
/// page behind it, allocated and freed while others read.
///
/// `P` says where pages come from, `R` is the lock, of any kind that [`lock_api`] knows: a spin lock
/// unless said otherwise, in a kernel what that kernel has, in a process perhaps `parking_lot`'s.
///
/// What a reader gets of an address is always what was there at some instant of the read: an area is
/// taken from its readers before its pages are unmapped, and its pages are unmapped before they are
/// given back. A reader holds an area's lock while it copies, and no other: it finds the area without
/// one, so that readers of different areas share no line of memory that is written, and
/// [`vmalloc`](Self::vmalloc) waits for none. Locks nest in one way only: those of the list of blocks and
/// of the free room may be held while an area's is taken.
///
/// ```
/// use vread_addr::{ByteLen, PageCount, VirtAddr, VirtRange};
/// use vread_iov_iter::{IovIter, Plain};
/// use vread_vmalloc::{Arena, HeapFrames, vread_iter};
///
/// let window = VirtRange::from_len(VirtAddr::new(0xffff_c900_0000_0000), ByteLen::new(1 << 30))
///     .ok_or("the window wraps")?;
/// let arena: Arena<HeapFrames> = Arena::new(window, HeapFrames::new(PageCount::new(16)))?;
/// let area = arena.vmalloc(ByteLen::new(5))?;
/// arena.write(area, b"kcore")?;
///
/// let mut buffer = [0xff_u8; 8192];
/// let mut segment = Plain::new(&mut buffer);
/// let mut iter = IovIter::ubuf(&mut segment);
/// let progress = vread_iter(&arena, &mut iter, area, ByteLen::new(8192));
/// // A page of content, and a guard page of zeros.
/// assert_eq!((progress.copied.get(), progress.zeroed.get()), (4096, 4096));
/// assert!(buffer.starts_with(b"kcore\0"));
/// arena.vfree(area)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Arena<P, R = spin::RwLock<()>> {
    window: VirtRange,
    frames: P,
    table: PageTable,
    index: Index<R>,
    /// The starts of the blocks that have room left, for [`vm_map_ram`](Self::vm_map_ram).
    blocks: RwLock<R, Vec<VirtAddr>>,
}

impl<P: FrameProvider, R: RawRwLock> Arena<P, R> {
    /// An arena without areas over `window`, whose pages `frames` provides.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Window`] unless both ends are page aligned, the first is above 0 and the window is
    /// not empty.
    pub fn new(window: VirtRange, frames: P) -> Result<Self, ArenaError> {
        let aligned = window.start().is_page_aligned() && window.end().is_page_aligned();
        if !aligned || window.is_empty() || window.start() == VirtAddr::default() {
            return Err(ArenaError::Window { window });
        }
        Ok(Self {
            window,
            frames,
            table: PageTable::new(window.start(), window.len()),
            index: Index::new(window),
            blocks: RwLock::new(Vec::new()),
        })
    }

    /// Where the areas lie.
    #[must_use]
    pub fn window(&self) -> VirtRange {
        self.window
    }

    /// Where the pages come from.
    #[must_use]
    pub fn frames(&self) -> &P {
        &self.frames
    }

    /// The addresses of the area that `addr` lies in, guard page and all, as they were at some instant:
    /// Linux's `find_vmap_area`, for those who only want to know where `addr` belongs.
    ///
    /// Areas in the making are areas. Where one lies within 128 KiB of address space that start at a multiple
    /// of 128 KiB in the window, this neither takes a lock nor looks at anything that is allocated with it.
    #[must_use]
    #[inline]
    pub fn find_vmap_area(&self, addr: VirtAddr) -> Option<VirtRange> {
        self.index.range_around(addr)
    }

    /// A copy of every area, lowest first. Each was true at some instant, not all at the same.
    #[must_use]
    pub fn areas(&self) -> Vec<VmapArea> {
        let listed = self.index.slots();
        listed
            .filter_map(|(start, slot)| {
                let held = slot.read();
                let area = held.as_ref()?;
                Some(area.vmap_area(area.range(start)?))
            })
            .filter(|area| area.vm.is_some() || !area.flags.is_empty())
            .collect()
    }

    /// The ranges that were freed and are not in use again before a purge (V16).
    #[must_use]
    pub fn lazily_freed(&self) -> Vec<VirtRange> {
        self.index.lazy()
    }

    /// Makes lazily freed ranges free for the next allocation, which otherwise happens when there are
    /// enough of them or when an allocation would fail (V15, V16). Blocks of which nothing is in use any
    /// more go with them (V24).
    pub fn purge_vmap_area_lazy(&self) {
        self.purge_fragmented_blocks();
        self.index.purge();
    }

    /// Writes `bytes` to `addr`, in the usable part of one area of [`vmalloc`](Self::vmalloc).
    ///
    /// A reader may see a part of them, as anywhere in a kernel.
    ///
    /// # Errors
    ///
    /// [`ArenaError::OutOfArea`], with nothing written; [`ArenaError::Source`] where the provider fails,
    /// at the address it names.
    pub fn write(&self, addr: VirtAddr, bytes: &[u8]) -> Result<(), ArenaError> {
        let len = ByteLen::from_usize(bytes.len());
        let out = ArenaError::OutOfArea { addr, len };
        let (start, slot) = self.index.around(addr).ok_or(out)?;
        let held = slot.read();
        let area = check(&held, start, AreaKind::Vmalloc, "write").map_err(|_other| out)?;
        let usable = area.nr_pages().checked_bytes().unwrap_or_default();
        let room = VirtRange::from_len(start, usable).ok_or(out)?;
        let wanted = VirtRange::from_len(addr, len).ok_or(out)?;
        if !room.contains_range(&wanted) {
            return Err(out);
        }
        let mut at = addr;
        let mut rest = bytes;
        while !rest.is_empty() {
            let in_page = PAGE_SIZE.saturating_sub(at.page_offset());
            let step = in_page.to_usize_clamped().min(rest.len());
            let Some((now, later)) = rest.split_at_checked(step) else {
                break;
            };
            let frame = self
                .table
                .get(at)
                .ok_or(ArenaError::NotMapped { addr: at })?;
            let written = self.frames.write_frame(frame, at.page_offset(), now);
            written.map_err(|failure| ArenaError::Source { addr: at, failure })?;
            // WRAP: the bytes end in the window.
            at = at.wrapping_add(ByteLen::from_usize(step));
            rest = later;
        }
        Ok(())
    }

    /// Lists a new area of `kind` with room for `size` bytes, and a guard page behind them (V7). It is in
    /// the making: nobody reads or frees it.
    fn new_area(
        &self,
        size: ByteLen,
        align: ByteLen,
        within: VirtRange,
        kind: AreaKind,
    ) -> Result<(VirtAddr, &Slot<R>), ArenaError> {
        let with_guard = |len: ByteLen| len.checked_add(PAGE_SIZE);
        let request = self.request(size, align, within, with_guard)?;
        self.index.insert(request, kind)
    }

    /// Unlists an area that is in the making.
    fn abandon(&self, start: VirtAddr, slot: &Slot<R>) {
        let area = slot.write().take();
        if let Some(range) = area.and_then(|area| area.range(start)) {
            self.index.remove(range);
        }
    }

    /// Checks a request for `size` bytes, of which `padded` makes the length of the area (V13).
    fn request(
        &self,
        size: ByteLen,
        align: ByteLen,
        within: VirtRange,
        padded: impl FnOnce(ByteLen) -> Option<ByteLen>,
    ) -> Result<Request, ArenaError> {
        if size.is_zero() {
            return Err(ArenaError::ZeroSize);
        }
        if !align.get().is_power_of_two() || align < PAGE_SIZE {
            return Err(ArenaError::Alignment { align });
        }
        let len = PageCount::to_hold(size)
            .checked_bytes()
            .and_then(padded)
            .filter(|len| *len <= within.len());
        Ok(Request {
            size: len.ok_or(ArenaError::TooLarge {
                size,
                window: within,
            })?,
            align,
            within,
        })
    }

    /// Takes an area from its readers, unmaps it, gives its frames back and unlists it: in this order.
    fn free_area(
        &self,
        start: VirtAddr,
        kind: AreaKind,
        call: &'static str,
    ) -> Result<(), ArenaError> {
        let slot = self.index.at(start)?;
        let area = {
            let mut held = slot.write();
            check_mut(&mut held, start, kind, call)?;
            held.take()
        };
        let range = area.as_ref().and_then(|area| area.range(start));
        if let (Some(area), Some(range)) = (area, range) {
            self.unmap(range);
            self.give_back(area.into_frames());
            self.index.remove(range);
        }
        Ok(())
    }

    fn take_frames(&self, count: PageCount) -> Result<Frames, ArenaError> {
        self.gather(count, |frames| {
            let taken = self.frames.alloc_frame();
            taken.map(|frame| frames.push(frame)).is_some()
        })
    }

    /// Takes frames by `take`, a step at a time, until there are `count`; gives them back where it has no more.
    fn gather(
        &self,
        count: PageCount,
        take: impl Fn(&mut Frames) -> bool,
    ) -> Result<Frames, ArenaError> {
        let short = self.out_of_frames(count);
        // Not more than there are, however much was asked for.
        let enough = count <= self.frames.total();
        let frames = Frames::with_capacity(count).filter(|_room| enough);
        let mut frames = frames.ok_or(short)?;
        while frames.count() < count {
            if !take(&mut frames) {
                self.give_back(frames);
                return Err(short);
            }
        }
        Ok(frames)
    }

    fn out_of_frames(&self, needed: PageCount) -> ArenaError {
        let total = self.frames.total();
        ArenaError::OutOfFrames { needed, total }
    }

    fn give_back(&self, frames: Frames) {
        for frame in frames {
            self.frames.free_frame(frame);
        }
    }

    fn map(&self, start: VirtAddr, frames: &[Pfn]) -> Result<(), ArenaError> {
        let mapped = self.frames.map_frames(start, frames);
        if let Err(failure) = mapped {
            let len = PageCount::new(ByteLen::from_usize(frames.len()).get()).checked_bytes();
            let range = len.and_then(|len| VirtRange::from_len(start, len));
            if let Some(range) = range {
                self.frames.unmap_range(range);
            }
            return Err(ArenaError::Map {
                addr: start,
                failure,
            });
        }
        let mut at = start;
        for frame in frames {
            self.table.set(at, *frame);
            // WRAP: the pages end in the window.
            at = at.wrapping_add(PAGE_SIZE);
        }
        Ok(())
    }

    fn unmap(&self, range: VirtRange) {
        let mut at = range.start();
        while at < range.end() {
            self.table.clear(at);
            // WRAP: the pages end in the window.
            at = at.wrapping_add(PAGE_SIZE);
        }
        self.frames.unmap_range(range);
    }
}

impl<P, R> fmt::Debug for Arena<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
