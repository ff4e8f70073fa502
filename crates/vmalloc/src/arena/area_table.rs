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

const WORD_BITS: usize = 64;
const WORDS: usize = FANOUT.div_ceil(WORD_BITS);

/// Which areas there are, by the page at which they start: a radix tree that is searched without a lock.
///
/// Every node has a bit for each child that leads to an area, so that a search touches a line or two a
/// level, however many areas there are. The slots of a node lie beside its bits, so that a search waits for
/// both at once; all that is above them stays in a cache. Nodes are
/// made on first use and kept: what readers walk never goes away, and takes a 256th of the space around
/// the areas that ever were.
///
/// [`list`](Self::list) and [`unlist`](Self::unlist) are called by one thread at a time.
pub(super) struct AreaTable<R> {
    base: VirtAddr,
    pages: u64,
    root: Box<Node<R>>,
    /// How far a page's number is shifted to index the root. Every level below takes [`FANOUT_BITS`] off.
    shift: u32,
}

struct Node<R> {
    /// Which children lead to a listed area. While `unlist` is at work, one may lead to none.
    listed: [AtomicU64; WORDS],
    below: Below<R>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a slot has 32 bytes with every lock of a word, so that both are of one size"
)]
enum Below<R> {
    Nodes([Once<Box<Node<R>>>; FANOUT]),
    /// One for two pages: the smallest area has a page and a guard page, or more pages.
    Slots([Slot<R>; FANOUT / 2]),
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
            root: Box::new(Node::new(shift)),
            shift,
        }
    }

    /// The slot for an area that starts at `start`, a page of the window; made where it is not yet.
    pub(super) fn make_slot(&self, start: VirtAddr) -> Option<&Slot<R>> {
        let page = self.page_of(start)?;
        let mut node = self.root.as_ref();
        let mut shift = self.shift;
        loop {
            match &node.below {
                Below::Slots(slots) => return slots.get(index(page, shift) / 2),
                Below::Nodes(nodes) => {
                    let child = nodes.get(index(page, shift))?;
                    shift = shift.saturating_sub(FANOUT_BITS);
                    node = child.call_once(|| Box::new(Node::new(shift)));
                }
            }
        }
    }

    /// Shows the area that starts at `start`, whose slot is made and filled, to searches.
    pub(super) fn list(&self, start: VirtAddr) {
        let Some(page) = self.page_of(start) else {
            return;
        };
        let mut node = self.root.as_ref();
        let mut shift = self.shift;
        loop {
            let index = index(page, shift);
            if let Some(word) = node.listed.get(index / WORD_BITS) {
                word.fetch_or(bit(index), Ordering::AcqRel);
            }
            match node.child(index) {
                Some(child) => node = child,
                None => return,
            }
            shift = shift.saturating_sub(FANOUT_BITS);
        }
    }

    /// Hides it again.
    pub(super) fn unlist(&self, start: VirtAddr) {
        if let Some(page) = self.page_of(start) {
            let _others = self.root.unlist(page, self.shift);
        }
    }

    /// The last area that starts at or below `addr`: its start and its slot.
    #[inline]
    pub(super) fn last_at_or_below(&self, addr: VirtAddr) -> Option<(VirtAddr, &Slot<R>)> {
        let offset = addr.checked_offset_from(self.base)?;
        let page = (offset.get() >> PAGE_SHIFT).min(self.pages.checked_sub(1)?);
        self.search(page, Toward::Lower)
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

    /// As `search`, for the slots around `from` only. This is what nearly every read comes through: the
    /// fewer instructions it has, the more searches wait for memory at the same time.
    #[inline]
    fn search_near(&self, from: u64, toward: Toward) -> Option<(VirtAddr, &Slot<R>)> {
        let mut node = self.root.as_ref();
        let mut shift = self.shift;
        let slots = loop {
            match &node.below {
                Below::Slots(slots) => break slots,
                Below::Nodes(nodes) => node = nodes.get(index(from, shift))?.get()?,
            }
            // WRAP: slots are below shift 0.
            shift = shift.wrapping_sub(FANOUT_BITS);
        };
        let at = index(from, 0);
        let found = match node.word(at / WORD_BITS) & bit(at) {
            0 => node.nearest(at, toward)?,
            _ => at,
        };
        let page = toward.nearer_end(from, 0, found);
        Some((self.addr_of(page), slots.get(found / 2)?))
    }

    /// The nearer end of the nearest subtree on one side of page `from` that leads to an area.
    fn beside(&self, from: u64, toward: Toward) -> Option<u64> {
        let mut beside = None;
        let mut node = self.root.as_ref();
        let mut shift = self.shift;
        loop {
            let at = index(from, shift);
            if let Some(child) = node.nearest(at, toward) {
                beside = Some(toward.nearer_end(from, shift, child));
            }
            match node.child(at) {
                Some(child) if node.word(at / WORD_BITS) & bit(at) != 0 => node = child,
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
        // WRAP: a page of the window.
        let offset = page.wrapping_shl(PAGE_SHIFT);
        self.base.wrapping_add(ByteLen::new(offset))
    }
}

impl<R: RawRwLock> Node<R> {
    fn new(shift: u32) -> Self {
        let below = match shift {
            0 => Below::Slots(core::array::from_fn(|_| Slot::vacant())),
            _ => Below::Nodes(core::array::from_fn(|_| Once::new())),
        };
        Self {
            listed: core::array::from_fn(|_| AtomicU64::new(0)),
            below,
        }
    }

    fn child(&self, index: usize) -> Option<&Self> {
        match &self.below {
            Below::Slots(_) => None,
            Below::Nodes(nodes) => nodes.get(index)?.get().map(Box::as_ref),
        }
    }

    #[inline]
    fn word(&self, word: usize) -> u64 {
        let word = self.listed.get(word);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// The nearest listed child on one side of `at`, without `at`.
    fn nearest(&self, at: usize, toward: Toward) -> Option<usize> {
        let word = at / WORD_BITS;
        let below = bit(at).wrapping_sub(1);
        let of_word = |word: usize, bits: u64| {
            let bit = match toward {
                Toward::Lower => bits.checked_ilog2(),
                Toward::Higher => (bits != 0).then(|| bits.trailing_zeros()),
            };
            let bit = usize::try_from(bit?).ok()?;
            word.checked_mul(WORD_BITS)?.checked_add(bit)
        };
        match toward {
            Toward::Lower => of_word(word, self.word(word) & below).or_else(|| {
                let mut words = (0..word).rev();
                words.find_map(|word| of_word(word, self.word(word)))
            }),
            Toward::Higher => of_word(word, self.word(word) & !below & !bit(at)).or_else(|| {
                let mut words = word.saturating_add(1)..WORDS;
                words.find_map(|word| of_word(word, self.word(word)))
            }),
        }
    }

    /// Whether others are listed below. The recursion is as deep as the tree.
    fn unlist(&self, page: u64, shift: u32) -> bool {
        let index = index(page, shift);
        let others = self.child(index);
        let shift = shift.saturating_sub(FANOUT_BITS);
        let others = others.is_some_and(|child| child.unlist(page, shift));
        if let (false, Some(word)) = (others, self.listed.get(index / WORD_BITS)) {
            word.fetch_and(!bit(index), Ordering::AcqRel);
        }
        (0..WORDS).any(|word| self.word(word) != 0)
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

/// The bit of a child in its word.
#[inline]
fn bit(index: usize) -> u64 {
    // WRAP: only the place in the word counts.
    1_u64.wrapping_shl(u32::try_from(index).unwrap_or(0))
}

#[cfg(all(test, not(loom)))]
#[path = "area_table_tests.rs"]
mod tests;
