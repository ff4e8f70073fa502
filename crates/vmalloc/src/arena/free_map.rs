use alloc::boxed::Box;

use vread_addr::{ByteLen, PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange};

/// The children of a node.
const FANOUT_BITS: u32 = 4;
const FANOUT: usize = 1 << FANOUT_BITS;

/// The pages of a node at level 0: the bits of a word.
const WORD_BITS: u32 = 6;

/// The free blocks of a window: a bit a page, and above them a tree in which every node knows the widest
/// block below it, so that a search never enters a subtree without room (V12).
///
/// Linux keeps a node a block; a bit a page is smaller by far where blocks are many, so that what a search
/// touches stays in a cache, and a subtree all of whose pages are alike takes no memory at all.
///
/// Pages count from the start of the window.
#[derive(Debug)]
pub(super) struct FreeMap {
    base: VirtAddr,
    root: Span,
    level: u32,
}

/// Pages that lie one after another: as many as a node of a certain level has.
#[derive(Debug)]
struct Span {
    free: Free,
    below: Below,
}

/// How many pages of a span are free at its start, at its end, and at most one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Free {
    head: u64,
    widest: u64,
    tail: u64,
}

#[derive(Debug)]
enum Below {
    /// All pages are free, or none is.
    Alike,
    /// A set bit is a free page.
    Word(u64),
    Spans(Box<[Span; FANOUT]>),
}

/// What pages become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Free,
    Taken,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) size: ByteLen,
    /// A power of two of at least a page.
    pub(super) align: ByteLen,
    pub(super) within: VirtRange,
}

impl FreeMap {
    /// All of `window`, whose ends are page aligned, is free.
    pub(super) fn new(window: VirtRange) -> Self {
        let pages = window.len().get() >> PAGE_SHIFT;
        let bits = u64::BITS.saturating_sub(pages.saturating_sub(1).leading_zeros());
        let level = bits.saturating_sub(WORD_BITS).div_ceil(FANOUT_BITS);
        let mut root = Span::alike(Mark::Taken, level);
        root.mark(level, 0, pages, Mark::Free);
        Self {
            base: window.start(),
            root,
            level,
        }
    }

    /// Takes the lowest block that fits (V13); what is left of it on either side stays free (V14).
    pub(super) fn allocate(&mut self, request: Request) -> Option<VirtRange> {
        let taken = self.lowest_fit(&request)?;
        self.mark(taken, Mark::Taken);
        Some(taken)
    }

    /// Gives `range` back, merged with the neighbours that it touches (V16).
    pub(super) fn free(&mut self, range: VirtRange) {
        self.mark(range, Mark::Free);
    }

    fn lowest_fit(&self, request: &Request) -> Option<VirtRange> {
        let needed = request.search_pages()?;
        let within = request.within.start().max(self.base);
        let mut from = within.checked_offset_from(self.base)?.get() >> PAGE_SHIFT;
        // The block around the start of what is allowed counts with what lies below.
        if self.root.is_free(self.level, from) {
            let end = self.root.next(self.level, from, Mark::Taken);
            let end = end.unwrap_or(pages_of(self.level));
            let start = self.root.last(self.level, from, Mark::Taken);
            let start = start.map_or(0, |taken| taken.saturating_add(1));
            if end.saturating_sub(start) >= needed {
                let fit = self.range(start, end).and_then(|block| request.fit(block));
                if fit.is_some() {
                    return fit;
                }
            }
            from = end;
        }
        let mut search = Search {
            from,
            needed,
            run: 0,
        };
        let start = self.root.search(self.level, 0, &mut search)?;
        // A block that starts where it may and is wide enough holds the request, wherever it is aligned,
        // so that if this one does not end in time then none does.
        request.fit(self.range(start, start.checked_add(needed)?)?)
    }

    fn range(&self, start: u64, end: u64) -> Option<VirtRange> {
        let at = |page: u64| {
            let offset = page.checked_mul(PAGE_SIZE.get())?;
            self.base.checked_add(ByteLen::new(offset))
        };
        VirtRange::new(at(start)?, at(end)?)
    }

    fn mark(&mut self, range: VirtRange, mark: Mark) {
        let page = |addr: VirtAddr| Some(addr.checked_offset_from(self.base)?.get() >> PAGE_SHIFT);
        if let (Some(start), Some(end)) = (page(range.start()), page(range.end())) {
            self.root.mark(self.level, start, end, mark);
        }
    }
}

impl Request {
    /// The pages that a block must have to be sure to hold the request (V13).
    fn search_pages(&self) -> Option<u64> {
        let len = match self.align <= PAGE_SIZE || self.within.len() == self.size {
            true => self.size,
            false => self.size.checked_add(ByteLen::new(self.align.low_mask()))?,
        };
        Some(len.get().div_ceil(PAGE_SIZE.get()))
    }

