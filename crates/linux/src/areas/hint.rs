use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use vread_addr::VirtAddr;

use super::KnownArea;

/// The areas as they were when last walked: a hint where to look first, never an answer.
///
/// Many threads read it at once and without a lock; one that finds it outdated puts a new one in.
#[derive(Debug, Default)]
pub(crate) struct AreaHints {
    areas: ArcSwap<SortedAreas>,
}

/// Areas by address, none overlapping another.
///
/// # Invariants
///
/// `ends[i]` is where `areas[i]` ends; both ascend. (The ends stand alone so that a search touches a
/// few cache lines and not one for each step.)
#[derive(Debug, Default)]
pub(crate) struct SortedAreas {
    ends: Vec<VirtAddr>,
    areas: Vec<KnownArea>,
}

impl AreaHints {
    /// The last walk.
    pub(crate) fn load(&self) -> Guard<Arc<SortedAreas>> {
        self.areas.load()
    }

    /// Puts a fresh walk in place and returns it.
    pub(crate) fn replace(&self, areas: Vec<KnownArea>) -> Arc<SortedAreas> {
        let areas = Arc::new(SortedAreas::new(areas));
        self.areas.store(Arc::clone(&areas));
        areas
    }
}

impl SortedAreas {
    fn new(mut areas: Vec<KnownArea>) -> Self {
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
            ends: areas.iter().map(|known| known.area.range.end()).collect(),
            areas,
        }
    }

    /// The lowest area that ends above `addr`.
    pub(crate) fn find(&self, addr: VirtAddr) -> Option<&KnownArea> {
        let index = self.ends.partition_point(|end| *end <= addr);
        self.areas.get(index)
    }
}
