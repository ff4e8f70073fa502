use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Pages that are known to be populated, one bit each.
///
/// A page that its owner gives back afterwards stays known until somebody asks again; a read meanwhile gives
/// zeros as it should, but may populate it. Memory is taken for 128 MiB of RAM at a time, when its
/// first page is marked, so that a sparse machine of 1 TiB costs little.
#[derive(Debug)]
pub(crate) struct Presence {
    chunks: Box<[OnceLock<Box<Chunk>>]>,
}

const WORD_PAGES: usize = 64;
const CHUNK_WORDS: usize = 512;
const CHUNK_PAGES: usize = WORD_PAGES * CHUNK_WORDS;

type Chunk = [AtomicU64; CHUNK_WORDS];

impl Presence {
    /// For `pages` pages, none of them known.
    pub(crate) fn new(pages: usize) -> Self {
        let chunks = pages.div_ceil(CHUNK_PAGES);
        Self {
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
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
        for_each_word(page, count, |at, bits| {
            let Some(chunk) = self.chunks.get(at / CHUNK_PAGES) else {
                return;
            };
            let chunk = chunk.get_or_init(|| Box::new([const { AtomicU64::new(0) }; CHUNK_WORDS]));
            if let Some(word) = chunk.get((at / WORD_PAGES) % CHUNK_WORDS)
                // Most often nothing changes, and a cache line that is only read stays shared.
                && word.load(Ordering::Relaxed) & bits != bits
            {
                word.fetch_or(bits, Ordering::Relaxed);
            }
        });
    }

    /// Notes that nothing is known of `count` pages from `page` on.
    pub(crate) fn unmark(&self, page: usize, count: usize) {
        let end = page.saturating_add(count);
        let first_chunk = page / CHUNK_PAGES;
        let chunks = self.chunks.iter().enumerate().skip(first_chunk);
        for (index, chunk) in
            chunks.take_while(|(index, _)| index.saturating_mul(CHUNK_PAGES) < end)
        {
            if chunk.get().is_none() {
                continue;
            }
            let start = index.saturating_mul(CHUNK_PAGES).max(page);
            let count = end
                .min(index.saturating_add(1).saturating_mul(CHUNK_PAGES))
                .saturating_sub(start);
            for_each_word(start, count, |at, bits| {
                if let Some(word) = self.word(at)
                    && word.load(Ordering::Relaxed) & bits != 0
                {
                    word.fetch_and(!bits, Ordering::Relaxed);
                }
            });
        }
    }

    #[inline]
    fn word(&self, page: usize) -> Option<&AtomicU64> {
        self.chunks
            .get(page / CHUNK_PAGES)?
            .get()?
            .get((page / WORD_PAGES) % CHUNK_WORDS)
    }
}

/// Calls `each` with the first page and the bits of every word that `count` pages from `page` on touch.
fn for_each_word(page: usize, count: usize, mut each: impl FnMut(usize, u64)) {
    let end = page.saturating_add(count);
    let mut at = page;
    while at < end {
        let from = at % WORD_PAGES;
        let step = WORD_PAGES.wrapping_sub(from).min(end.wrapping_sub(at));
        let unused = u32::try_from(WORD_PAGES.wrapping_sub(step)).unwrap_or(u64::BITS);
        each(at, u64::MAX.checked_shr(unused).unwrap_or(0) << from);
        at = at.saturating_add(step);
    }
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

    const PAGES: usize = 3 * CHUNK_PAGES - 7;

    proptest! {
        #[test]
        fn agrees_with_a_set_of_pages(
            marks in prop::collection::vec((0..PAGES, 0..CHUNK_PAGES + 70, any::<bool>()), 0..8),
            asks in prop::collection::vec((0..PAGES, 0..PAGES), 1..50),
        ) {
            let presence = Presence::new(PAGES);
            let mut set = vec![false; PAGES];
            for &(page, count, on) in &marks {
                let count = count.min(PAGES - page);
                if on {
                    presence.mark(page, count);
                } else {
                    presence.unmark(page, count);
                }
                set[page..page + count].fill(on);
            }
            let borders = marks.iter().flat_map(|&(page, count, _)| {
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
        let presence = Presence::new(1 << 28);
        presence.mark((1 << 28) - 1, 1);
        assert!(presence.is_marked((1 << 28) - 1));
        let taken = presence.chunks.iter().filter(|chunk| chunk.get().is_some());
        assert_eq!(taken.count(), 1);
        assert!(size_of_val(&*presence.chunks) <= 256 << 10);
    }

    #[test]
    fn a_mark_beyond_the_end_is_nothing() {
        let presence = Presence::new(10);
        presence.mark(CHUNK_PAGES, 5);
        assert!(!presence.is_marked(CHUNK_PAGES));
    }
}