    fn fit(&self, block: VirtRange) -> Option<VirtRange> {
        let start = block
            .start()
            .max(self.within.start())
            .checked_align_up(self.align)?;
        let taken = VirtRange::from_len(start, self.size)?;
        (block.contains_range(&taken) && self.within.contains_range(&taken)).then_some(taken)
    }
}

/// A search for the first `needed` free pages one after another, under way from low to high.
struct Search {
    /// The first page that counts. The one below it is taken.
    from: u64,
    needed: u64,
    /// How many free pages lie right below the next span.
    run: u64,
}

// The recursion of these is as deep as the tree: 12 levels for all of the 64-bit space.
impl Span {
    fn alike(mark: Mark, level: u32) -> Self {
        Self {
            free: Free::alike(mark, level),
            below: Below::Alike,
        }
    }

    /// Makes the pages `[start, end)` of this span free or taken.
    fn mark(&mut self, level: u32, start: u64, end: u64, mark: Mark) {
        if start == 0 && end >= pages_of(level) {
            *self = Self::alike(mark, level);
            return;
        }
        let before = match self.free.widest {
            0 => Mark::Taken,
            _ => Mark::Free,
        };
        if level == 0 {
            let word = match (&self.below, before) {
                (Below::Word(word), _) => *word,
                (_, Mark::Free) => !0,
                (_, Mark::Taken) => 0,
            };
            let bits = bits_from(start) & !bits_from(end);
            let word = match mark {
                Mark::Free => word | bits,
                Mark::Taken => word & !bits,
            };
            self.free = Free::of_word(word);
            self.below = match word {
                0 | u64::MAX => Below::Alike,
                _ => Below::Word(word),
            };
            return;
        }
        let child_level = level.saturating_sub(1);
        if !matches!(self.below, Below::Spans(_)) {
            let span = |_| Self::alike(before, child_level);
            self.below = Below::Spans(Box::new(core::array::from_fn(span)));
        }
        let Below::Spans(spans) = &mut self.below else {
            return;
        };
        let child_pages = pages_of(child_level);
        let mut changed = false;
        let (child, in_child) = child_of(level, start);
        let first = start.saturating_sub(in_child);
        let firsts = core::iter::successors(Some(first), |first| first.checked_add(child_pages));
        for (span, first) in spans.iter_mut().skip(child).zip(firsts) {
            if first >= end {
                break;
            }
            let free = span.free;
            let high = end.saturating_sub(first).min(child_pages);
            span.mark(child_level, start.saturating_sub(first), high, mark);
            changed |= span.free != free;
        }
        if changed {
            self.free = Free::of_spans(spans, child_pages);
            if self.free == Free::alike(mark, level) {
                self.below = Below::Alike;
            }
        }
    }

    fn is_free(&self, level: u32, page: u64) -> bool {
        match &self.below {
            Below::Alike => self.free.widest != 0 && page < pages_of(level),
            Below::Word(word) => word & bits_from(page) & !bits_from(page.saturating_add(1)) != 0,
            Below::Spans(spans) => {
                let (child, page) = child_of(level, page);
                let span = spans.get(child);
                span.is_some_and(|span| span.is_free(level.saturating_sub(1), page))
            }
        }
    }

    /// The first page at or above `from` that is marked so.
    fn next(&self, level: u32, from: u64, mark: Mark) -> Option<u64> {
        match &self.below {
            Below::Alike => {
                let all = self.free == Free::alike(mark, level);
                (all && from < pages_of(level)).then_some(from)
            }
            Below::Word(word) => {
                let bits = mark.select(*word) & bits_from(from);
                (bits != 0).then(|| u64::from(bits.trailing_zeros()))
            }
            Below::Spans(spans) => {
                let below = level.saturating_sub(1);
                let mut children = starts(pages_of(below)).zip(spans.iter());
                children.find_map(|(first, span)| {
                    if first.saturating_add(pages_of(below)) <= from {
                        return None;
                    }
                    let page = span.next(below, from.saturating_sub(first), mark)?;
                    first.checked_add(page)
                })
            }
        }
    }

    /// The last page at or below `from` that is marked so.
    fn last(&self, level: u32, from: u64, mark: Mark) -> Option<u64> {
        match &self.below {
            Below::Alike => {
                let all = self.free == Free::alike(mark, level);
                all.then(|| from.min(pages_of(level).saturating_sub(1)))
            }
            Below::Word(word) => {
                let bits = mark.select(*word) & !bits_from(from.saturating_add(1));
                bits.checked_ilog2().map(u64::from)
            }
            Below::Spans(spans) => {
                let below = level.saturating_sub(1);
                let pages = pages_of(below);
                let mut children = spans.iter().enumerate().rev();
                children.find_map(|(child, span)| {
                    let first = u64::try_from(child).ok()?.checked_mul(pages)?;
                    let page = span.last(below, from.checked_sub(first)?, mark)?;
                    first.checked_add(page)
                })
            }
        }
    }

