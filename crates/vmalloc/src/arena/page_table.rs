use alloc::boxed::Box;

use spin::Once;
use vread_addr::{ByteLen, PAGE_SHIFT, PAGE_SIZE, Pfn, VirtAddr};

use super::sync::{AtomicU64, Ordering};
use crate::PageRun;

/// The entries of one table, as on every 64-bit machine with pages of 4 KiB; few for loom, which counts
/// every atomic.
const FANOUT_BITS: u32 = if cfg!(loom) { 2 } else { 9 };
const FANOUT: usize = 1 << FANOUT_BITS;
const INDEX_MASK: u64 = (1 << FANOUT_BITS) - 1;

/// Which frame is behind a page of the arena's window.
///
/// A radix tree whose tables are made on first use and kept, as Linux keeps its kernel's: so a walk
/// takes no lock. An entry changes only while the area around it is not readable, or by a holder of
/// that area's lock.
pub(super) struct PageTable {
    base: VirtAddr,
    /// The last page that the root has room for.
    last: u64,
    root: Table,
    /// How far a page's number is shifted to index the root. Every level below takes [`FANOUT_BITS`] off.
    shift: u32,
}

enum Table {
    Inner(Box<[Once<Table>; FANOUT]>),
    /// 0 for nothing mapped, else the frame's number plus one.
    Leaf(Box<[AtomicU64; FANOUT]>),
}

impl Table {
    fn new(shift: u32) -> Self {
        match shift {
            0 => Self::Leaf(Box::new(core::array::from_fn(|_| AtomicU64::new(0)))),
            _ => Self::Inner(Box::new(core::array::from_fn(|_| Once::new()))),
        }
    }
}

impl PageTable {
    /// An empty table for the pages of a window of `len` bytes from `base`, which is page aligned.
    pub(super) fn new(base: VirtAddr, len: ByteLen) -> Self {
        let pages = len.get().div_ceil(PAGE_SIZE.get());
        let bits = u64::BITS.saturating_sub(pages.saturating_sub(1).leading_zeros());
        let above = bits.div_ceil(FANOUT_BITS).max(1).saturating_sub(1);
        let shift = above.saturating_mul(FANOUT_BITS);
        let beyond = INDEX_MASK.checked_shl(shift).unwrap_or(0);
        Self {
            base,
            last: beyond | 1_u64.wrapping_shl(shift).wrapping_sub(1),
            root: Table::new(shift),
            shift,
        }
    }

    /// What is mapped at `addr`, a run of at most `max` bytes that ends with this leaf table at the
    /// latest (V27).
    #[inline]
    pub(super) fn run(&self, addr: VirtAddr, max: ByteLen) -> PageRun {
        let first = PAGE_SIZE.saturating_sub(addr.page_offset());
        let no_table = PageRun::Hole {
            len: first.min(max),
        };
        self.runs(addr, max).next().unwrap_or(no_table)
    }

