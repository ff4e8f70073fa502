use std::sync::Arc;

use arc_swap::ArcSwap;
use vread_addr::VirtAddr;

use super::KnownArea;

/// The areas as they were when last walked, sorted: a hint where to look first, never an answer.
///
/// Many threads read it at once and without a lock; one that finds it outdated puts a new one in.
#[derive(Debug, Default)]
pub(crate) struct AreaHints {
    areas: ArcSwap<Vec<KnownArea>>,
}

impl AreaHints {
    /// Puts a fresh walk in place and returns it, sorted by address (G52).
    pub(crate) fn replace(&self, mut areas: Vec<KnownArea>) -> Arc<Vec<KnownArea>> {
        areas.sort_by_key(|known| known.area.range.start());
        // Lists of several nodes may overlap only if somebody made them up: the lower area wins.
        let mut end = VirtAddr::new(0);
        areas.retain(|known| {
            let fits = known.area.range.start() >= end;
            if fits {
                end = known.area.range.end();
            } else {
                tracing::warn!(?known, "overlapping vmap area dropped");
            }
            fits
        });
        let areas = Arc::new(areas);
        self.areas.store(Arc::clone(&areas));
        areas
    }

    /// The lowest area that was known to end above `addr`.
    pub(crate) fn find(&self, addr: VirtAddr) -> Option<KnownArea> {
        find_in(&self.areas.load(), addr)
    }
}

/// The lowest of `areas` that ends above `addr`.
pub(crate) fn find_in(areas: &[KnownArea], addr: VirtAddr) -> Option<KnownArea> {
    let index = areas.partition_point(|known| known.area.range.end() <= addr);
    areas.get(index).copied()
}
