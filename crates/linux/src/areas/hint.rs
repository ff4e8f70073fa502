use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vread_addr::{ByteLen, VirtAddr};
use vread_vmalloc::AreaContent;

use super::KnownArea;

/// The areas as they were when last walked: a hint where to look first, never an answer.
///
/// Many threads read it at once, each from a copy of the reference that it keeps, so that a look costs two
/// loads and no write to anything shared; one that finds it outdated puts a new one in. (An `ArcSwap` takes
/// two locked instructions for each look, a tenth of a small read.)
#[derive(Debug, Default)]
pub(crate) struct AreaHints {
    /// The number of what is in `areas`.
    current: AtomicU64,
    areas: Mutex<Arc<SortedAreas>>,
}

/// What a thread used last.
#[derive(Debug, Default)]
struct Recent {
    /// It outlives a kernel that is detached until the thread looks at another, or ends.
    areas: Arc<SortedAreas>,
    /// The area that it found: whoever reads a few bytes often goes on to read their neighbours.
    index: usize,
}

thread_local! {
    static RECENT: RefCell<Recent> = RefCell::default();
}

/// An area, and what of it has pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hint {
    pub(crate) known: KnownArea,
    /// Where its pages end: where it starts, if a reader gets none of them (`VmapArea::content`).
    pub(crate) pages_end: VirtAddr,
}

/// Areas by address, none overlapping another.
///
/// # Invariants
///
/// `ends[i]` is where `areas[i]` ends; both ascend. (The ends stand alone so that a search touches a
/// few cache lines and not one for each step.)
#[derive(Debug, Default)]
pub(crate) struct SortedAreas {
    /// Never used twice in this process; 0 for one with no areas.
    number: u64,
    ends: Vec<VirtAddr>,
    areas: Vec<Hint>,
}

impl AreaHints {
    /// Has a look at the lowest area that ended above `addr` in the last walk.
    #[inline]
    pub(crate) fn with<T>(&self, addr: VirtAddr, look: impl FnOnce(Option<&Hint>) -> T) -> T {
        RECENT.with_borrow_mut(|recent| {
            self.refresh(recent);
            let same = recent.areas.areas.get(recent.index);
            if let Some(hint) = same.filter(|hint| hint.has_pages(addr, ByteLen::new(1))) {
                return look(Some(hint));
            }
            recent.index = recent.areas.index_of(addr);
            look(recent.areas.areas.get(recent.index))
        })
    }

    /// Has a look at all areas of the last walk.
    pub(crate) fn with_all<T>(&self, look: impl FnOnce(&SortedAreas) -> T) -> T {
        RECENT.with_borrow_mut(|recent| {
            self.refresh(recent);
            look(&recent.areas)
        })
    }

    #[inline]
    fn refresh(&self, recent: &mut Recent) {
        if recent.areas.number != self.current.load(Ordering::Acquire) {
            recent.areas = self.load();
        }
    }

    /// The last walk.
    #[cold]
    fn load(&self) -> Arc<SortedAreas> {
        let areas = self.areas.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&areas)
    }

    /// Puts a fresh walk in place and returns it.
    pub(crate) fn replace(&self, areas: Vec<KnownArea>) -> Arc<SortedAreas> {
        let areas = Arc::new(SortedAreas::new(areas));
        let mut current = self.areas.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::clone(&areas);
        self.current.store(areas.number, Ordering::Release);
        areas
    }
}

impl Hint {
    fn new(known: KnownArea) -> Self {
        let start = known.area.range.start();
        let len = match known.area.content() {
            AreaContent::Pages { len } => len,
            AreaContent::Zeros { .. } | AreaContent::Skip => ByteLen::ZERO,
        };
        Self {
            known,
            pages_end: start.checked_add(len).unwrap_or(start),
        }
    }

    /// Whether a reader gets pages for all of the `len` bytes at `addr`.
    #[inline]
    pub(crate) fn has_pages(&self, addr: VirtAddr, len: ByteLen) -> bool {
        let rest = self.pages_end.checked_offset_from(addr);
        self.known.area.range.start() <= addr && rest.is_some_and(|rest| len <= rest)
    }
}

impl SortedAreas {
    fn new(mut areas: Vec<KnownArea>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // The lists are sorted each for itself (G52).
        areas.sort_by_key(|known| known.area.range.start());
        // Lists of several nodes overlap only if somebody made them up: the lower area wins.
        let mut end = VirtAddr::new(0);
        let mut overlapping = 0_usize;
        areas.retain(|known| {
            let fits = known.area.range.start() >= end;
            if fits {
                end = known.area.range.end();
            } else {
                overlapping = overlapping.saturating_add(1);
            }
            fits
        });
        if overlapping > 0 {
            tracing::warn!(overlapping, "vmap areas that overlap others are dropped");
        }
        // INVARIANT: made of `areas`, which were sorted and do not overlap.
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            ends: areas.iter().map(|known| known.area.range.end()).collect(),
            areas: areas.into_iter().map(Hint::new).collect(),
        }
    }

    /// The lowest area that ends above `addr`.
    pub(crate) fn find(&self, addr: VirtAddr) -> Option<&Hint> {
        self.areas.get(self.index_of(addr))
    }

    /// The area with a number that [`index_of`](Self::index_of) gave.
    #[inline]
    pub(crate) fn get(&self, number: usize) -> Option<&Hint> {
        self.areas.get(number)
    }

    /// The number of the lowest area that ends above `addr`; that of none, if none does.
    #[inline]
    pub(crate) fn index_of(&self, addr: VirtAddr) -> usize {
        self.ends.partition_point(|end| *end <= addr)
    }
}
