use alloc::boxed::Box;

use lock_api::RawRwLock;
use spin::Once;
use vread_addr::{ByteLen, PAGE_SHIFT, VirtAddr, VirtRange};

use super::area_state::Slot;
use super::sync::{AtomicU64, Ordering};

/// The children of a node; few for loom, which counts every atomic.
const FANOUT_BITS: u32 = if cfg!(loom) { 2 } else { 9 };
const FANOUT: usize = 1 << FANOUT_BITS;
const INDEX_MASK: u64 = (1 << FANOUT_BITS) - 1;

/// How many children a word tells of. The bits of its lower half say which of them lead to areas, in a leaf at
/// which one starts; those of its upper half at which one ends that starts in this word, too. So one load shows
/// such an area whole, as it was at one instant.
const WORD_BITS: u32 = if cfg!(loom) { FANOUT_BITS } else { 5 };
const WORD_CHILDREN: usize = 1 << WORD_BITS;
const WORD_MASK: u64 = (1 << WORD_BITS) - 1;
const WORDS: usize = FANOUT.div_ceil(WORD_CHILDREN);
const STARTS: u64 = 0xffff_ffff;
const ENDS_SHIFT: u32 = 32;

/// Which areas there are, by the pages at which they start and end: a radix tree that is searched without a lock.
///
/// Every node has a bit for each child that leads to an area, so that a search touches a line or two a
/// level, however many areas there are. The bits lie apart from the slots: those of a million areas stay in a
/// cache, and whoever wants to know of an area no more than where it is waits for no memory. Nodes are
/// made on first use and kept: what readers walk never goes away, and takes a 256th of the space around
/// the areas that ever were.
///
/// [`list`](Self::list) and [`unlist`](Self::unlist) are called by one thread at a time.
pub(super) struct AreaTable<R> {
    base: VirtAddr,
    pages: u64,
    root: Node<R>,
    /// How far a page's number is shifted to index the root. Every level below takes [`FANOUT_BITS`] off.
    shift: u32,
}

enum Node<R> {
    Inner(Box<Inner<R>>),
    Leaf(Box<Leaf<R>>),
}

struct Inner<R> {
    /// Which children lead to a listed area. While `unlist` is at work, one may lead to none.
    bits: Bits,
    nodes: [Once<Node<R>>; FANOUT],
}

struct Leaf<R> {
    /// At which pages a listed area starts, and at which one ends.
    bits: Bits,
    /// One for two pages: the smallest area has a page and a guard page, or more pages.
    slots: Box<[Slot<R>; FANOUT / 2]>,
}

/// The bits of a node's children.
struct Bits([AtomicU64; WORDS]);

/// A listed area that may have the address that was asked for.
pub(super) struct Around<'a, R> {
    pub(super) start: VirtAddr,
    /// Where it ends, where that is known without a look at its slot: then it has the address.
    pub(super) end: Option<VirtAddr>,
    pub(super) slot: &'a Slot<R>,
}

/// Which way a search goes on.
#[derive(Debug, Clone, Copy)]
enum Toward {
    Lower,
    Higher,
}

impl<R: RawRwLock> AreaTable<R> {
    /// No area in `window`, whose ends are page aligned.
    pub(super) fn new(window: VirtRange) -> Self {
        let pages = window.len().get() >> PAGE_SHIFT;
        let bits = u64::BITS.saturating_sub(pages.saturating_sub(1).leading_zeros());
        let above = bits.div_ceil(FANOUT_BITS).max(1).saturating_sub(1);
        let shift = above.saturating_mul(FANOUT_BITS);
        Self {
            base: window.start(),
            pages,
            root: Node::new(shift),
            shift,
        }
    }

