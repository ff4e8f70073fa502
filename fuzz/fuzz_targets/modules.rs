//! The module list, symbols and exports of any content (G62, G73).
#![no_main]
#![forbid(unsafe_code)]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use vread_addr::{ByteLen, VirtAddr};
use vread_fuzz::{Change, Ram};
use vread_linux::fuzzing;

const AT: VirtAddr = VirtAddr::new(0xffff_8880_0000_0000);
const HEAD: u64 = 0x6000;
const MODULES: u64 = 3;

thread_local! {
    static RAM: RefCell<Ram> = RefCell::new(ram());
}

fn ram() -> Ram {
    let mut ram = Ram::mapped_at(AT);
    let module = |index: u64| 0x8000 + index * 0x2000;
    let entry = |index: u64| match index % (MODULES + 1) {
        0 => HEAD,
        index => module(index - 1) + 8,
    };
    ram.set_pointer(HEAD, entry(1));
    ram.set_pointer(HEAD + 8, entry(MODULES));
    for index in 0..MODULES {
        let at = module(index);
        ram.set_pointer(at + 8, entry(index + 2));
        ram.set_pointer(at + 16, entry(index));
        ram.put(at + 24, format!("module_{index}\0").as_bytes());
        ram.set_pointer(at + 320, at + 0x1000);
        ram.set(at + 328, 0x800);
        // mod_kallsyms, its tables, and the names of four symbols.
        let tables = at + 0x600;
        let (symbols, strings, letters) = (at + 0x700, at + 0x800, at + 0x900);
        ram.set_pointer(at + 904, tables);
        ram.set_pointer(tables, symbols);
        ram.set(tables + 8, 4);
        ram.set_pointer(tables + 16, strings);
        ram.set_pointer(tables + 24, letters);
        ram.put(letters, b"?tdb");
        ram.put(strings, b"\0first\0second\0third\0");
        for (symbol, name) in (0_u64..).zip([0, 1, 7, 14]) {
            let place = symbols + symbol * 24;
            ram.set(place, name | 1 << 48);
            ram.set_pointer(place + 8, at + 0x1000 + symbol * 0x100);
        }
        // One export, of the first symbol: offsets from their own places.
        let export = at + 0xa00;
        ram.set_pointer(at + 216, export);
        ram.set(at + 232, 1);
        let to = |from: u64, to: u64| (to.wrapping_sub(from) as u32).to_le_bytes();
        ram.put(export, &to(export, at + 0x1100));
        ram.put(export + 4, &to(export + 4, strings + 1));
    }
    ram
}

fuzz_target!(|changes: Vec<Change>| {
    RAM.with_borrow_mut(|ram| {
        ram.change(&changes);
        let Ok(modules) = fuzzing::modules(&ram.mem, ram.table(), ram.virt(HEAD)) else {
            assert!(!changes.is_empty());
            return;
        };
        if changes.is_empty() {
            assert_eq!(modules.len() as u64, MODULES);
            assert!(modules.iter().all(|module| module.symbols.len() == 3));
            let exported = |module: &vread_linux::modules::Module| {
                module.symbols.iter().any(|symbol| symbol.letter == 'T')
            };
            assert!(modules.iter().all(exported));
        }
        for module in &modules {
            assert!(module.name.len() <= 3 * 56);
            for symbol in &module.symbols {
                assert!(!symbol.name.is_empty() && symbol.name.len() <= 3 * 511);
                let Some((nearest, size)) = module.nearest(symbol.addr) else {
                    continue;
                };
                assert!(nearest.addr <= symbol.addr);
                assert_ne!(size, ByteLen::ZERO);
            }
        }
    });
});
