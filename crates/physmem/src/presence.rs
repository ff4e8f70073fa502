use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use zerocopy::FromZeros;

/// Pages that are known to be populated, one bit each.
///
/// A page that its owner gives back afterwards stays known until somebody asks again; a read meanwhile gives
/// zeros as it should, but may populate it. Large reads ask again, about a window at a time.
///
/// The tables of a machine of 1 TiB have 34 MiB, of which the system gives us, page by page, what is written:
/// those of a sparse machine cost little.
#[derive(Debug)]
pub(crate) struct Presence {
    words: Box<[AtomicU64]>,
    /// When each window was replaced; 0 for never.
    stamps: Box<[AtomicU32]>,
}

const WORD_PAGES: usize = 64;

/// How many pages are asked about at once, and share one time: those of 2 MiB.
pub(crate) const WINDOW_PAGES: usize = 512;

/// How long a window stays fresh. Neighbouring reads come much faster than that.
const FRESH_MS: u32 = 20;

impl Presence {
    /// For `pages` pages, none of them known. (Nor ever, if there is no memory for the tables.)
    pub(crate) fn new(pages: usize) -> Self {
        let words = <[AtomicU64]>::new_box_zeroed_with_elems(pages.div_ceil(WORD_PAGES));
        let stamps = <[AtomicU32]>::new_box_zeroed_with_elems(pages.div_ceil(WINDOW_PAGES));
        Self {
            words: words.unwrap_or_default(),
            stamps: stamps.unwrap_or_default(),
        }
    }

    /// Whether `page` is known to be populated.
    #[inline]
    pub(crate) fn is_marked(&self, page: usize) -> bool {
        self.word(page)
            .is_some_and(|word| word.load(Ordering::Relaxed) & bit(page) != 0)
    }

    /// How many pages from `page` on, at most `limit`, are known to be populated.
    pub(crate) fn marked_run(&self, page: usize, limit: usize) -> usize {
        let mut run = 0_usize;
        while run < limit {
            let at = page.wrapping_add(run);
            let Some(word) = self.word(at) else { break };
            // The bits from `at` on; those shifted in from above count as unknown.
            let ones = word.load(Ordering::Relaxed) >> (at % WORD_PAGES);
            let ones = usize::try_from(ones.trailing_ones()).unwrap_or(0);
            run = run.saturating_add(ones);
            if ones == 0 || !at.wrapping_add(ones).is_multiple_of(WORD_PAGES) {
                break;
            }
        }
        run.min(limit)
    }

    /// Notes that `count` pages from `page` on are populated.
    pub(crate) fn mark(&self, page: usize, count: usize) {
        let end = page.saturating_add(count);
        let mut at = page;
        while at < end {
            let from = at % WORD_PAGES;
            let step = WORD_PAGES.wrapping_sub(from).min(end.wrapping_sub(at));
            let unused = u32::try_from(WORD_PAGES.wrapping_sub(step)).unwrap_or(u64::BITS);
            let bits = u64::MAX.checked_shr(unused).unwrap_or(0) << from;
            let Some(word) = self.word(at) else { break };
            // Most often nothing changes, and a cache line that is only read stays shared.
            if word.load(Ordering::Relaxed) & bits != bits {
                word.fetch_or(bits, Ordering::Relaxed);
            }
            at = at.saturating_add(step);
        }
    }

    /// Notes which pages of the window that starts at `page` are populated: the lowest bit of a byte each.
    /// Forgets what was known of them, and of the rest of the last byte's word.
    pub(crate) fn replace(&self, page: usize, told: &[u8]) {
        for (start, told) in (page..page.saturating_add(WINDOW_PAGES))
            .step_by(WORD_PAGES)
            .zip(told.chunks(WORD_PAGES))
        {
            let bits = told
                .iter()
                .rev()
                .fold(0, |bits, page| (bits << 1) | u64::from(page & 1));
            if let Some(word) = self.word(start)
                && word.load(Ordering::Relaxed) != bits
            {
                word.store(bits, Ordering::Relaxed);
            }
        }
        if let Some(stamp) = self.stamp(page) {
            stamp.store(now(), Ordering::Relaxed);
        }
    }

