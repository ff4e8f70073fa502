use alloc::vec;
use alloc::vec::Vec;

use vread_addr::{PageCount, Pfn};

use super::frames::PMD_PAGES;

/// The frames that nobody has, for a [`FrameProvider`](super::FrameProvider) that knows no better: the one given
/// back last is the first to be taken.
#[derive(Debug)]
pub struct FreeFrames {
    free: Vec<u64>,
    total: u64,
}

impl FreeFrames {
    /// All frames below `total`, the lowest first.
    #[must_use]
    pub fn in_order(total: PageCount) -> Self {
        Self {
            free: (0..total.get()).rev().collect(),
            total: total.get(),
        }
    }

    /// All frames below `total`, in an order without neighbours, so that areas are scattered from the first.
    #[must_use]
    pub fn scattered(total: PageCount) -> Self {
        let total = total.get();
        // Every frame comes once where the step shares no factor with the total.
        let steps = [1657_u64, 1663, 1667, 1669, 1];
        let step = steps
            .into_iter()
            .find(|step| total.checked_rem(*step) != Some(0));
        let mut at = 0_u64;
        let next = |_n| {
            let frame = at;
            at = at
                .saturating_add(step.unwrap_or(1))
                .checked_rem(total)
                .unwrap_or(0);
            frame
        };
        Self {
            free: (0..total).map(next).collect(),
            total,
        }
    }

    /// Takes a frame; `None` when there is no more.
    pub fn take(&mut self) -> Option<Pfn> {
        self.free.pop().map(Pfn::new)
    }

    /// Takes the lowest [`PMD_PAGES`] frames one after another that begin at a multiple of it, and returns the
    /// first; `None` where some of each such block are taken. This looks at all that are free.
    pub fn take_pmd(&mut self) -> Option<Pfn> {
        let blocks = usize::try_from(self.total / PMD_PAGES).ok()?;
        let block_of = |frame: u64| usize::try_from(frame / PMD_PAGES).ok();
        let mut free = vec![0_u64; blocks];
        for frame in &self.free {
            if let Some(count) = block_of(*frame).and_then(|block| free.get_mut(block)) {
                *count = count.saturating_add(1);
            }
        }
        let whole = free.iter().position(|count| *count == PMD_PAGES)?;
        self.free.retain(|frame| block_of(*frame) != Some(whole));
        let first = u64::try_from(whole).ok()?.checked_mul(PMD_PAGES)?;
        Some(Pfn::new(first))
    }

    /// Takes a frame back.
    pub fn give_back(&mut self, frame: Pfn) {
        self.free.push(frame.get());
    }

    /// How many there are, free or not.
    #[must_use]
    pub fn total(&self) -> PageCount {
        PageCount::new(self.total)
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> PageCount {
        let free = u64::try_from(self.free.len()).unwrap_or(u64::MAX);
        PageCount::new(self.total.saturating_sub(free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(list: &mut FreeFrames) -> Vec<u64> {
        core::iter::from_fn(|| list.take()).map(Pfn::get).collect()
    }

    #[test]
    fn every_frame_comes_once_and_neighbours_do_not_follow() {
        for total in [1, 2, 64, 1657, 1663 * 1657, 4096] {
            let mut list = FreeFrames::scattered(PageCount::new(total));
            let order = all(&mut list);
            assert_eq!(list.taken(), PageCount::new(total));
            if total > 4 {
                let neighbours = order.windows(2).filter(|two| two[0].abs_diff(two[1]) == 1);
                assert_eq!(neighbours.count(), 0, "{total} frames");
            }
            let mut sorted = order;
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..total), "{total} frames");
        }
    }

    #[test]
    fn whole_blocks_are_taken_and_others_are_not() {
        // V28: one frame taken of the first block, and a last one that is not whole.
        let mut list = FreeFrames::in_order(PageCount::new(3 * PMD_PAGES + PMD_PAGES / 2));
        let single = list.take().unwrap();
        assert_eq!(list.take_pmd(), Some(Pfn::new(PMD_PAGES)));
        assert_eq!(list.take_pmd(), Some(Pfn::new(2 * PMD_PAGES)));
        assert_eq!(list.take_pmd(), None);
        list.give_back(single);
        assert_eq!(list.take_pmd(), Some(Pfn::new(0)));
        let rest = all(&mut list);
        assert!(
            rest.into_iter()
                .eq(3 * PMD_PAGES..3 * PMD_PAGES + PMD_PAGES / 2)
        );
    }
}
