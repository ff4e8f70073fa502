#![expect(
    clippy::arithmetic_side_effects,
    reason = "small numbers of the tests' own"
)]

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

const PAGE: u64 = 4096;

fn range(start: u64, pages: u64) -> VirtRange {
    VirtRange::from_len(VirtAddr::new(start * PAGE), ByteLen::new(pages * PAGE)).unwrap()
}

fn request(pages: u64, align_pages: u64, within: VirtRange) -> Request {
    Request {
        size: ByteLen::new(pages * PAGE),
        align: ByteLen::new(align_pages * PAGE),
        within,
    }
}

fn blocks(map: &FreeMap) -> Vec<VirtRange> {
    let end = pages_of(map.level);
    let next = |from, mark| map.root.next(map.level, from, mark);
    let mut out = Vec::new();
    let mut from = 0;
    while let Some(start) = next(from, Mark::Free) {
        from = next(start, Mark::Taken).unwrap_or(end);
        assert_eq!(
            map.root.last(map.level, from - 1, Mark::Taken),
            start.checked_sub(1)
        );
        out.push(map.range(start, from).unwrap());
    }
    out
}

/// How many spans there are, after a check that each knows what is free below it.
fn count_spans(span: &Span, level: u32) -> u64 {
    let (free, spans) = match &span.below {
        Below::Alike => {
            let all = [Mark::Free, Mark::Taken].map(|mark| Free::alike(mark, level));
            assert!(all.contains(&span.free), "{span:?}");
            (span.free, 0)
        }
        Below::Word(word) => (Free::of_word(*word), 0),
        Below::Spans(spans) => {
            let below = spans.iter().map(|span| count_spans(span, level - 1));
            (Free::of_spans(spans, pages_of(level - 1)), below.sum())
        }
    };
    assert_eq!(span.free, free, "V12");
    spans + 1
}

#[test]
fn exact_fit_takes_the_block_away() {
    // V14
    let mut map = FreeMap::new(range(1, 8));
    assert_eq!(map.allocate(request(8, 1, range(1, 8))), Some(range(1, 8)));
    assert_eq!(blocks(&map), []);
    assert_eq!(map.allocate(request(1, 1, range(1, 8))), None);
}

#[test]
fn left_edge_shrinks_the_block() {
    // V14
    let mut map = FreeMap::new(range(1, 8));
    assert_eq!(map.allocate(request(3, 1, range(1, 8))), Some(range(1, 3)));
    assert_eq!(blocks(&map), [range(4, 5)]);
}

#[test]
fn right_edge_shrinks_the_block() {
    // V14
    let mut map = FreeMap::new(range(1, 8));
    assert_eq!(map.allocate(request(3, 1, range(6, 3))), Some(range(6, 3)));
    assert_eq!(blocks(&map), [range(1, 5)]);
}

#[test]
fn inside_splits_the_block() {
    // V14
    let mut map = FreeMap::new(range(1, 15));
    assert_eq!(map.allocate(request(2, 8, range(1, 15))), Some(range(8, 2)));
    assert_eq!(blocks(&map), [range(1, 7), range(10, 6)]);
}

#[test]
fn freed_ranges_merge_with_both_neighbours() {
    // V16
    let mut map = FreeMap::new(range(1, 9));
    let all = range(1, 9);
    let parts = [0, 1, 2].map(|_| map.allocate(request(3, 1, all)).unwrap());
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        for part in order {
            map.free(parts[part]);
        }
        assert_eq!(blocks(&map), [all]);
        for part in parts {
            assert_eq!(map.allocate(request(3, 1, all)), Some(part));
        }
    }
}

#[test]
fn aligned_request_needs_a_block_that_is_sure_to_hold_it() {
    // V13: 4 pages aligned to 4 are looked for as 8 less a byte; a window of exactly the size is looked
    // for as it is.
    let mut map = FreeMap::new(range(4, 7));
    assert_eq!(map.allocate(request(4, 4, range(4, 7))), None);
    assert_eq!(map.allocate(request(4, 4, range(4, 4))), Some(range(4, 4)));
    let mut map = FreeMap::new(range(4, 8));
    assert_eq!(map.allocate(request(4, 4, range(4, 8))), Some(range(4, 4)));
}

#[test]
fn window_is_kept_on_both_sides() {
    // V13: not below its start, and a block whose aligned end lies beyond its end is no fit.
    let mut map = FreeMap::new(range(1, 100));
    assert_eq!(
        map.allocate(request(2, 1, range(50, 10))),
        Some(range(50, 2))
    );
    assert_eq!(map.allocate(request(9, 1, range(50, 10))), None);
    assert_eq!(
        map.allocate(request(8, 1, range(50, 10))),
        Some(range(52, 8))
    );
    assert_eq!(map.allocate(request(1, 1, range(50, 10))), None);
}