    /// The first page of the lowest run that is wide enough, if it ends in this span, which starts at
    /// page `first`.
    fn search(&self, level: u32, first: u64, search: &mut Search) -> Option<u64> {
        let pages = pages_of(level);
        let end = first.saturating_add(pages);
        if end <= search.from {
            return None;
        }
        let whole = first >= search.from;
        if whole && search.run.saturating_add(self.free.head) >= search.needed {
            return first.checked_sub(search.run);
        }
        if whole && self.free.widest < search.needed {
            search.run = match self.free.head == pages {
                true => search.run.saturating_add(pages),
                false => self.free.tail,
            };
            return None;
        }
        match &self.below {
            Below::Alike => {
                // Only a part of it counts.
                search.run = match self.free.widest {
                    0 => 0,
                    _ => end.saturating_sub(search.from),
                };
                (search.run >= search.needed).then_some(search.from)
            }
            Below::Word(word) => {
                let word = word & bits_from(search.from.saturating_sub(first));
                let found = lowest_run(word, search.needed);
                search.run = u64::from(word.leading_ones());
                found.and_then(|page| first.checked_add(page))
            }
            Below::Spans(spans) => {
                let below = level.saturating_sub(1);
                let mut children = starts(pages_of(below)).zip(spans.iter());
                children.find_map(|(offset, span)| {
                    span.search(below, first.checked_add(offset)?, search)
                })
            }
        }
    }
}

impl Free {
    fn alike(mark: Mark, level: u32) -> Self {
        let pages = match mark {
            Mark::Free => pages_of(level),
            Mark::Taken => 0,
        };
        Self {
            head: pages,
            widest: pages,
            tail: pages,
        }
    }

    fn of_word(word: u64) -> Self {
        // Each turn makes every run of ones shorter by one.
        let mut rest = word;
        let mut widest = 0_u64;
        while rest != 0 {
            rest &= rest << 1;
            widest = widest.saturating_add(1);
        }
        Self {
            head: u64::from(word.trailing_ones()),
            widest,
            tail: u64::from(word.leading_ones()),
        }
    }

    fn of_spans(spans: &[Span; FANOUT], child_pages: u64) -> Self {
        let mut free = Self {
            head: 0,
            widest: 0,
            tail: 0,
        };
        let mut from_start = true;
        for span in spans {
            let joined = free.tail.saturating_add(span.free.head);
            free.widest = free.widest.max(span.free.widest).max(joined);
            if from_start {
                free.head = free.head.saturating_add(span.free.head);
            }
            if span.free.head == child_pages {
                free.tail = joined;
            } else {
                free.tail = span.free.tail;
                from_start = false;
            }
        }
        free
    }
}

impl Mark {
    /// The bits of the pages that are marked so.
    fn select(self, word: u64) -> u64 {
        match self {
            Self::Free => word,
            Self::Taken => !word,
        }
    }
}

/// The pages of a span at `level`, as a power of two.
fn page_bits(level: u32) -> u32 {
    level.saturating_mul(FANOUT_BITS).saturating_add(WORD_BITS)
}

/// The pages of a span at `level`.
fn pages_of(level: u32) -> u64 {
    1_u64.checked_shl(page_bits(level)).unwrap_or(u64::MAX)
}

/// The first page of each child.
fn starts(child_pages: u64) -> impl Iterator<Item = u64> {
    core::iter::successors(Some(0_u64), move |first| first.checked_add(child_pages))
}

/// Which child of a span at `level` has `page`, and which of its pages that is.
fn child_of(level: u32, page: u64) -> (usize, u64) {
    let bits = page_bits(level.saturating_sub(1));
    let child = page.checked_shr(bits).unwrap_or(0);
    let in_child = page & !bits_from(bits.into());
    (usize::try_from(child).unwrap_or(usize::MAX), in_child)
}

/// The bits from `page` on; none from the end of the word on.
fn bits_from(page: u64) -> u64 {
    let page = u32::try_from(page).unwrap_or(u32::MAX);
    u64::MAX.checked_shl(page).unwrap_or(0)
}

/// Where the first `len` ones in a row start.
fn lowest_run(word: u64, len: u64) -> Option<u64> {
    let mut starts = word;
    let mut left = u32::try_from(len).ok()?.checked_sub(1)?;
    let mut step = 1_u32;
    // A bit that is left has as many ones behind it as were shifted over it: 1, 2, 4 and so on.
    while left > 0 && starts != 0 {
        let by = step.min(left);
        starts &= starts.checked_shr(by).unwrap_or(0);
        left = left.saturating_sub(by);
        step = step.saturating_add(by);
    }
    (starts != 0).then(|| u64::from(starts.trailing_zeros()))
}

#[cfg(test)]
#[path = "free_map_tests.rs"]
mod tests;
