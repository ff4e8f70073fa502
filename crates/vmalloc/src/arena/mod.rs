//! The arena: vmalloc space of one's own.

mod area_state;
mod block;
mod error;
mod frames;
mod free_tree;
mod heap_frames;
mod index;
mod ioremap;
mod page_table;
mod sparse;
mod vm_map_ram;
mod vmalloc;
mod vmallocinfo;
mod vmap;
mod vmap_space;
mod vrealloc;

use alloc::vec::Vec;
use core::fmt;

use lock_api::{RawRwLock, RwLock};
use vread_addr::{ByteLen, PAGE_SIZE, PageCount, Pfn, PhysAddr, VirtAddr, VirtRange};

pub use area_state::AreaGuard;
pub use error::ArenaError;
pub use frames::FrameProvider;
pub use heap_frames::HeapFrames;
pub use vmallocinfo::VmallocInfo;

use crate::{VmFlags, VmStruct, VmapArea, VmapAreaFlags};
use area_state::{AreaKind, AreaState, Shared};
use free_tree::Request;
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
/// given back. A reader holds an area's lock while it copies; [`vmalloc`](Self::vmalloc) waits for none.
/// Locks nest in one way only: that of the list of blocks may be held while an area's is taken.
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
    index: RwLock<R, Index<R>>,
    /// The blocks that have room left, for [`vm_map_ram`](Self::vm_map_ram).
    blocks: RwLock<R, Vec<Shared<R>>>,
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
            index: RwLock::new(Index::new(window)),
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

    /// A copy of every area, lowest first. Each was true at some instant, not all at the same.
    #[must_use]
    pub fn areas(&self) -> Vec<VmapArea> {
        let shared = self.index.read().areas();
        shared
            .iter()
            .map(|area| area.read().area)
            .filter(|area| area.vm.is_some() || !area.flags.is_empty())
            .collect()
    }

    /// The ranges that were freed and are not in use again before a purge (V16).
    #[must_use]
    pub fn lazily_freed(&self) -> Vec<VirtRange> {
        self.index.read().lazy().to_vec()
    }

    /// Makes lazily freed ranges free for the next allocation, which otherwise happens when there are
    /// enough of them or when an allocation would fail (V15, V16). Blocks of which nothing is in use any
    /// more go with them (V24).
    pub fn purge_vmap_area_lazy(&self) {
        self.purge_fragmented_blocks();
        self.index.write().purge();
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
        let shared = self.index.read().find_exceeding(addr).ok_or(out)?;
        let area = shared.read();
        let usable = area.area.vm.map_or(ByteLen::ZERO, |vm| vm.readable_len());
        let room = VirtRange::from_len(area.area.range.start(), usable).ok_or(out)?;
        let wanted = VirtRange::from_len(addr, len).ok_or(out)?;
        if area.in_transition() || area.kind != AreaKind::Vmalloc || !room.contains_range(&wanted) {
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

    /// Lists a new area of `kind` with room for `size` bytes, and a guard page behind them (V7).
    ///
    /// To readers it is there only when [`VmFlags::UNINITIALIZED`] is taken off.
    fn new_area(
        &self,
        size: ByteLen,
        align: ByteLen,
        within: VirtRange,
        kind: AreaKind,
        vm: VmStruct,
    ) -> Result<(VirtAddr, Shared<R>), ArenaError> {
        let with_guard = |len: ByteLen| len.checked_add(PAGE_SIZE);
        let request = self.request(size, align, within, with_guard)?;
        self.index.write().insert(request, |range| AreaState {
            area: VmapArea {
                range,
                flags: VmapAreaFlags::empty(),
                vm: Some(VmStruct {
                    size: range.len(),
                    ..vm
                }),
            },
            kind,
            frames: Vec::new(),
            block: None,
        })
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
        let shared = self.index.read().at(start)?;
        let (range, frames) = {
            let mut area = shared.write();
            area.check(start, kind, call)?;
            (area.area.range, area.retire())
        };
        self.unmap(range);
        self.give_back(frames);
        self.index.write().remove(start);
        Ok(())
    }

    fn take_frames(&self, count: PageCount) -> Result<Vec<Pfn>, ArenaError> {
        let short = ArenaError::OutOfFrames {
            needed: count,
            total: self.frames.total(),
        };
        let wanted = usize::try_from(count.get()).map_err(|_wide| short)?;
        let mut frames = Vec::new();
        // Not more than there are, however much was asked for.
        if count > self.frames.total() || frames.try_reserve_exact(wanted).is_err() {
            return Err(short);
        }
        while frames.len() < wanted {
            match self.frames.alloc_frame() {
                Some(frame) => frames.push(frame),
                None => {
                    self.give_back(frames);
                    return Err(short);
                }
            }
        }
        Ok(frames)
    }

    fn give_back(&self, frames: Vec<Pfn>) {
        for frame in frames {
            self.frames.free_frame(frame);
        }
    }

    fn map(&self, start: VirtAddr, frames: &[Pfn]) {
        let mut at = start;
        for frame in frames {
            self.table.set(at, Some(*frame));
            // WRAP: the pages end in the window.
            at = at.wrapping_add(PAGE_SIZE);
        }
    }

    fn unmap(&self, range: VirtRange) {
        let mut at = range.start();
        while at < range.end() {
            self.table.set(at, None);
            // WRAP: the pages end in the window.
            at = at.wrapping_add(PAGE_SIZE);
        }
    }
}

/// A descriptor without size and pages.
fn vm_struct(flags: VmFlags) -> VmStruct {
    VmStruct {
        size: ByteLen::ZERO,
        flags,
        nr_pages: PageCount::default(),
        phys_addr: PhysAddr::default(),
        caller: VirtAddr::default(),
    }
}

impl<P, R> fmt::Debug for Arena<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
