//! Lists of vmap areas of any content (G50 to G54, G71, G73): list, nodes, and those that were freed.
#![no_main]
#![forbid(unsafe_code)]

use std::cell::RefCell;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vread_fuzz::{Change, Ram};
use vread_linux::fuzzing::{self, AreaLists, DIRECT_MAP, VMALLOC};

/// Where the variables lie.
const BUSY: u64 = 0x6000;
const FREED: u64 = 0x6010;
const ARRAY: u64 = 0x6020;
const COUNT: u64 = 0x6028;
/// The nodes: as long as 6.12's, with their lists inside.
const NODES: u64 = 0x8000;
const NODE_LEN: u64 = 6272;
const BUSY_IN_NODE: u64 = 6160;
const LAZY_IN_NODE: u64 = 6192;
const NODE_COUNT: u64 = 3;
/// The areas of each list, with their descriptors behind them.
const RECORDS: u64 = 0x2_0000;
const AREAS: u64 = 6;
const LIST_IN_AREA: u64 = 40;

#[derive(Debug, Arbitrary)]
struct Input {
    shape: Shape,
    changes: Vec<Change>,
}

#[derive(Debug, Arbitrary)]
enum Shape {
    List,
    Stack,
    Nodes,
}

thread_local! {
    static RAM: RefCell<Ram> = RefCell::new(ram());
}

fn ram() -> Ram {
    let mut ram = Ram::mapped_at(DIRECT_MAP);
    ram.set_pointer(ARRAY, NODES);
    ram.set(COUNT, NODE_COUNT);
    let heads = [BUSY, FREED].into_iter();
    let node = |index: u64| NODES + index * NODE_LEN;
    let in_nodes =
        (0..NODE_COUNT).flat_map(|index| [node(index) + BUSY_IN_NODE, node(index) + LAZY_IN_NODE]);
    for (list, head) in (0_u64..).zip(heads.chain(in_nodes)) {
        let at = |area: u64| RECORDS + list * 0x1000 + area * 256;
        let entry = |index: u64| match index % (AREAS + 1) {
            0 => head,
            area => at(area - 1) + LIST_IN_AREA,
        };
        ram.set_pointer(head, entry(1));
        ram.set_pointer(head + 8, entry(AREAS));
        for area in 0..AREAS {
            let start = VMALLOC.get() + (list * 64 + area * 8) * 4096;
            ram.set(at(area), start);
            ram.set(at(area) + 8, start + 5 * 4096);
            ram.set_pointer(at(area) + LIST_IN_AREA, entry(area + 2));
            ram.set_pointer(at(area) + LIST_IN_AREA + 8, entry(area));
            ram.set_pointer(at(area) + 56, at(area) + 128);
            ram.set(at(area) + 128 + 16, 5 * 4096);
            ram.set(at(area) + 128 + 24, 2);
        }
    }
    ram
}

fuzz_target!(|input: Input| {
    RAM.with_borrow_mut(|ram| {
        ram.change(&input.changes);
        let (busy, freed) = (ram.virt(BUSY), ram.virt(FREED));
        let lists = match input.shape {
            Shape::List => AreaLists::List { busy, freed },
            Shape::Stack => AreaLists::Stack { busy, freed },
            Shape::Nodes => AreaLists::Nodes {
                array: ram.virt(ARRAY),
                count: ram.virt(COUNT),
            },
        };
        let areas = fuzzing::areas(&ram.mem, ram.table(), lists).expect("the regions are in order");
        let known = areas.busy.as_deref().unwrap_or_default();
        assert!(areas.again <= known.len());
        for known in known
            .iter()
            .chain(areas.freed.as_deref().unwrap_or_default())
        {
            let range = known.area.range;
            assert!(!range.is_empty());
            assert!(range.start().is_page_aligned() && range.end().is_page_aligned());
        }
        if let Shape::List = input.shape {
            let ascend = known.is_sorted_by(|a, b| a.area.range.end() <= b.area.range.start());
            assert!(ascend, "{known:?}");
        }
        if input.changes.is_empty() {
            let lists = match input.shape {
                Shape::Nodes => NODE_COUNT,
                _ => 1,
            };
            assert_eq!(known.len() as u64, AREAS * lists);
            assert_eq!(areas.again, known.len(), "what rests is found again");
        }
    });
});
