#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "small numbers of the tests' own"
)]

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use proptest::prelude::*;

use super::*;

const BASE: u64 = 0xffa0_0000_0000_0000;

fn table(pages: u64) -> AreaTable<spin::RwLock<()>> {
    let window = VirtRange::from_len(VirtAddr::new(BASE), ByteLen::new(pages << 12));
    AreaTable::new(window.unwrap())
}

fn at(page: u64) -> VirtAddr {
    VirtAddr::new(BASE + (page << 12))
}

/// The last area that starts at or below `addr`, unless it is known to end there, too.
fn around(
    table: &AreaTable<spin::RwLock<()>>,
    addr: VirtAddr,
) -> Option<(VirtAddr, Option<VirtAddr>)> {
    let Around { start, end, slot } = table.around(addr)?;
    assert!(core::ptr::eq(slot, table.make_slot(start).unwrap()));
    Some((start, end))
}

fn first(table: &AreaTable<spin::RwLock<()>>, addr: VirtAddr) -> Option<VirtAddr> {
    let (start, slot) = table.first_above(addr)?;
    assert!(core::ptr::eq(slot, table.make_slot(start).unwrap()));
    Some(start)
}

fn range(pages: Range<u64>) -> VirtRange {
    VirtRange::new(at(pages.start), at(pages.end)).unwrap()
}

fn list(table: &AreaTable<spin::RwLock<()>>, pages: Range<u64>) {
    assert!(table.make_slot(at(pages.start)).is_some());
    table.list(range(pages));
}

#[test]
fn first_and_last_page_of_windows_of_every_depth() {
    // From one page to the 12800 TiB of 5-level paging.
    for pages in [
        1,
        2,
        64,
        512,
        513,
        1024,
        1 << 18,
        (1 << 18) + 1,
        1 << 33,
        12_800 << 28,
    ] {
        let table = table(pages);
        let top = at(pages - 1);
        assert_eq!(around(&table, top), None);
        assert_eq!(first(&table, VirtAddr::default()), None);
        list(&table, pages - 1..pages);
        assert_eq!(around(&table, top), Some((top, Some(at(pages)))));
        assert_eq!(around(&table, at(pages)), None);
        assert_eq!(around(&table, VirtAddr::new(u64::MAX)), None);
        assert_eq!(first(&table, VirtAddr::default()), Some(top));
        assert_eq!(first(&table, top), None);
        if pages > 1 {
            list(&table, 0..pages - 1);
            assert_eq!(first(&table, VirtAddr::new(BASE - 1)), Some(at(0)));
            assert_eq!(around(&table, VirtAddr::new(BASE - 1)), None);
            let known = (pages <= 32).then_some(top);
            assert_eq!(around(&table, at(0)), Some((at(0), known)));
            let (below, _end) = around(&table, VirtAddr::new(top.get() - 1)).unwrap();
            assert_eq!(below, at(0));
            assert_eq!(first(&table, at(0)), Some(top));
            table.unlist(range(0..pages - 1));
        }
        table.unlist(range(pages - 1..pages));
        assert_eq!(first(&table, VirtAddr::default()), None);
        assert_eq!(around(&table, top), None);
    }
}

#[test]
fn addresses_outside_have_no_slot() {
    let table = table(100);
    for addr in [BASE - 0x1000, BASE + (100 << 12), BASE + 1, u64::MAX] {
        assert!(table.make_slot(VirtAddr::new(addr)).is_none());
    }
}

proptest! {
    /// Both searches against a sorted map.
    #[test]
    fn finds_the_neighbours_that_a_sorted_map_has(
        lengths in prop::collection::vec((0..700_u64, prop_oneof![2..9_u64, 2..700_u64]), 1..60),
        gone in prop::collection::vec(any::<usize>(), 0..60),
        asked in prop::collection::vec(0..20_000_u64, 1..200),
    ) {
        let table = table(84_000);
        let mut areas = BTreeMap::new();
        let mut end = 0;
        for (gap, len) in &lengths {
            let start = end + gap;
            end = start + len;
            list(&table, start..end);
            areas.insert(start, end);
        }
        let starts: Vec<u64> = areas.keys().copied().collect();
        for which in gone {
            let start = starts[which % starts.len()];
            if let Some(end) = areas.remove(&start) {
                table.unlist(range(start..end));
            }
        }
        let ends = areas.values().flat_map(|end| [end - 1, *end]);
        for page in asked.iter().copied().chain(starts).chain(ends.collect::<Vec<_>>()) {
            let below = areas.range(..=page).next_back();
            match (around(&table, at(page)), below) {
                (Some((start, Some(end))), Some((below, above))) => {
                    prop_assert_eq!((start, end), (at(*below), at(*above)));
                    prop_assert!(page < *above);
                    prop_assert_eq!(below / 32, (above - 1) / 32);
                }
                (Some((start, None)), Some((below, above))) => {
                    prop_assert_eq!(start, at(*below));
                    let in_one_word = below / 32 == (above - 1) / 32;
                    prop_assert!(!in_one_word || page / 32 != below / 32);
                }
                (None, below) => prop_assert!(below.is_none_or(|(_start, end)| *end <= page)),
                (found, below) => prop_assert!(false, "{:?} {:?}", found, below),
            }
            let above = areas.range(page + 1..).next().map(|(start, _end)| at(*start));
            prop_assert_eq!(first(&table, at(page)), above);
        }
    }
}
