//! The tree of resources of any content (G56, G73).
#![no_main]
#![forbid(unsafe_code)]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use vread_addr::VirtAddr;
use vread_fuzz::{Change, Ram};
use vread_linux::fuzzing;

const AT: VirtAddr = VirtAddr::new(0xffff_8880_0000_0000);
const ROOT: u64 = 0x6000;

thread_local! {
    static RAM: RefCell<Ram> = RefCell::new(ram());
}

fn ram() -> Ram {
    let mut ram = Ram::mapped_at(AT);
    // Start, last, sibling and child of each, by index; 0, the root, for none.
    let tree = [
        (0, u64::MAX, 0, 1),
        (0x1000, 0x9_fbff, 4, 2),
        (0x2000, 0x2fff, 3, 0),
        (0x3000, 0x3fff, 0, 0),
        (0x10_0000, 0x1f_ffff, 0, 5),
        (0x12_0000, 0x13_ffff, 0, 0),
    ];
    ram.put(ROOT + 0x800, b"System RAM\0");
    for (index, (start, last, sibling, child)) in (0_u64..).zip(tree) {
        let at = ROOT + index * 64;
        ram.set(at, start);
        ram.set(at + 8, last);
        ram.set_pointer(at + 16, ROOT + 0x800);
        ram.set(at + 24, 0x8100_0200);
        for (place, to) in [(48, sibling), (56, child)] {
            if to != 0 {
                ram.set_pointer(at + place, ROOT + to * 64);
            }
        }
    }
    ram
}

fuzz_target!(|changes: Vec<Change>| {
    RAM.with_borrow_mut(|ram| {
        ram.change(&changes);
        match fuzzing::resources(&ram.mem, ram.table(), ram.virt(ROOT)) {
            Ok(iomem) => {
                if changes.is_empty() {
                    assert_eq!(iomem.resources().len(), 5);
                    assert_eq!(iomem.system_ram().count(), 2);
                }
                let lines = iomem.to_string().lines().count();
                assert!(
                    iomem
                        .resources()
                        .iter()
                        .all(|resource| resource.name.len() <= 3 * 128)
                );
                assert!(lines > 0 || iomem.resources().is_empty());
            }
            Err(_) => assert!(!changes.is_empty()),
        }
    });
});
