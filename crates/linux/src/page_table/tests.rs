use super::*;
use crate::forged::{BIG, ForgedRam, PRESENT, ROOT, table};
use proptest::prelude::*;

const BASE: u64 = 0xffff_8880_0000_0000;
const MIB2: u64 = 2 << 20;

fn mapped(phys: u64, len: u64) -> Result<PageRun, SourceFailure> {
    Ok(PageRun::Mapped {
        phys: PhysAddr::new(phys),
        len: ByteLen::new(len),
    })
}

fn hole(len: u64) -> Result<PageRun, SourceFailure> {
    Ok(PageRun::Hole {
        len: ByteLen::new(len),
    })
}

fn run(ram: &ForgedRam, levels: PagingLevels, at: u64, max: u64) -> Result<PageRun, SourceFailure> {
    table(levels).translate_run(&ram.open(), VirtAddr::new(at), ByteLen::new(max))
}

#[test]
fn ends_a_run_where_physical_memory_jumps() {
    // G1 to G4.
    let mut ram = ForgedRam::new(32);
    for (page, phys) in [(0, 0x10_000), (1, 0x11_000), (2, 0x13_000)] {
        ram.map(BASE + page * 4096, phys);
    }
    let four = PagingLevels::Four;
    assert_eq!(
        run(&ram, four, BASE + 8, 1 << 20),
        mapped(0x10_008, 2 * 4096 - 8)
    );
    assert_eq!(run(&ram, four, BASE + 4096, 4), mapped(0x11_000, 4));
    assert_eq!(
        run(&ram, four, BASE + 2 * 4096, 1 << 20),
        mapped(0x13_000, 4096)
    );
    // A request of nothing is answered like one of a byte.
    assert_eq!(run(&ram, four, BASE, 0), mapped(0x10_000, 1));
}

#[test]
fn joins_leaves_of_different_sizes() {
    let mut ram = ForgedRam::new(32);
    let four = PagingLevels::Four;
    ram.set_entry(four, BASE, 21, BIG);
    ram.set_entry(four, BASE + MIB2, 21, MIB2 | BIG);
    ram.map(BASE + 2 * MIB2, 2 * MIB2);
    let whole = 2 * MIB2 + 4096;
    assert_eq!(run(&ram, four, BASE, 1 << 30), mapped(0, whole));
    assert_eq!(run(&ram, four, BASE + whole, 4096), hole(4096));
}

#[test]
fn reads_five_levels_and_a_leaf_of_1_gib() {
    let mut ram = ForgedRam::new(32);
    let five = PagingLevels::Five;
    let base = 0xff11_0000_0000_0000;
    ram.set_entry(five, base, 30, 5 << 30 | BIG);
    assert_eq!(
        run(&ram, five, base + 0x1234_5678, 8),
        mapped((5 << 30) + 0x1234_5678, 8)
    );
}

#[test]
fn steps_over_empty_tables_whole() {
    let mut ram = ForgedRam::new(32);
    ram.map(BASE, 0x10_000);
    let four = PagingLevels::Four;
    // From the second page: the rest of its table, its 1 GiB, its 512 GiB, then what comes above.
    assert_eq!(run(&ram, four, BASE + 4096, 1 << 40), hole(1 << 40));
    assert_eq!(run(&ram, four, BASE - (4 << 30), 8 << 30), hole(4 << 30));
}

#[test]
fn takes_the_gap_between_the_halves_for_a_hole() {
    // G2: a non-canonical address is not mapped.
    let ram = ForgedRam::new(32);
    let gap = 0x8000_0000_0000;
    let upper = 0xffff_8000_0000_0000;
    assert_eq!(
        run(&ram, PagingLevels::Four, gap, u64::MAX),
        hole(0_u64.wrapping_sub(gap))
    );
    assert_eq!(
        run(&ram, PagingLevels::Four, gap, upper - gap),
        hole(upper - gap)
    );
    assert!(!PagingLevels::Four.is_canonical(VirtAddr::new(gap)));
    assert!(PagingLevels::Five.is_canonical(VirtAddr::new(gap)));
}

