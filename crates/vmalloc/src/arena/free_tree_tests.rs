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

fn blocks(tree: &FreeTree) -> Vec<VirtRange> {
    fn collect(link: &Link, out: &mut Vec<VirtRange>) {
        if let Some(node) = link {
            collect(&node.left, out);
            out.push(node.block);
            collect(&node.right, out);
        }
    }
    let mut out = Vec::new();
    collect(&tree.root, &mut out);
    out
}

/// The height, after a check that every node knows the widest block below it.
fn height(link: &Link) -> usize {
    let Some(node) = link else { return 0 };
    let below = [&node.left, &node.right].map(|link| link.as_ref().map(|node| node.widest));
    let widest = below.into_iter().flatten().fold(node.block.len(), Ord::max);
    assert_eq!(node.widest, widest, "V12");
    height(&node.left).max(height(&node.right)) + 1
}

#[test]
fn exact_fit_takes_the_block_away() {
    // V14
    let mut tree = FreeTree::new(range(1, 8));
    assert_eq!(tree.allocate(request(8, 1, range(1, 8))), Some(range(1, 8)));
    assert_eq!(blocks(&tree), []);
    assert_eq!(tree.allocate(request(1, 1, range(1, 8))), None);
}

#[test]
fn left_edge_shrinks_the_block() {
    // V14
    let mut tree = FreeTree::new(range(1, 8));
    assert_eq!(tree.allocate(request(3, 1, range(1, 8))), Some(range(1, 3)));
    assert_eq!(blocks(&tree), [range(4, 5)]);
}

#[test]
fn right_edge_shrinks_the_block() {
    // V14
    let mut tree = FreeTree::new(range(1, 8));
    assert_eq!(tree.allocate(request(3, 1, range(6, 3))), Some(range(6, 3)));
    assert_eq!(blocks(&tree), [range(1, 5)]);
}

#[test]
fn inside_splits_the_block() {
    // V14
    let mut tree = FreeTree::new(range(1, 15));
    assert_eq!(
        tree.allocate(request(2, 8, range(1, 15))),
        Some(range(8, 2))
    );
    assert_eq!(blocks(&tree), [range(1, 7), range(10, 6)]);
}

#[test]
fn freed_ranges_merge_with_both_neighbours() {
    // V16
    let mut tree = FreeTree::new(range(1, 9));
    let all = range(1, 9);
    let parts = [0, 1, 2].map(|_| tree.allocate(request(3, 1, all)).unwrap());
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        for part in order {
            tree.free(parts[part]);
        }
        assert_eq!(blocks(&tree), [all]);
        for part in parts {
            assert_eq!(tree.allocate(request(3, 1, all)), Some(part));
        }
    }
}

#[test]
fn aligned_request_needs_a_block_that_is_sure_to_hold_it() {
    // V13: 4 pages aligned to 4 are looked for as 8 less a byte; a window of exactly the size is looked
    // for as it is.
    let mut tree = FreeTree::new(range(4, 7));
    assert_eq!(tree.allocate(request(4, 4, range(4, 7))), None);
    assert_eq!(tree.allocate(request(4, 4, range(4, 4))), Some(range(4, 4)));
    let mut tree = FreeTree::new(range(4, 8));
    assert_eq!(tree.allocate(request(4, 4, range(4, 8))), Some(range(4, 4)));
}

#[test]
fn window_is_kept_on_both_sides() {
    // V13: not below its start, and a block whose aligned end lies beyond its end is no fit.
    let mut tree = FreeTree::new(range(1, 100));
    assert_eq!(
        tree.allocate(request(2, 1, range(50, 10))),
        Some(range(50, 2))
    );
    assert_eq!(tree.allocate(request(9, 1, range(50, 10))), None);
    assert_eq!(
        tree.allocate(request(8, 1, range(50, 10))),
        Some(range(52, 8))
    );
    assert_eq!(tree.allocate(request(1, 1, range(50, 10))), None);
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
        let mut tree = FreeTree::new(window);
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
                    let found = tree.allocate(request(pages, align, within));
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
                    tree.free(range);
                }
                Op::Free { .. } => {}
            }
            height(&tree.root);
            let blocks = blocks(&tree);
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
fn stays_shallow() {
    // A search is logarithmic: a hundred thousand blocks, in order of address.
    let window = range(1, 1 << 20);
    let mut tree = FreeTree::new(window);
    for page in 0..100_000 {
        let one = range(2 + page * 2, 1);
        assert_eq!(tree.allocate(request(1, 1, one)), Some(one));
    }
    let height = height(&tree.root);
    assert!(height < 64, "{height}");
}
