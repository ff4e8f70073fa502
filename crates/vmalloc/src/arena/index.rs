use alloc::vec::Vec;

use lock_api::{RawRwLock, RwLock};
use vread_addr::{ByteLen, VirtAddr, VirtRange};

use super::ArenaError;
use super::area_state::{AreaGuard, AreaKind, AreaState, Slot};
use super::area_table::{AreaTable, Around};
use super::free_map::{FreeMap, Request};

/// How many bytes may wait for a purge: Linux's threshold for one CPU (V16).
const LAZY_MAX: ByteLen = ByteLen::new(32 << 20);

/// The areas of an arena by address, and the room between them.
///
/// Every address of the window is in one listed area, in one lazily freed range, or free. Whoever reads
/// searches the areas without a lock and waits for nobody but the owner of the one area that it finds.
pub(super) struct Index<R> {
    areas: AreaTable<R>,
    /// Also the lock of those that list and unlist.
    room: RwLock<R, Room>,
}

struct Room {
    free: FreeMap,
    lazy: Vec<VirtRange>,
    lazy_len: ByteLen,
}

impl<R: RawRwLock> Index<R> {
    pub(super) fn new(window: VirtRange) -> Self {
        Self {
            areas: AreaTable::new(window),
            room: RwLock::new(Room {
                free: FreeMap::new(window),
                lazy: Vec::new(),
                lazy_len: ByteLen::ZERO,
            }),
        }
    }

    /// Takes the lowest free range that fits and lists an area in the making there (V13 to V15).
    pub(super) fn insert(
        &self,
        request: Request,
        kind: AreaKind,
    ) -> Result<(VirtAddr, &Slot<R>), ArenaError> {
        let mut room = self.room.write();
        let found = room.free.allocate(request).or_else(|| {
            room.purge();
            room.free.allocate(request)
        });
        let no_space = ArenaError::NoSpace {
            size: request.size,
            align: request.align,
            within: request.within,
        };
        let range = found.ok_or(no_space)?;
        let slot = self.areas.make_slot(range.start()).ok_or(no_space)?;
        // Nobody holds a slot for long that has no area.
        *slot.write() = Some(AreaState::setup(range.len(), kind));
        self.areas.list(range);
        Ok((range.start(), slot))
    }

    /// Unlists the area of `range`, which is out of its slot. The range is not used again before a purge
    /// (V16).
    pub(super) fn remove(&self, range: VirtRange) {
        let mut room = self.room.write();
        self.areas.unlist(range);
        room.lazy_len = room.lazy_len.saturating_add(range.len());
        room.lazy.push(range);
        if room.lazy_len > LAZY_MAX {
            room.purge();
        }
    }

    /// Makes all lazily freed ranges free.
    pub(super) fn purge(&self) {
        self.room.write().purge();
    }

    /// The slot of the area that starts at `start`, which may be freed by the time it is locked.
    pub(super) fn at(&self, start: VirtAddr) -> Result<&Slot<R>, ArenaError> {
        match self.areas.around(start) {
            Some(found) if found.start == start => Ok(found.slot),
            Some(found) if is_in(found.slot, found.start, start) => Err(ArenaError::InsideArea {
                addr: start,
                start: found.start,
            }),
            _ => Err(ArenaError::NotAnArea { addr: start }),
        }
    }

    /// The start and the slot of the area that `addr` lies in.
    pub(super) fn around(&self, addr: VirtAddr) -> Option<(VirtAddr, &Slot<R>)> {
        let Around { start, slot, .. } = self.areas.around(addr)?;
        is_in(slot, start, addr).then_some((start, slot))
    }

    /// The addresses of the area that `addr` lies in.
    #[inline]
    pub(super) fn range_around(&self, addr: VirtAddr) -> Option<VirtRange> {
        let Around { start, end, slot } = self.areas.around(addr)?;
        match end {
            Some(end) => VirtRange::new(start, end),
            None => {
                let range = slot.read().as_ref()?.range(start)?;
                range.contains(addr).then_some(range)
            }
        }
    }

    /// The lowest area whose end lies above `addr` and whose start lies below `addr + within`, held
    /// (R3, V19).
    ///
    /// An area that is made or freed while this looks counts as the hole that it was at some instant of
    /// it (R29).
    #[inline]
    pub(super) fn find_exceeding(
        &self,
        addr: VirtAddr,
        within: ByteLen,
    ) -> Option<AreaGuard<'_, R>> {
        if let Some(Around { start, slot, .. }) = self.areas.around(addr)
            && let Some(area) = slot.hold(start, addr)
        {
            return Some(area);
        }
        let mut at = addr;
        // Up by a page at least each time.
        while let Some((start, slot)) = self.areas.first_above(at) {
            if start.wrapping_offset_from(addr) >= within {
                return None;
            }
            if let Some(area) = slot.hold(start, addr) {
                return Some(area);
            }
            at = start;
        }
        None
    }

    /// The starts and the slots of all areas, lowest first.
    pub(super) fn slots(&self) -> impl Iterator<Item = (VirtAddr, &Slot<R>)> {
        let first = self.areas.first_above(VirtAddr::default());
        core::iter::successors(first, |(start, _slot)| self.areas.first_above(*start))
    }

    /// The ranges that wait for a purge, in the order in which they were freed.
    pub(super) fn lazy(&self) -> Vec<VirtRange> {
        self.room.read().lazy.clone()
    }
}

impl Room {
    fn purge(&mut self) {
        for range in self.lazy.drain(..) {
            self.free.free(range);
        }
        self.lazy_len = ByteLen::ZERO;
    }
}

/// Whether `addr`, which is not below `start`, lies in the area of `slot`, which starts at `start`.
fn is_in<R: RawRwLock>(slot: &Slot<R>, start: VirtAddr, addr: VirtAddr) -> bool {
    slot.hold(start, addr).is_some()
}