    /// The slot for an area that starts at `start`, a page of the window; made where it is not yet.
    pub(super) fn make_slot(&self, start: VirtAddr) -> Option<&Slot<R>> {
        let page = self.page_of(start)?;
        let mut node = &self.root;
        let mut shift = self.shift;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.slots.get(index(page, shift) / 2),
                Node::Inner(inner) => {
                    let child = inner.nodes.get(index(page, shift))?;
                    shift = shift.saturating_sub(FANOUT_BITS);
                    node = child.call_once(|| Node::new(shift));
                }
            }
        }
    }

    /// Shows the area of `range`, whose slot is made and filled, to searches.
    pub(super) fn list(&self, range: VirtRange) {
        let Some(page) = self.page_of(range.start()) else {
            return;
        };
        let mut node = &self.root;
        let mut shift = self.shift;
        loop {
            let index = index(page, shift);
            match node {
                Node::Leaf(leaf) => return leaf.bits.set(index, area_bits(page, range)),
                Node::Inner(inner) => {
                    inner.bits.set(index, bit(index));
                    match inner.child(index) {
                        Some(child) => node = child,
                        None => return,
                    }
                }
            }
            shift = shift.saturating_sub(FANOUT_BITS);
        }
    }

    /// Hides it again.
    pub(super) fn unlist(&self, range: VirtRange) {
        if let Some(page) = self.page_of(range.start()) {
            let _others = self.root.unlist(page, self.shift, area_bits(page, range));
        }
    }

    /// The last area that starts at or below `addr`, unless it is known to end there, too.
    #[inline]
    pub(super) fn around(&self, addr: VirtAddr) -> Option<Around<'_, R>> {
        let offset = addr.checked_offset_from(self.base)?;
        let page = Some(offset.get() >> PAGE_SHIFT).filter(|page| *page < self.pages)?;
        if let Some(leaf) = self.leaf(page)
            && let Some((first, behind)) = leaf.bits.area_before(page)
        {
            let slot = leaf.slots.get(index(first, 0) / 2)?;
            return (page < behind).then(|| Around {
                start: self.addr_of(first),
                end: Some(self.addr_of(behind)),
                slot,
            });
        }
        let (start, slot) = self.search(page, Toward::Lower)?;
        let end = None;
        Some(Around { start, end, slot })
    }

    /// The first area that starts above `addr`: its start and its slot.
    pub(super) fn first_above(&self, addr: VirtAddr) -> Option<(VirtAddr, &Slot<R>)> {
        let page = match addr.checked_offset_from(self.base) {
            Some(offset) => (offset.get() >> PAGE_SHIFT).checked_add(1)?,
            None => 0,
        };
        let page = Some(page).filter(|page| *page < self.pages)?;
        self.search(page, Toward::Higher)
    }

    /// The area that starts at page `from` or nearest to it on one side.
    ///
    /// Nearly always it is in the node of `from` itself. Else [`beside`](Self::beside) says where to look
    /// next: the way leads to one side only, and ends after a turn a level unless others unlist areas
    /// meanwhile.
    fn search(&self, from: u64, toward: Toward) -> Option<(VirtAddr, &Slot<R>)> {
        let mut from = from;
        loop {
            if let Some(found) = self.search_near(from, toward) {
                return Some(found);
            }
            from = self.beside(from, toward)?;
        }
    }

    /// As `search`, in the leaf of `from` only.
    #[inline]
    fn search_near(&self, from: u64, toward: Toward) -> Option<(VirtAddr, &Slot<R>)> {
        let leaf = self.leaf(from)?;
        let at = index(from, 0);
        let found = match leaf.bits.has(at) {
            true => at,
            false => leaf.bits.nearest(at, toward)?,
        };
        let page = toward.nearer_end(from, 0, found);
        Some((self.addr_of(page), leaf.slots.get(found / 2)?))
    }

    /// The leaf that tells of `page`. Every search comes through here: the fewer instructions it has, the more
    /// searches wait for memory at the same time.
    #[inline]
    fn leaf(&self, page: u64) -> Option<&Leaf<R>> {
        let mut node = &self.root;
        let mut shift = self.shift;
        loop {
            match node {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Inner(inner) => node = inner.nodes.get(index(page, shift))?.get()?,
            }
            // WRAP: leaves are below shift 0.
            shift = shift.wrapping_sub(FANOUT_BITS);
        }
    }

    /// The nearer end of the nearest subtree on one side of page `from` that leads to an area.
    fn beside(&self, from: u64, toward: Toward) -> Option<u64> {
        let mut beside = None;
        let mut node = &self.root;
        let mut shift = self.shift;
        loop {
            let at = index(from, shift);
            if let Some(child) = node.bits().nearest(at, toward) {
                beside = Some(toward.nearer_end(from, shift, child));
            }
            match node {
                Node::Inner(inner) if inner.bits.has(at) => match inner.child(at) {
                    Some(child) => node = child,
                    None => return beside,
                },
                _ => return beside,
            }
            shift = shift.saturating_sub(FANOUT_BITS);
        }
    }

    /// The number of a page whose first byte is at `addr`.
    fn page_of(&self, addr: VirtAddr) -> Option<u64> {
        let offset = addr.checked_offset_from(self.base)?.get();
        let page = offset >> PAGE_SHIFT;
        (page < self.pages && addr.is_page_aligned()).then_some(page)
    }

    #[inline]
    fn addr_of(&self, page: u64) -> VirtAddr {
        // WRAP: a page of the window, or the one behind.
        let offset = page.wrapping_shl(PAGE_SHIFT);
        self.base.wrapping_add(ByteLen::new(offset))
    }
}