    /// Whether the window of `page` was replaced a moment ago.
    pub(crate) fn is_fresh(&self, page: usize) -> bool {
        self.stamp(page)
            .map(|stamp| stamp.load(Ordering::Relaxed))
            // WRAP: after 49 days; a window that was not asked about for so long is asked once too rarely.
            .is_some_and(|stamp| stamp != 0 && now().wrapping_sub(stamp) < FRESH_MS)
    }

    #[inline]
    fn word(&self, page: usize) -> Option<&AtomicU64> {
        self.words.get(page / WORD_PAGES)
    }

    fn stamp(&self, page: usize) -> Option<&AtomicU32> {
        self.stamps.get(page / WINDOW_PAGES)
    }
}

/// Milliseconds since some moment, never 0.
fn now() -> u32 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed().as_millis();
    u32::try_from(since & u128::from(u32::MAX)).unwrap_or(0) | 1
}

#[inline]
fn bit(page: usize) -> u64 {
    1 << (page % WORD_PAGES)
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a test's own small numbers; a wrap fails it"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGES: usize = 5000 - 7;

    proptest! {
        #[test]
        fn agrees_with_a_set_of_pages(
            marks in prop::collection::vec((0..PAGES, 0..WINDOW_PAGES + 70), 0..6),
            windows in prop::collection::vec(
                (0..PAGES / WINDOW_PAGES, prop::collection::vec(any::<u8>(), WINDOW_PAGES)),
                0..4,
            ),
            asks in prop::collection::vec((0..PAGES, 0..PAGES), 1..50),
        ) {
            let presence = Presence::new(PAGES);
            let mut set = vec![false; PAGES];
            for &(page, count) in &marks {
                let count = count.min(PAGES - page);
                presence.mark(page, count);
                set[page..page + count].fill(true);
            }
            for (window, told) in &windows {
                let start = window * WINDOW_PAGES;
                presence.replace(start, told);
                prop_assert!(presence.is_fresh(start + 511));
                for (page, told) in set[start..].iter_mut().zip(told) {
                    *page = told % 2 == 1;
                }
            }
            let borders = marks.iter().flat_map(|&(page, count)| {
                [page.saturating_sub(1), page, (page + count - count.min(1)).min(PAGES - 1)]
            });
            for (page, limit) in asks.iter().copied().chain(borders.map(|page| (page, PAGES))) {
                prop_assert_eq!(presence.is_marked(page), set[page]);
                let run = set[page..].iter().take(limit).take_while(|on| **on).count();
                prop_assert_eq!(presence.marked_run(page, limit), run);
            }
        }
    }

    #[test]
    fn a_sparse_terabyte_costs_little() {
        let resident = || {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm
                .split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<usize>()
                .unwrap()
        };
        let before = resident();
        let presence = Presence::new(1 << 28);
        presence.mark((1 << 28) - 1, 1);
        assert!(presence.is_marked((1 << 28) - 1));
        // Other tests run in this process; the tables have 8704 pages.
        assert!(resident().saturating_sub(before) < 4000);
    }

    #[test]
    fn a_window_is_fresh_only_after_it_was_asked_about() {
        let presence = Presence::new(PAGES);
        presence.mark(0, PAGES);
        assert!(!presence.is_fresh(600));
        presence.replace(512, &[1; 100]);
        assert!(presence.is_fresh(600));
        assert!(!presence.is_fresh(511) && !presence.is_fresh(1024));
        // Those after the last byte keep what was known of whole words of them; the mapping ends there.
        assert_eq!(presence.marked_run(512, 512), 100);
    }

    #[test]
    fn a_mark_beyond_the_end_is_nothing() {
        let presence = Presence::new(10);
        presence.mark(5000, 5);
        assert!(!presence.is_marked(5000));
    }
}
