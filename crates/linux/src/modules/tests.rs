use super::*;
use crate::forged::{BIG, ForgedRam, virt};
use crate::{LinuxError, PagingLevels};

const AT: u64 = 0xffff_8880_0000_0000;
/// The list's head, and where modules, their symbols' tables and the strings lie.
const HEAD: u64 = 0x8000;
const MODULES: u64 = 0x9000;
const TABLES: u64 = 0xb000;
const STRINGS: u64 = 0x2_0000;
const PAGES: u64 = 64;

/// Modules that share one table of `symbols`, which are names' places in the strings.
fn forged(modules: u64, symbols: &[u32], strings: &[u8]) -> ForgedRam {
    let mut ram = ForgedRam::new(512);
    for page in 0..PAGES {
        ram.map(AT + page * 4096, page * 4096);
    }
    let module = |index: u64| MODULES + index * 0x800;
    let entry = |index: u64| match index % (modules + 1) {
        0 => AT + HEAD,
        index => AT + module(index - 1) + 8,
    };
    ram.put_u64(HEAD, entry(1));
    ram.put_u64(HEAD + 8, entry(modules));
    for index in 0..modules {
        let at = module(index);
        ram.put_u64(at + 8, entry(index + 2));
        ram.put_u64(at + 16, entry(index));
        ram.put(at + 24, b"name\0");
        ram.put_u64(at + 904, AT + TABLES);
    }
    let symtab = TABLES + 0x100;
    let letters = symtab + 24 * symbols.len() as u64;
    ram.put_u64(TABLES, AT + symtab);
    ram.put_u64(TABLES + 8, symbols.len() as u64);
    ram.put_u64(TABLES + 16, AT + STRINGS);
    ram.put_u64(TABLES + 24, AT + letters);
    for (index, name) in (0_u64..).zip(symbols) {
        ram.put_u64(symtab + index * 24, u64::from(*name));
        ram.put_u64(symtab + index * 24 + 8, 0x1000 + index);
    }
    ram.put(letters, &vec![b't'; symbols.len()]);
    ram.put(STRINGS, strings);
    ram
}

fn read(ram: &ForgedRam) -> Result<Vec<Module>, LinuxError> {
    let head = VirtAddr::new(AT + HEAD);
    let layout = ModuleLayout::of_6_12();
    read_modules(virt(&ram.open()), &layout, head, Depth::Symbols)
}

#[test]
fn reads_symbols_of_each_module() {
    // G62.
    let modules = read(&forged(2, &[0, 1, 7], b"\0first\0second\0")).unwrap();
    assert_eq!(modules.len(), 2);
    for module in modules {
        let names: Vec<_> = module.symbols.iter().map(|s| s.name.as_str()).collect();
        assert_eq!((&*module.name, names), ("name", vec!["first", "second"]));
    }
}

#[test]
fn names_addresses_by_the_symbol_below() {
    // The kernel's own rule: symbols that are defined, the first of several at one address, and the last
    // one ends with the module's text.
    let mut ram = forged(1, &[1, 7, 14, 1], b"\0first\0second\0.Lthird\0");
    let symtab = TABLES + 0x100;
    for (symbol, addr) in [(0, 0x2000_u64), (1, 0x2000), (2, 0x2008), (3, 0x2010)] {
        // Defined, in some section.
        ram.put(symtab + symbol * 24 + 6, &[1, 0]);
        ram.put_u64(symtab + symbol * 24 + 8, addr);
    }
    ram.put_u64(MODULES + 320, 0x2000);
    ram.put(MODULES + 328, &[0x40, 0, 0, 0]);
    let modules = read(&ram).unwrap();
    let nearest = |addr| {
        let (symbol, size) = modules[0].nearest(VirtAddr::new(addr))?;
        Some((symbol.name.as_str(), symbol.addr.get(), size.get()))
    };
    assert_eq!(nearest(0x1fff), None);
    for (addr, name, start, size) in [
        (0x2000, "first", 0x2000, 0x10),
        (0x2009, "first", 0x2000, 0x10),
        (0x2010, "first", 0x2010, 0x30),
        (0x203f, "first", 0x2010, 0x30),
    ] {
        assert_eq!(nearest(addr), Some((name, start, size)), "{addr:#x}");
    }
    assert_eq!(nearest(0x2040), None, "behind the text");
}

#[test]
fn cuts_a_name_without_an_end() {
    // G73: strings without NUL, in which every symbol's name begins somewhere else.
    let strings = [b'x'; 0x1_0000];
    let symbols: Vec<u32> = (1..1000).map(|index| index * 60).collect();
    let modules = read(&forged(1, &symbols, &strings)).unwrap();
    let symbols = &modules[0].symbols;
    assert_eq!(symbols.len(), 999);
    assert!(symbols.iter().all(|symbol| symbol.name.len() <= 511));
}

#[test]
fn takes_no_more_names_than_all_modules_of_a_kernel_have() {
    // G73: a name far behind the others, in strings that are the same 2 MiB of RAM again and again.
    let mut ram = forged(4, &[1 << 24], b"");
    for leaf in 0..9 {
        let at = AT + 0x100_0000 + leaf * (2 << 20);
        ram.set_entry(PagingLevels::Four, at, 21, BIG);
    }
    ram.put(0, &[b'x'; 64]);
    ram.put_u64(TABLES + 16, AT + 0x100_0000);
    // Four times 16 MiB and a little are more than there may be of all.
    let modules = read(&ram).unwrap();
    let with_symbols = modules.iter().filter(|module| !module.symbols.is_empty());
    assert_eq!((modules.len(), with_symbols.count()), (4, 3));
}

#[test]
fn counts_the_symbols_of_all_modules() {
    // G73: a table that claims as many symbols as there may be of all is refused before it is read.
    let mut ram = forged(2, &[1], b"\0first\0");
    ram.put_u64(TABLES + 8, (1 << 20) + 1);
    let modules = read(&ram).unwrap();
    assert!(modules.iter().all(|module| module.symbols.is_empty()));
}