impl<R: RawRwLock> Node<R> {
    fn new(shift: u32) -> Self {
        match shift {
            0 => Self::Leaf(Box::new(Leaf {
                bits: Bits::new(),
                slots: Box::new(core::array::from_fn(|_| Slot::vacant())),
            })),
            _ => Self::Inner(Box::new(Inner {
                bits: Bits::new(),
                nodes: core::array::from_fn(|_| Once::new()),
            })),
        }
    }

    fn bits(&self) -> &Bits {
        match self {
            Self::Inner(inner) => &inner.bits,
            Self::Leaf(leaf) => &leaf.bits,
        }
    }

    /// Whether others are listed below. The recursion is as deep as the tree.
    fn unlist(&self, page: u64, shift: u32, area: u64) -> bool {
        let index = index(page, shift);
        match self {
            Self::Leaf(leaf) => leaf.bits.clear(index, area),
            Self::Inner(inner) => {
                let shift = shift.saturating_sub(FANOUT_BITS);
                let child = inner.child(index);
                if !child.is_some_and(|child| child.unlist(page, shift, area)) {
                    inner.bits.clear(index, bit(index));
                }
            }
        }
        self.bits().any()
    }
}

impl<R> Inner<R> {
    fn child(&self, index: usize) -> Option<&Node<R>> {
        self.nodes.get(index)?.get()
    }
}