    /// The runs from `addr` on, of at most `max` bytes each, until this leaf table ends; none where there is no
    /// table.
    #[inline]
    pub(super) fn runs(&self, addr: VirtAddr, max: ByteLen) -> Runs<'_> {
        let page = self.page_index(addr);
        let leaf = page.and_then(|page| self.leaf(page)?.get(slot(page)..));
        Runs {
            entries: leaf.unwrap_or_default(),
            offset: addr.page_offset(),
            max,
        }
    }

    /// The frame behind `addr`.
    pub(super) fn get(&self, addr: VirtAddr) -> Option<Pfn> {
        let page = self.page_index(addr)?;
        let entry = self.leaf(page)?.get(slot(page))?.load(Ordering::Acquire);
        entry.checked_sub(1).map(Pfn::new)
    }

    /// Maps `frame` at `addr`; tables on the way are made.
    pub(super) fn set(&self, addr: VirtAddr, frame: Pfn) {
        let Some(page) = self.page_index(addr) else {
            return;
        };
        let mut table = &self.root;
        let mut shift = self.shift;
        // Once a level, and a leaf is at the bottom.
        loop {
            match table {
                Table::Leaf(entries) => {
                    if let Some(entry) = entries.get(slot(page)) {
                        let value = frame.get().checked_add(1);
                        entry.store(value.unwrap_or(0), Ordering::Release);
                    }
                    return;
                }
                Table::Inner(tables) => {
                    let Some(inner) = tables.get(slot(page.wrapping_shr(shift))) else {
                        return;
                    };
                    shift = shift.saturating_sub(FANOUT_BITS);
                    table = inner.call_once(|| Table::new(shift));
                }
            }
        }
    }

    /// Maps nothing at `addr`.
    pub(super) fn clear(&self, addr: VirtAddr) {
        let page = self.page_index(addr);
        let leaf = page.and_then(|page| Some((self.leaf(page)?, page)));
        let entry = leaf.and_then(|(leaf, page)| leaf.get(slot(page)));
        if let Some(entry) = entry {
            entry.store(0, Ordering::Release);
        }
    }

    #[inline]
    fn page_index(&self, addr: VirtAddr) -> Option<u64> {
        let offset = addr.checked_offset_from(self.base)?;
        let page = offset.get() >> PAGE_SHIFT;
        (page <= self.last).then_some(page)
    }

    #[inline]
    fn leaf(&self, page: u64) -> Option<&[AtomicU64; FANOUT]> {
        let mut table = &self.root;
        let mut shift = self.shift;
        loop {
            match table {
                Table::Leaf(entries) => return Some(entries),
                // WRAP: shifts are below 64, and leaves are below shift 0.
                Table::Inner(tables) => {
                    table = tables.get(slot(page.wrapping_shr(shift)))?.get()?;
                    shift = shift.wrapping_sub(FANOUT_BITS);
                }
            }
        }
    }
}

/// The runs of a leaf table, looked up one by one.
pub(super) struct Runs<'a> {
    /// Those of the pages to come.
    entries: &'a [AtomicU64],
    /// Where in the first of them the next byte lies.
    offset: ByteLen,
    /// How long a run may be.
    max: ByteLen,
}

impl Iterator for Runs<'_> {
    type Item = PageRun;

    #[inline]
    fn next(&mut self) -> Option<PageRun> {
        let (first, rest) = self.entries.split_first()?;
        let start = first.load(Ordering::Acquire);
        self.entries = rest;
        let first_len = PAGE_SIZE.saturating_sub(self.offset);
        let phys = start
            .checked_sub(1)
            .and_then(|frame| Pfn::new(frame).checked_start())
            .and_then(|frame| frame.checked_add(self.offset));
        self.offset = ByteLen::ZERO;
        Some(match phys {
            Some(phys) => {
                let len = self.lengthen(first_len, start, 1);
                PageRun::Mapped { phys, len }
            }
            None => {
                let len = self.lengthen(first_len, start, 0);
                PageRun::Hole { len }
            }
        })
    }
}

impl Runs<'_> {
    /// Adds the pages whose entries follow on `entry` in steps of `step` to a run of `len` bytes so far.
    #[inline]
    fn lengthen(&mut self, len: ByteLen, entry: u64, step: u64) -> ByteLen {
        let mut len = len;
        let mut next = entry;
        while len < self.max
            && let Some((entry, behind)) = self.entries.split_first()
        {
            // WRAP: frame numbers stay far below 2^64.
            next = next.wrapping_add(step);
            if entry.load(Ordering::Acquire) != next {
                break;
            }
            len = len.saturating_add(PAGE_SIZE);
            self.entries = behind;
        }
        len.min(self.max)
    }
}

