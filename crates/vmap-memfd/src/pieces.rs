use std::collections::BTreeMap;

use vread_addr::{VirtAddr, VirtRange};

/// How many pieces of the file are mapped, by the address that they were mapped at. A process can have only
/// so many mappings, and needs some for itself; and while there is room for more, unmapping cannot fail.
#[derive(Debug)]
pub(crate) struct Pieces {
    mapped: BTreeMap<VirtAddr, u64>,
    left: u64,
}

impl Pieces {
    pub(crate) fn at_most(max: u64) -> Self {
        Self {
            mapped: BTreeMap::new(),
            left: max,
        }
    }

    /// Counts `pieces` that will be mapped from `at` on; `None` if they would be too many.
    pub(crate) fn add(&mut self, at: VirtAddr, pieces: u64) -> Option<()> {
        self.left = self.left.checked_sub(pieces)?;
        let before = self.mapped.entry(at).or_default();
        *before = before.saturating_add(pieces);
        Some(())
    }

    /// Forgets those that were mapped from an address in `range` on. Where only the end of a mapping goes,
    /// all of it stays counted until its start goes.
    pub(crate) fn remove(&mut self, range: VirtRange) {
        let gone = self
            .mapped
            .extract_if(range.start()..range.end(), |_, _| true);
        let gone = gone.fold(0_u64, |sum, (_, pieces)| sum.saturating_add(pieces));
        self.left = self.left.saturating_add(gone);
    }
}