impl Bits {
    fn new() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// The word that tells of child `at`.
    #[inline]
    fn word(&self, at: usize) -> u64 {
        let word = self.0.get(at / WORD_CHILDREN);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// The last area that starts at or before `page`: its first page, and the one behind its last. Only where
    /// the word of `page` tells of both.
    #[inline]
    fn area_before(&self, page: u64) -> Option<(u64, u64)> {
        let at = index(page, 0);
        let word = self.word(at);
        let start = (word & up_to(at)).checked_ilog2()?;
        // What ends below has started below.
        let ends = word.wrapping_shr(ENDS_SHIFT).wrapping_shr(start);
        let first = (page & !WORD_MASK) | u64::from(start);
        // WRAP: pages of the window.
        let last = (ends != 0).then(|| first.wrapping_add(ends.trailing_zeros().into()))?;
        Some((first, last.wrapping_add(1)))
    }

    fn has(&self, at: usize) -> bool {
        self.word(at) & bit(at) != 0
    }

    /// Sets `bits` in the word that tells of child `at`.
    fn set(&self, at: usize, bits: u64) {
        if let Some(word) = self.0.get(at / WORD_CHILDREN) {
            word.fetch_or(bits, Ordering::AcqRel);
        }
    }

    fn clear(&self, at: usize, bits: u64) {
        if let Some(word) = self.0.get(at / WORD_CHILDREN) {
            word.fetch_and(!bits, Ordering::AcqRel);
        }
    }

    fn any(&self) -> bool {
        self.0.iter().any(|word| word.load(Ordering::Acquire) != 0)
    }

    /// The nearest listed child on one side of `at`, without `at`.
    fn nearest(&self, at: usize, toward: Toward) -> Option<usize> {
        // WRAP: no more than is taken off.
        let first = at.wrapping_sub(at % WORD_CHILDREN);
        let of_word = |first: usize, starts: u64| {
            let bit = match toward {
                Toward::Lower => starts.checked_ilog2(),
                Toward::Higher => (starts != 0).then(|| starts.trailing_zeros()),
            };
            first.checked_add(usize::try_from(bit?).ok()?)
        };
        let starts = |first: usize| self.word(first) & STARTS;
        match toward {
            Toward::Lower => of_word(first, self.word(at) & up_to(at) & !bit(at)).or_else(|| {
                let mut below = (0..first).step_by(WORD_CHILDREN).rev();
                below.find_map(|first| of_word(first, starts(first)))
            }),
            Toward::Higher => of_word(first, starts(at) & !up_to(at)).or_else(|| {
                let above = first.saturating_add(WORD_CHILDREN);
                let mut above = (above..FANOUT).step_by(WORD_CHILDREN);
                above.find_map(|first| of_word(first, starts(first)))
            }),
        }
    }
}

impl Toward {
    /// The page that a search comes to first of all below child `child` of the node that `shift` indexes on
    /// the way to `from`.
    #[inline]
    fn nearer_end(self, from: u64, shift: u32, child: usize) -> u64 {
        // WRAP: shifts are below 64, and where the node's pages pass 2^64, all bits above count as none.
        let low = 1_u64.wrapping_shl(shift).wrapping_sub(1);
        let node = low.wrapping_shl(FANOUT_BITS) | INDEX_MASK;
        let child = ByteLen::from_usize(child).get();
        let first = from & !node | child.wrapping_shl(shift);
        match self {
            Self::Lower => first | low,
            Self::Higher => first,
        }
    }
}

/// Which child of the node that `shift` indexes leads to `page`.
#[inline]
fn index(page: u64, shift: u32) -> usize {
    // WRAP: shifts are below 64.
    usize::try_from(page.wrapping_shr(shift) & INDEX_MASK).unwrap_or(0)
}

/// The place of a child among those of its word.
#[inline]
fn place(at: usize) -> u32 {
    u32::try_from(at % WORD_CHILDREN).unwrap_or(0)
}

/// The bit that says that a child leads to an area.
#[inline]
fn bit(at: usize) -> u64 {
    1_u64.wrapping_shl(place(at))
}

/// The bits of the children of a word up to `at`.
#[inline]
fn up_to(at: usize) -> u64 {
    2_u64.wrapping_shl(place(at)).wrapping_sub(1)
}

/// The bits of an area of `range` that starts at `page`.
fn area_bits(page: u64, range: VirtRange) -> u64 {
    let start = bit(index(page, 0));
    let more = (range.len().get() >> PAGE_SHIFT).saturating_sub(1);
    let last = page.saturating_add(more);
    match page & !WORD_MASK == last & !WORD_MASK {
        true => start | bit(index(last, 0)).wrapping_shl(ENDS_SHIFT),
        false => start,
    }
}

#[cfg(all(test, not(loom)))]
#[path = "area_table_tests.rs"]
mod tests;
