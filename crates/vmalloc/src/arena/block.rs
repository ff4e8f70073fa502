use alloc::collections::BTreeMap;

use vread_addr::PageCount;

/// The pages of a block: Linux's for up to 2048 CPUs (V22).
pub(super) const BLOCK_PAGES: PageCount = PageCount::new(1024);

/// The most pages that are carved from a block; more get an area of their own (V21).
pub(super) const MAX_BLOCK_RUN: PageCount = PageCount::new(64);

/// How the area of a block is subdivided: runs are taken from the front and never twice, and the block
/// goes as a whole when all of it has been freed (V23, V24). Pages count from the start of the block.
#[derive(Debug)]
pub(super) struct Block {
    /// The pages behind the last run.
    free: u64,
    /// The pages whose run was freed.
    dirty: u64,
    /// The runs in use: the pages mapped, by first page. Linux has a bitmap of the pages.
    runs: BTreeMap<u64, u64>,
}

impl Block {
    pub(super) fn new() -> Self {
        Self {
            free: BLOCK_PAGES.get(),
            dirty: 0,
            runs: BTreeMap::new(),
        }
    }

    /// Takes the next run for `pages` pages, rounded up to a power of two (V23). Returns its first page.
    pub(super) fn take(&mut self, pages: PageCount) -> Option<u64> {
        let run = pages.get().checked_next_power_of_two()?;
        let free = self.free.checked_sub(run)?;
        let first = BLOCK_PAGES.get().checked_sub(self.free)?;
        self.free = free;
        self.runs.insert(first, pages.get());
        Some(first)
    }

    /// Gives the run of `pages` pages at page `first` back: `None` if there is no such run in use.
    pub(super) fn give_back(&mut self, first: u64, pages: PageCount) -> Option<()> {
        self.runs.get(&first).filter(|run| **run == pages.get())?;
        self.runs.remove(&first);
        // INVARIANT: `free + dirty` and the runs in use, rounded up, are the whole block.
        self.dirty = self
            .dirty
            .saturating_add(pages.get().checked_next_power_of_two()?);
        Some(())
    }

    /// Whether all of it was used and freed.
    pub(super) fn is_spent(&self) -> bool {
        self.dirty == BLOCK_PAGES.get()
    }

    /// Whether nothing of it can be taken any more.
    pub(super) fn is_full(&self) -> bool {
        self.free == 0
    }

    /// Makes a block of which nothing is in use spent (V24). Whether it was one.
    pub(super) fn spend_if_idle(&mut self) -> bool {
        if self.free.saturating_add(self.dirty) != BLOCK_PAGES.get() {
            return false;
        }
        self.dirty = BLOCK_PAGES.get();
        self.free = 0;
        true
    }
}
