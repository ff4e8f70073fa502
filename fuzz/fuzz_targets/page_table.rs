//! Page tables of any content (G1 to G7, G73): a run is what its bytes, one by one, are.
#![no_main]
#![forbid(unsafe_code)]

use std::cell::RefCell;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vread_addr::{ByteLen, PhysAddr, VirtAddr};
use vread_fuzz::{Change, Ram};
use vread_linux::{PageTable, PagingLevels};
use vread_vmalloc::PageRun;

const AT: VirtAddr = VirtAddr::new(0xffff_8880_0000_0000);

#[derive(Debug, Arbitrary)]
struct Input {
    five_levels: bool,
    root: u8,
    encryption_mask: u64,
    changes: Vec<Change>,
    questions: Vec<(Place, u32)>,
}

#[derive(Debug, Arbitrary)]
enum Place {
    /// In what the tables map to begin with.
    Mapped(u32),
    Any(u64),
    /// By the index in each level.
    Indexes([u16; 5], u16),
}

thread_local! {
    static RAM: RefCell<Ram> = RefCell::new(Ram::mapped_at(AT));
}

fuzz_target!(|input: Input| {
    RAM.with_borrow_mut(|ram| {
        ram.change(&input.changes);
        let levels = match input.five_levels {
            true => PagingLevels::Five,
            false => PagingLevels::Four,
        };
        let root = match input.root {
            0..128 => ram.table().root(),
            page => PhysAddr::new(u64::from(page) % 70 * 4096),
        };
        let table = PageTable::new(root, levels, input.encryption_mask & !0xfff);
        for (place, max) in input.questions.iter().take(16) {
            let addr = match place {
                Place::Mapped(into) => AT.wrapping_add(ByteLen::new(u64::from(into % (1 << 21)))),
                Place::Any(addr) => VirtAddr::new(*addr),
                Place::Indexes(indexes, into) => {
                    let shifts = [48, 39, 30, 21, 12];
                    let high = shifts.iter().zip(indexes);
                    let addr = high.fold(u64::from(*into) & 0xfff, |addr, (shift, index)| {
                        addr | u64::from(index & 0x1ff) << shift
                    });
                    // The sign of the highest translated bit.
                    let spare = 64 - levels.address_bits();
                    VirtAddr::new(((addr << spare) as i64 >> spare) as u64)
                }
            };
            let max = ByteLen::new(u64::from(*max));
            let run = table
                .translate_run(&ram.mem, addr, max)
                .expect("RAM is there");
            let len = match run {
                PageRun::Mapped { len, .. } | PageRun::Hole { len } => len,
            };
            assert!(!len.is_zero(), "a run has a byte");
            assert!(
                len <= max.max(ByteLen::new(1)),
                "no more than was asked for"
            );
            // The first byte, the last one, and some in between.
            let last = len.get() - 1;
            for into in [0, last / 3, last / 2, last] {
                let there = addr.checked_add(ByteLen::new(into)).expect("in the run");
                let phys = table.translate(&ram.mem, there).expect("RAM is there");
                let expected = match run {
                    PageRun::Mapped { phys, .. } => phys.checked_add(ByteLen::new(into)),
                    PageRun::Hole { .. } => None,
                };
                assert_eq!(phys, expected, "{there} in {run:?}");
            }
        }
    });
});
