/// The frames that nobody has, in an order without neighbours, so that areas are scattered from the first.
#[derive(Debug)]
pub(crate) struct FreeList {
    free: Vec<u64>,
    total: u64,
}

impl FreeList {
    /// All of `total` frames.
    pub(crate) fn new(total: u64) -> Self {
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

    pub(crate) fn take(&mut self) -> Option<u64> {
        self.free.pop()
    }

    pub(crate) fn give_back(&mut self, frame: u64) {
        self.free.push(frame);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn taken(&self) -> u64 {
        let free = u64::try_from(self.free.len()).unwrap_or(u64::MAX);
        self.total.saturating_sub(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_comes_once_and_neighbours_do_not_follow() {
        for total in [1, 2, 64, 1657, 1663 * 1657, 4096] {
            let mut list = FreeList::new(total);
            let order: Vec<u64> = std::iter::from_fn(|| list.take()).collect();
            assert_eq!(list.taken(), total);
            if total > 4 {
                let neighbours = order.windows(2).filter(|two| two[0].abs_diff(two[1]) == 1);
                assert_eq!(neighbours.count(), 0, "{total} frames");
            }
            let mut sorted = order;
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..total), "{total} frames");
        }
    }
}