#[derive(Debug, Clone)]
enum Op {
    Allocate {
        pages: u64,
        align: u32,
        from: u64,
        len: u64,
    },
    Free {
        which: usize,
    },
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        (1..20_u64, 0..6_u32, 0..400_u64, 1..600_u64).prop_map(|(pages, align, from, len)| {
            Op::Allocate {
                pages,
                align,
                from,
                len,
            }
        }),
        any::<usize>().prop_map(|which| Op::Free { which }),
    ]
}

proptest! {
    /// V12 to V14, V16 against a list of pages.
    #[test]
    fn behaves_like_a_list_of_pages(ops in prop::collection::vec(ops(), 0..200)) {
        const PAGES: usize = 512;
        let window = range(1, 512);
        let mut map = FreeMap::new(window);
        // Page 0 is not in the window.
        let mut free = [true; PAGES + 1];
        free[0] = false;
        let mut taken: Vec<VirtRange> = Vec::new();
        for op in ops {
            match op {
                Op::Allocate { pages, align, from, len } => {
                    let within = range(from + 1, len).intersection(&window);
                    let Some(within) = within else { continue };
                    let align = 1 << align;
                    let found = map.allocate(request(pages, align, within));
                    let expected = lowest(&free, pages, align, within);
                    prop_assert_eq!(found, expected);
                    if let Some(range) = found {
                        mark(&mut free, range, false);
                        taken.push(range);
                    }
                }
                Op::Free { which } if !taken.is_empty() => {
                    let range = taken.swap_remove(which % taken.len());
                    mark(&mut free, range, true);
                    map.free(range);
                }
                Op::Free { .. } => {}
            }
            count_spans(&map.root, map.level);
            let blocks = blocks(&map);
            prop_assert_eq!(blocks, free_blocks(&free));
        }
    }
}

fn mark(free: &mut [bool], range: VirtRange, is_free: bool) {
    for page in range.start().get() / PAGE..range.end().get() / PAGE {
        let page = usize::try_from(page).unwrap();
        assert_ne!(free[page], is_free);
        free[page] = is_free;
    }
}

fn free_blocks(free: &[bool]) -> Vec<VirtRange> {
    let mut blocks = Vec::new();
    let mut start = None;
    for page in 0..=free.len() {
        match (start, free.get(page).copied().unwrap_or(false)) {
            (None, true) => start = Some(page),
            (Some(from), false) => {
                let (from, len) = (u64::try_from(from).unwrap(), page - from);
                blocks.push(range(from, u64::try_from(len).unwrap()));
                start = None;
            }
            _ => {}
        }
    }
    blocks
}

/// V13, the slow way.
fn lowest(free: &[bool], pages: u64, align: u64, within: VirtRange) -> Option<VirtRange> {
    let search_bytes = match align > 1 && within.len() != ByteLen::new(pages * PAGE) {
        true => pages * PAGE + align * PAGE - 1,
        false => pages * PAGE,
    };
    free_blocks(free)
        .into_iter()
        .filter(|block| block.len().get() >= search_bytes)
        .find_map(|block| {
            let from = block.start().max(within.start()).get() / PAGE;
            let found = range(from.next_multiple_of(align), pages);
            (block.contains_range(&found) && within.contains_range(&found)).then_some(found)
        })
}

#[test]
fn wide_blocks_take_no_memory() {
    // V12: what is alike below a span is one span, also in the 12800 TiB of 5-level paging.
    let all = VirtRange::from_len(
        VirtAddr::new(0xffa0_0000_0000_0000),
        ByteLen::new(12_800 << 40),
    );
    let all = all.unwrap();
    let mut map = FreeMap::new(all);
    let empty = count_spans(&map.root, map.level);
    let one = |map: &mut FreeMap, pages| map.allocate(request(pages, 1, all)).unwrap();
    let first = one(&mut map, 1);
    let wide = one(&mut map, 1 << 40);
    let last = one(&mut map, 3);
    assert_eq!((first.end(), wide.end()), (wide.start(), last.start()));
    let spans = count_spans(&map.root, map.level);
    assert!(spans < empty + 3 * 16 * 12, "{spans} for 4 blocks");
    for range in [wide, first, last] {
        map.free(range);
    }
    assert_eq!(blocks(&map), [all]);
    assert_eq!(count_spans(&map.root, map.level), empty);
}

#[test]
fn blocks_of_every_width_are_found_across_words_and_spans() {
    // V13: a gap of every width at every place around the ends of words (64 pages) and of spans (1024).
    let window = range(1, 4096);
    for start in [
        1, 2, 62, 63, 64, 65, 66, 1000, 1022, 1023, 1024, 1025, 1026, 3000,
    ] {
        for width in [
            1, 2, 3, 31, 63, 64, 65, 127, 128, 129, 1000, 1024, 1025, 1090,
        ] {
            let mut map = FreeMap::new(window);
            let gap = range(start, width);
            assert_eq!(map.allocate(request(4096, 1, window)), Some(window));
            map.free(gap);
            assert_eq!(blocks(&map), [gap]);
            assert_eq!(map.allocate(request(width + 1, 1, window)), None);
            assert_eq!(map.allocate(request(width, 1, window)), Some(gap));
            assert_eq!(blocks(&map), []);
        }
    }
}
