#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "small numbers of the tests' own"
)]

use alloc::collections::BTreeSet;

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

fn last(table: &AreaTable<spin::RwLock<()>>, addr: VirtAddr) -> Option<VirtAddr> {
    let (start, slot) = table.last_at_or_below(addr)?;
    assert!(core::ptr::eq(slot, table.make_slot(start).unwrap()));
    Some(start)
}

fn first(table: &AreaTable<spin::RwLock<()>>, addr: VirtAddr) -> Option<VirtAddr> {
    let (start, slot) = table.first_above(addr)?;
    assert!(core::ptr::eq(slot, table.make_slot(start).unwrap()));
    Some(start)
}

fn list(table: &AreaTable<spin::RwLock<()>>, page: u64) {
    assert!(table.make_slot(at(page)).is_some());
    table.list(at(page));
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
        assert_eq!(last(&table, top), None);
        assert_eq!(first(&table, VirtAddr::default()), None);
        list(&table, pages - 1);
        assert_eq!(last(&table, top), Some(top));
        assert_eq!(last(&table, VirtAddr::new(u64::MAX)), Some(top));
        assert_eq!(first(&table, VirtAddr::default()), Some(top));
        assert_eq!(first(&table, top), None);
        list(&table, 0);
        assert_eq!(first(&table, VirtAddr::new(BASE - 1)), Some(at(0)));
        assert_eq!(last(&table, VirtAddr::new(BASE - 1)), None);
        if pages > 1 {
            assert_eq!(last(&table, VirtAddr::new(top.get() - 1)), Some(at(0)));
            assert_eq!(first(&table, at(0)), Some(top));
            table.unlist(top);
        }
        table.unlist(at(0));
        assert_eq!(first(&table, VirtAddr::default()), None);
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
    /// Both searches against a sorted set.
    #[test]
    fn finds_the_neighbours_that_a_sorted_set_has(
        pages in prop::collection::vec(0..20_000_u64, 1..60),
        gone in prop::collection::vec(any::<usize>(), 0..60),
        asked in prop::collection::vec(0..20_000_u64, 1..60),
    ) {
        let table = table(20_000);
        let mut set = BTreeSet::new();
        for page in &pages {
            list(&table, *page);
            set.insert(*page);
        }
        for which in gone {
            let page = pages[which % pages.len()];
            set.remove(&page);
            table.unlist(at(page));
        }
        for page in asked.iter().chain(&pages) {
            let below = set.range(..=page).next_back().map(|page| at(*page));
            let above = set.range(page + 1..).next().map(|page| at(*page));
            prop_assert_eq!(last(&table, at(*page)), below);
            prop_assert_eq!(first(&table, at(*page)), above);
        }
    }
}
