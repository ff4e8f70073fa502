use vread_addr::{ByteLen, PAGE_SIZE, PhysAddr, VirtAddr};
use vread_iov_iter::SourceFailure;
use vread_physmem::{PhysMem, ReadError};
use vread_vmalloc::PageRun;

/// How many entries one call may look at to make its run longer. Beyond it the run ends early, which
/// costs the caller a walk and nothing else; a forged table cannot keep us busy (G7).
const MAX_EXTENSIONS: u32 = 4096;
/// Bit 0: the entry is present.
const PRESENT: u64 = 1;
/// Bit 7: at the 1 GiB and 2 MiB levels, a leaf.
const LEAF: u64 = 1 << 7;
/// Bits 12 to 51.
const ADDRESS_BITS: u64 = 0x000f_ffff_ffff_f000;

/// A kernel's top page table on x86_64, and how to read it (G1 to G6).
///
/// Holds no translation: each one is walked anew, since vmalloc space moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageTable {
    root: PhysAddr,
    levels: PagingLevels,
    /// [`ADDRESS_BITS`] without the memory encryption bit.
    address_bits: u64,
}

/// How many levels of tables there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PagingLevels {
    /// 48-bit addresses.
    Four,
    /// 57-bit addresses.
    Five,
}

/// What a walk for one address found.
enum Walked {
    /// The leaf that covers the address: where it points, and the bytes that it maps.
    Leaf { frame: PhysAddr, size: ByteLen },
    /// An entry that leads nowhere: nothing is mapped in the bytes that it stands for.
    Empty { size: ByteLen },
}

impl PagingLevels {
    /// The bits of an address that are translated.
    #[must_use]
    pub fn address_bits(self) -> u32 {
        match self {
            Self::Four => 48,
            Self::Five => 57,
        }
    }

    /// The shift of the top level's index.
    fn top_shift(self) -> u32 {
        match self {
            Self::Four => 39,
            Self::Five => 48,
        }
    }

    /// Whether the untranslated bits of `addr` repeat the highest translated one.
    #[must_use]
    pub fn is_canonical(self, addr: VirtAddr) -> bool {
        let spare = 64_u32.saturating_sub(self.address_bits());
        let signed = addr.get().cast_signed();
        signed << spare >> spare == signed
    }
}

impl PageTable {
    /// The table whose root lies at `root`. `encryption_mask` is VMCOREINFO's `sme_mask`, the bit that
    /// marks encrypted memory and is no part of an address.
    #[must_use]
    pub fn new(root: PhysAddr, levels: PagingLevels, encryption_mask: u64) -> Self {
        Self {
            root: root.page_start(),
            levels,
            address_bits: ADDRESS_BITS & !encryption_mask,
        }
    }

    /// Where the top table lies.
    #[must_use]
    pub fn root(&self) -> PhysAddr {
        self.root
    }

    /// How many levels there are.
    #[must_use]
    pub fn levels(&self) -> PagingLevels {
        self.levels
    }

    /// Where `addr` lies in physical memory, or `None` if it is not mapped.
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where memory as a whole can no longer be read.
    pub fn translate(
        &self,
        mem: &PhysMem,
        addr: VirtAddr,
    ) -> Result<Option<PhysAddr>, SourceFailure> {
        Ok(match self.translate_run(mem, addr, ByteLen::new(1))? {
            PageRun::Mapped { phys, .. } => Some(phys),
            PageRun::Hole { .. } => None,
        })
    }

    /// What is mapped at `addr`: up to `max` bytes (taken as at least 1) that lie one after another in
    /// physical memory, or for how many bytes nothing is mapped. The run may end early, but never
    /// empty.
    ///
    /// A present entry that cannot be right (a leaf where none may be, reserved bits, a table outside
    /// RAM) is a hole (G3, G73). Whether a *leaf* points to RAM is not asked here: reading it gives zeros
    /// if not.
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where memory as a whole can no longer be read.
    pub fn translate_run(
        &self,
        mem: &PhysMem,
        addr: VirtAddr,
        max: ByteLen,
    ) -> Result<PageRun, SourceFailure> {
        let max = max.max(ByteLen::new(1)).min(addr.bytes_to_top());
        let (first, mut len) = self.step(mem, addr)?;
        let mut extensions = 0_u32;
        while len < max && extensions < MAX_EXTENSIONS {
            extensions = extensions.saturating_add(1);
            let Some(next) = addr.checked_add(len) else {
                break;
            };
            let (step, step_len) = self.step(mem, next)?;
            let follows_on = match (first, step) {
                (Some(phys), Some(next)) => phys.checked_add(len) == Some(next),
                (None, None) => true,
                _ => false,
            };
            if !follows_on {
                break;
            }
            len = len.saturating_add(step_len);
        }
        let len = len.min(max);
        Ok(match first {
            Some(phys) => PageRun::Mapped { phys, len },
            None => PageRun::Hole { len },
        })
    }

    /// One walk: where `addr` lies, and for how many bytes the entry that says so holds.
    #[inline]
    fn step(
        &self,
        mem: &PhysMem,
        addr: VirtAddr,
    ) -> Result<(Option<PhysAddr>, ByteLen), SourceFailure> {
        if !self.levels.is_canonical(addr) {
            // The gap ends where the upper half begins; above it all addresses are canonical.
            let half = 1_u64 << self.levels.address_bits().saturating_sub(1);
            let upper = VirtAddr::new(0_u64.wrapping_sub(half));
            let len = upper.checked_offset_from(addr).unwrap_or(PAGE_SIZE);
            return Ok((None, len));
        }
        let (phys, size) = match self.walk(mem, addr)? {
            Walked::Leaf { frame, size } => {
                let into = ByteLen::new(addr.get() & size.low_mask());
                (frame.checked_add(into), size)
            }
            Walked::Empty { size } => (None, size),
        };
        let into = ByteLen::new(addr.get() & size.low_mask());
        Ok((phys, size.saturating_sub(into)))
    }

    #[inline]
    fn walk(&self, mem: &PhysMem, addr: VirtAddr) -> Result<Walked, SourceFailure> {
        let mut table = self.root;
        let mut shift = self.levels.top_shift();
        // At most five turns: the shift falls by 9 each time.
        loop {
            let size = ByteLen::new(1_u64 << shift);
            let empty = Ok(Walked::Empty { size });
            let index = addr.get() >> shift & 0x1ff;
            let Some(at) = table.checked_add(ByteLen::new(index << 3)) else {
                return empty;
            };
            let entry = match mem.read_u64(at) {
                Ok(entry) => entry,
                Err(ReadError::Failed { failure, .. }) => return Err(failure),
                Err(_) => return empty,
            };
            if entry & PRESENT == 0 {
                return empty;
            }
            let target = entry & self.address_bits;
            if shift == 12 {
                let frame = PhysAddr::new(target);
                return Ok(Walked::Leaf { frame, size });
            }
            if entry & LEAF != 0 {
                // Bit 12 of a big leaf is a memory type; the bits from there to its size are reserved.
                let reserved = target & size.low_mask() & !(1 << 12);
                let may_be_leaf = matches!(shift, 21 | 30);
                if !may_be_leaf || reserved != 0 {
                    return empty;
                }
                let frame = PhysAddr::new(target & !size.low_mask());
                return Ok(Walked::Leaf { frame, size });
            }
            table = PhysAddr::new(target);
            shift = shift.saturating_sub(9);
        }
    }
}

#[cfg(test)]
mod tests {
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

    fn run(
        ram: &ForgedRam,
        levels: PagingLevels,
        at: u64,
        max: u64,
    ) -> Result<PageRun, SourceFailure> {
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
}