#[test]
fn takes_entries_that_cannot_be_right_for_holes() {
    let four = PagingLevels::Four;
    let at = |shift: u32, entry: u64| {
        let mut ram = ForgedRam::new(32);
        ram.set_entry(four, BASE, shift, entry);
        run(&ram, four, BASE, 4096)
    };
    assert_eq!(at(12, 0x10_000 | PRESENT), mapped(0x10_000, 4096));
    // G3: bit 7 of the last level is no leaf marker, at the top it may not be.
    assert_eq!(at(12, 0x10_000 | BIG), mapped(0x10_000, 4096));
    assert_eq!(at(39, 0x10_000 | BIG), hole(4096));
    // G5: not present, whatever the other bits.
    assert_eq!(at(12, 0x10_000 | 0x100), hole(4096));
    assert_eq!(at(21, !1), hole(4096));
    // G73: reserved bits of a big leaf; bit 12 is a memory type.
    assert_eq!(at(21, 0x2000 | BIG), hole(4096));
    assert_eq!(at(21, 0x1000 | BIG), mapped(0, 4096));
    assert_eq!(at(30, MIB2 | BIG), hole(4096));
    // G73: a table outside RAM.
    assert_eq!(at(21, 0x7000_0000_0000 | PRESENT), hole(4096));
}

#[test]
fn ends_in_a_table_that_points_to_itself() {
    // G7, G73.
    let mut ram = ForgedRam::new(32);
    for entry in 0..512 {
        ram.put_u64(ROOT + entry * 8, ROOT | PRESENT);
    }
    for levels in [PagingLevels::Four, PagingLevels::Five] {
        assert_eq!(
            run(&ram, levels, BASE + 0x123, u64::MAX),
            mapped(ROOT + 0x123, 4096 - 0x123)
        );
    }
}

#[test]
fn bounds_the_search_for_the_end_of_a_hole() {
    // One table, all of whose entries lead to a table of empty entries.
    let mut ram = ForgedRam::new(32);
    ram.set_entry(PagingLevels::Four, BASE, 12, 0);
    let place = ram.get_u64(ROOT + (BASE >> 39 & 0x1ff) * 8) & !0xfff;
    let first = ram.get_u64(place);
    for entry in 0..512 {
        ram.put_u64(place + entry * 8, first);
    }
    let pmd = first & !0xfff;
    let leaf_table = ram.get_u64(pmd);
    for entry in 0..512 {
        ram.put_u64(pmd + entry * 8, leaf_table);
    }
    let whole = run(&ram, PagingLevels::Four, BASE, 512 << 30)
        .unwrap()
        .len()
        .get();
    assert_eq!(whole, u64::from(MAX_EXTENSIONS + 1) * 4096);
}

#[test]
fn leaves_the_encryption_bit_out_of_addresses() {
    // G4.
    let mut ram = ForgedRam::new(32);
    ram.map(BASE, 1 << 47 | 0x10_000);
    let table = PageTable::new(PhysAddr::new(ROOT), PagingLevels::Four, 1 << 47);
    let found = table.translate(&ram.open(), VirtAddr::new(BASE));
    assert_eq!(found, Ok(Some(PhysAddr::new(0x10_000))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_tables_give_a_run_of_the_length_asked_for_at_most(
        words in proptest::collection::vec((0_u64..0x5000 / 8, any::<u64>()), 0..400),
        low in 0_u64..0x8000,
        at in any::<u64>(),
        max in 1_u64..1 << 40,
    ) {
        let mut ram = ForgedRam::new(8);
        for (place, word) in words {
            // Half of the entries lead back into the tables.
            let word = if word & 0x200 == 0 { word & 0x4fff | 1 } else { word };
            ram.put_u64(0x1000 + place * 8, word);
        }
        for (levels, at) in [(PagingLevels::Four, BASE + low), (PagingLevels::Five, at)] {
            let len = run(&ram, levels, at, max).unwrap().len().get();
            prop_assert!((1..=max).contains(&len));
        }
    }
}
