//! Kallsyms' tables of any content (G20 to G26, G31): what is decoded can be found again.
#![no_main]
#![forbid(unsafe_code)]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vread_addr::VirtAddr;
use vread_linux::fuzzing::{self, AddressRule, IMAGE, SymbolTables};

#[derive(Debug, Arbitrary)]
struct Input {
    /// Pieces of names; the rest of the 256 tokens are single characters.
    tokens: Vec<Vec<u8>>,
    names: Vec<Vec<u8>>,
    offsets: Vec<i32>,
    rule: Rule,
    /// Bytes changed at the end: in which table, where, to what.
    changes: Vec<(u8, u16, u8)>,
    num_syms: Option<u32>,
}

#[derive(Debug, Arbitrary)]
enum Rule {
    Absolute,
    FromBase(u64),
    FromImage,
    FromPlace,
}

/// The tables of the input, well formed but for what it changes.
fn tables(input: &Input) -> SymbolTables {
    let (mut token_table, mut token_index) = (Vec::new(), Vec::new());
    for token in 0..=255_u8 {
        token_index.extend_from_slice(&(token_table.len() as u16).to_le_bytes());
        match input.tokens.get(usize::from(token).wrapping_sub(1)) {
            Some(text) if token > 0 => {
                token_table.extend(text.iter().copied().filter(|byte| *byte != 0).take(200));
            }
            _ if token > 0 => token_table.push(token),
            _ => {}
        }
        token_table.push(0);
    }
    // One name that the rule of addresses is found by.
    let mut list: Vec<&[u8]> = vec![b"T_stext"];
    list.extend(input.names.iter().map(Vec::as_slice));
    list.truncate(2000);
    let (mut names, mut markers) = (Vec::new(), Vec::new());
    for (index, name) in list.iter().enumerate() {
        if index % 256 == 0 {
            markers.extend_from_slice(&(names.len() as u32).to_le_bytes());
        }
        let name = &name[..name.len().min(600)];
        match name.len() {
            len @ 0..0x80 => names.push(len as u8),
            len => names.extend_from_slice(&[len as u8 | 0x80, (len >> 7) as u8]),
        }
        names.extend_from_slice(name);
    }
    names.resize(names.len().next_multiple_of(8), 0);
    names.extend_from_slice(&markers);
    let offset = |index: usize| input.offsets.get(index).copied().unwrap_or_default();
    let offsets = 1..list.len();
    let (rule, addresses) = match input.rule {
        Rule::Absolute => {
            let rest = offsets.flat_map(|index| (offset(index) as u64).to_le_bytes());
            let first = IMAGE.get().to_le_bytes();
            (
                AddressRule::Absolute,
                first.into_iter().chain(rest).collect(),
            )
        }
        Rule::FromBase(base) => relative(AddressRule::FromBase(base), -1, offsets.map(offset)),
        Rule::FromImage => relative(AddressRule::FromBase(IMAGE.get()), -1, offsets.map(offset)),
        Rule::FromPlace => relative(AddressRule::FromPlace, 0, offsets.map(offset)),
    };
    let mut tables = SymbolTables {
        num_syms: input.num_syms.unwrap_or(list.len() as u32),
        names,
        token_table,
        token_index,
        addresses,
        rule,
    };
    for (table, at, value) in input.changes.iter().take(64) {
        let bytes = match table % 4 {
            0 => &mut tables.names,
            1 => &mut tables.token_table,
            2 => &mut tables.token_index,
            _ => &mut tables.addresses,
        };
        let at = usize::from(*at);
        match bytes.get_mut(at) {
            Some(byte) => *byte = *value,
            // Beyond the end: cut it short.
            None => bytes.truncate(at % (bytes.len() + 1)),
        }
    }
    tables
}

fn relative(
    rule: AddressRule,
    first: i32,
    rest: impl Iterator<Item = i32>,
) -> (AddressRule, Vec<u8>) {
    let all = std::iter::once(first).chain(rest);
    (rule, all.flat_map(i32::to_le_bytes).collect())
}

fuzz_target!(|input: Input| {
    let tables = tables(&input);
    let count = tables.num_syms as usize;
    let Ok(kallsyms) = fuzzing::kallsyms(tables, IMAGE) else {
        return;
    };
    assert_eq!(kallsyms.len(), count);
    assert!(
        kallsyms
            .find_all("_stext")
            .any(|index| kallsyms.address(index) == Some(IMAGE)),
        "that is how the rule was found"
    );
    for symbol in kallsyms.iter().take(300) {
        assert!(symbol.name.len() <= 3 * 511);
        // Names of other bytes than UTF-8 are shown, but not found.
        if !symbol.name.contains('\u{fffd}') {
            let mut named = kallsyms.find_all(&symbol.name);
            assert!(named.any(|index| kallsyms.address(index) == Some(symbol.addr)));
        }
        let (nearest, next) = kallsyms.nearest(symbol.addr).expect("it covers itself");
        assert_eq!(kallsyms.address(nearest), Some(symbol.addr));
        assert!(next.is_none_or(|next| next > symbol.addr));
    }
    let _ = kallsyms.nearest(VirtAddr::new(0));
    let _ = kallsyms.nearest(VirtAddr::new(u64::MAX));
});