/// Where in a table the entry is whose number ends in `index`.
#[inline]
fn slot(index: u64) -> usize {
    usize::try_from(index & INDEX_MASK).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::arithmetic_side_effects,
        reason = "small numbers of the tests' own"
    )]

    use super::*;

    const BASE: u64 = 0xffa0_0000_0000_0000;

    fn table(len: u64) -> PageTable {
        PageTable::new(VirtAddr::new(BASE), ByteLen::new(len))
    }

    fn run(table: &PageTable, at: u64, max: u64) -> (Option<u64>, u64) {
        match table.run(VirtAddr::new(BASE + at), ByteLen::new(max)) {
            PageRun::Mapped { phys, len } => (Some(phys.get()), len.get()),
            PageRun::Hole { len } => (None, len.get()),
        }
    }

    #[test]
    fn first_and_last_page_of_windows_of_every_depth() {
        // V27: from one page to the 12800 TiB of 5-level paging
        for len in [0x1000, 0x20_0000, 0x20_1000, 1 << 30, 1 << 45, 12_800 << 40] {
            let table = table(len);
            for at in [0, len - 0x1000] {
                let addr = VirtAddr::new(BASE.wrapping_add(at));
                assert_eq!(table.get(addr), None);
                table.set(addr, Pfn::new(7));
                assert_eq!(table.get(addr), Some(Pfn::new(7)));
                table.clear(addr);
                assert_eq!(table.get(addr), None);
            }
        }
    }

    #[test]
    fn addresses_outside_are_holes() {
        let table = table(0x20_0000);
        table.set(VirtAddr::new(BASE + 0x20_0000), Pfn::new(1));
        table.set(VirtAddr::new(BASE - 0x1000), Pfn::new(1));
        assert_eq!(run(&table, 0x20_0000, 0x5000), (None, 0x1000));
        assert_eq!(table.get(VirtAddr::new(BASE - 0x1000)), None);
        assert_eq!(run(&table, 0, u64::MAX), (None, 0x20_0000));
    }

    #[test]
    fn run_goes_on_while_frames_lie_one_after_another() {
        let table = table(1 << 30);
        for (page, frame) in [(0, 10), (1, 11), (2, 12), (3, 14), (5, 0), (6, 1)] {
            let at = VirtAddr::new(BASE + page * 0x1000);
            table.set(at, Pfn::new(frame));
        }
        assert_eq!(run(&table, 0, u64::MAX), (Some(10 << 12), 0x3000));
        assert_eq!(
            run(&table, 0x1234, u64::MAX),
            (Some((11 << 12) + 0x234), 0x1dcc)
        );
        assert_eq!(run(&table, 0x2fff, u64::MAX), (Some((12 << 12) + 0xfff), 1));
        assert_eq!(run(&table, 0, 0x2001), (Some(10 << 12), 0x2001));
        assert_eq!(run(&table, 0x10, 5), (Some((10 << 12) + 0x10), 5));
        assert_eq!(run(&table, 0x4000, u64::MAX), (None, 0x1000));
        assert_eq!(
            run(&table, 0x5000, u64::MAX),
            (Some(0), 0x2000),
            "frame 0 is a frame"
        );
        assert_eq!(run(&table, 0x7ff0, 8), (None, 8));
    }

    #[test]
    fn run_ends_with_the_leaf_table() {
        let table = table(1 << 30);
        for page in 510..514 {
            let at = VirtAddr::new(BASE + page * 0x1000);
            table.set(at, Pfn::new(page));
        }
        assert_eq!(run(&table, 510 << 12, u64::MAX), (Some(510 << 12), 0x2000));
        assert_eq!(run(&table, 512 << 12, u64::MAX), (Some(512 << 12), 0x2000));
    }

    #[test]
    fn frame_without_an_address_is_a_hole() {
        let table = table(0x1000);
        table.set(VirtAddr::new(BASE), Pfn::new(1 << 52));
        assert_eq!(run(&table, 0, 0x1000), (None, 0x1000));
    }
}
