use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use lock_api::{RawRwLock, RwLock};
use vread_addr::{ByteLen, VirtAddr, VirtRange};

use super::ArenaError;
use super::area_state::{AreaState, Shared};
use super::free_tree::{FreeTree, Request};

/// How many bytes may wait for a purge: Linux's threshold for one CPU (V16).
const LAZY_MAX: ByteLen = ByteLen::new(32 << 20);

/// The areas of an arena by address, and the room between them.
///
/// Every address of the window is in one busy area, in one lazily freed range, or free.
pub(super) struct Index<R> {
    busy: BTreeMap<VirtAddr, Busy<R>>,
    free: FreeTree,
    lazy: Vec<VirtRange>,
    lazy_len: ByteLen,
}

/// An area's range never changes, so that it can be read without the area's lock.
struct Busy<R> {
    range: VirtRange,
    area: Shared<R>,
}

impl<R: RawRwLock> Index<R> {
    pub(super) fn new(window: VirtRange) -> Self {
        Self {
            busy: BTreeMap::new(),
            free: FreeTree::new(window),
            lazy: Vec::new(),
            lazy_len: ByteLen::ZERO,
        }
    }

    /// Takes the lowest free range that fits and lists the area that `state` makes of it (V13 to V15).
    pub(super) fn insert(
        &mut self,
        request: Request,
        state: impl FnOnce(VirtRange) -> AreaState,
    ) -> Result<(VirtAddr, Shared<R>), ArenaError> {
        let found = self.free.allocate(request).or_else(|| {
            self.purge();
            self.free.allocate(request)
        });
        let range = found.ok_or(ArenaError::NoSpace {
            size: request.size,
            align: request.align,
            within: request.within,
        })?;
        let area = Arc::new(RwLock::new(state(range)));
        let busy = Busy {
            range,
            area: Arc::clone(&area),
        };
        self.busy.insert(range.start(), busy);
        Ok((range.start(), area))
    }

    /// Unlists the area that starts at `start`. Its range is not used again before a purge (V16).
    pub(super) fn remove(&mut self, start: VirtAddr) {
        if let Some(busy) = self.busy.remove(&start) {
            self.lazy_len = self.lazy_len.saturating_add(busy.range.len());
            self.lazy.push(busy.range);
            if self.lazy_len > LAZY_MAX {
                self.purge();
            }
        }
    }

    /// Makes all lazily freed ranges free.
    pub(super) fn purge(&mut self) {
        for range in self.lazy.drain(..) {
            self.free.free(range);
        }
        self.lazy_len = ByteLen::ZERO;
    }

    /// The area that starts at `start`.
    pub(super) fn at(&self, start: VirtAddr) -> Result<Shared<R>, ArenaError> {
        if let Some(busy) = self.busy.get(&start) {
            return Ok(Arc::clone(&busy.area));
        }
        Err(match self.exceeding(start) {
            Some(busy) if busy.range.contains(start) => ArenaError::InsideArea {
                addr: start,
                start: busy.range.start(),
            },
            _ => ArenaError::NotAnArea { addr: start },
        })
    }

    /// The lowest area whose end lies above `addr` (R3).
    pub(super) fn find_exceeding(&self, addr: VirtAddr) -> Option<Shared<R>> {
        self.exceeding(addr).map(|busy| Arc::clone(&busy.area))
    }

    /// Every area, lowest first.
    pub(super) fn areas(&self) -> Vec<Shared<R>> {
        let areas = self.busy.values();
        areas.map(|busy| Arc::clone(&busy.area)).collect()
    }

    /// The ranges that wait for a purge, in the order in which they were freed.
    pub(super) fn lazy(&self) -> &[VirtRange] {
        &self.lazy
    }

    fn exceeding(&self, addr: VirtAddr) -> Option<&Busy<R>> {
        let at_or_below = self.busy.range(..=addr).next_back();
        let above = (Bound::Excluded(addr), Bound::Unbounded);
        at_or_below
            .filter(|(_, busy)| busy.range.end() > addr)
            .or_else(|| self.busy.range(above).next())
            .map(|(_, busy)| busy)
    }
}
