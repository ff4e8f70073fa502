use alloc::boxed::Box;

use vread_addr::{ByteLen, PAGE_SIZE, VirtAddr, VirtRange};

/// The free blocks of a window: a tree sorted by address in which every node knows the widest block
/// below it, so that a search never enters a subtree without room (V12).
///
/// The shape is that of a treap: priorities from a fixed sequence keep it shallow, so that recursion
/// over it is bounded by a small multiple of the logarithm of its size.
///
/// # Invariants
///
/// Blocks are not empty, do not overlap and do not touch.
#[derive(Debug)]
pub(super) struct FreeTree {
    root: Link,
    priorities: Priorities,
}

type Link = Option<Box<Node>>;

#[derive(Debug)]
struct Node {
    block: VirtRange,
    widest: ByteLen,
    priority: u64,
    left: Link,
    right: Link,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) size: ByteLen,
    /// A power of two of at least a page.
    pub(super) align: ByteLen,
    pub(super) within: VirtRange,
}

impl FreeTree {
    /// All of `window` is free.
    pub(super) fn new(window: VirtRange) -> Self {
        let mut tree = Self {
            root: None,
            priorities: Priorities(0x9e37_79b9_7f4a_7c15),
        };
        tree.insert(window);
        tree
    }

    /// Takes the lowest block that fits (V13).
    pub(super) fn allocate(&mut self, request: Request) -> Option<VirtRange> {
        let search_len = request.search_len()?;
        let (block, taken) = lowest_fit(&self.root, search_len, &request)?;
        // V14: what is left of the block on either side stays free.
        self.remove(block);
        let below = VirtRange::new(block.start(), taken.start());
        let above = VirtRange::new(taken.end(), block.end());
        for rest in [below, above].into_iter().flatten() {
            self.insert(rest);
        }
        Some(taken)
    }

    /// Gives `range` back, merged with the neighbours that it touches (V16).
    pub(super) fn free(&mut self, range: VirtRange) {
        let below = last_below(&self.root, range.start()).filter(|b| b.end() == range.start());
        let above = first_at_or_above(&self.root, range.end()).filter(|b| b.start() == range.end());
        for neighbour in [below, above].into_iter().flatten() {
            self.remove(neighbour);
        }
        let start = below.map_or(range.start(), |block| block.start());
        let end = above.map_or(range.end(), |block| block.end());
        if let Some(merged) = VirtRange::new(start, end) {
            self.insert(merged);
        }
    }

    fn insert(&mut self, block: VirtRange) {
        // INVARIANT: callers insert parts of one free block, or a block merged with its neighbours.
        if block.is_empty() {
            return;
        }
        let node = Box::new(Node {
            block,
            widest: block.len(),
            priority: self.priorities.next(),
            left: None,
            right: None,
        });
        let (below, above) = split(self.root.take(), block.start());
        self.root = join(join(below, Some(node)), above);
    }

    fn remove(&mut self, block: VirtRange) {
        let (below, rest) = split(self.root.take(), block.start());
        let (_block, above) = split(rest, block.end());
        self.root = join(below, above);
    }
}

impl Request {
    /// The length that a block must have to be sure to hold the request (V13).
    fn search_len(&self) -> Option<ByteLen> {
        if self.align <= PAGE_SIZE || self.within.len() == self.size {
            return Some(self.size);
        }
        self.size.checked_add(ByteLen::new(self.align.low_mask()))
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

impl Node {
    fn update(&mut self) {
        let below = |link: &Link| link.as_ref().map_or(ByteLen::ZERO, |node| node.widest);
        self.widest = self
            .block
            .len()
            .max(below(&self.left))
            .max(below(&self.right));
    }
}

/// The lowest block with room for `request`, and the part of it to take.
fn lowest_fit(
    link: &Link,
    search_len: ByteLen,
    request: &Request,
) -> Option<(VirtRange, VirtRange)> {
    let node = link.as_ref().filter(|node| node.widest >= search_len)?;
    let below = (node.block.start() > request.within.start())
        .then(|| lowest_fit(&node.left, search_len, request));
    if let Some(found) = below.flatten() {
        return Some(found);
    }
    let here = (node.block.len() >= search_len)
        .then(|| request.fit(node.block))
        .flatten();
    if let Some(taken) = here {
        return Some((node.block, taken));
    }
    (node.block.end() < request.within.end())
        .then(|| lowest_fit(&node.right, search_len, request))
        .flatten()
}

/// The blocks that start below `at`, and the others.
fn split(link: Link, at: VirtAddr) -> (Link, Link) {
    let Some(mut node) = link else {
        return (None, None);
    };
    if node.block.start() < at {
        let (below, above) = split(node.right.take(), at);
        node.right = below;
        node.update();
        (Some(node), above)
    } else {
        let (below, above) = split(node.left.take(), at);
        node.left = above;
        node.update();
        (below, Some(node))
    }
}

/// One tree of two, of which all of `below` lies below all of `above`.
fn join(below: Link, above: Link) -> Link {
    match (below, above) {
        (link, None) | (None, link) => link,
        (Some(mut low), Some(mut high)) => {
            if low.priority > high.priority {
                low.right = join(low.right.take(), Some(high));
                low.update();
                Some(low)
            } else {
                high.left = join(Some(low), high.left.take());
                high.update();
                Some(high)
            }
        }
    }
}

fn last_below(root: &Link, at: VirtAddr) -> Option<VirtRange> {
    let mut link = root;
    let mut found = None;
    while let Some(node) = link {
        if node.block.start() < at {
            found = Some(node.block);
            link = &node.right;
        } else {
            link = &node.left;
        }
    }
    found
}

fn first_at_or_above(root: &Link, at: VirtAddr) -> Option<VirtRange> {
    let mut link = root;
    let mut found = None;
    while let Some(node) = link {
        if node.block.start() >= at {
            found = Some(node.block);
            link = &node.left;
        } else {
            link = &node.right;
        }
    }
    found
}

/// A fixed sequence without pattern (xorshift).
#[derive(Debug)]
struct Priorities(u64);

impl Priorities {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
#[path = "free_tree_tests.rs"]
mod tests;
