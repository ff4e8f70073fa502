//! BTF that somebody made up.

use proptest::prelude::*;
use vread_addr::{VirtAddr, VirtRange};
use vread_linux::Btf;

use super::types::pointed_at;
use super::unit::{About, Units};
use super::{MAX_ENTRIES, Source, write};
use crate::VmlinuxError;
use crate::form::Relocation;
use crate::sections::{Content, Section};
use crate::symbols::{Binding, ElfSymbol, SymbolKind};

/// BTF of these words as its type section; its names are `\0a\0`.
fn btf(words: &[u32]) -> Vec<u8> {
    let types = words.len() as u32 * 4;
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, types, types, 3].iter().chain(words) {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(b"\0a\0");
    bytes
}

fn written(btf: &Btf) -> Result<usize, VmlinuxError> {
    let range = VirtRange::new(VirtAddr::new(0x1000), VirtAddr::new(0x2000)).unwrap();
    let section = Section {
        name: ".text".into(),
        range,
        content: Content::Text,
        module: None,
    };
    let symbol = ElfSymbol {
        name: "a".into(),
        addr: range.start(),
        size: range.len(),
        section: Some(0),
        kind: SymbolKind::Function,
        binding: Binding::Global,
        module: None,
    };
    let sections = write(Source {
        btf,
        modules: &[],
        ticks_per_second: None,
        release: "6.1",
        sections: &[section],
        symbols: &[symbol],
        relocation: Relocation::none(),
    })?;
    Ok(sections.iter().map(|(_, bytes)| bytes.len()).sum())
}

const fn info(kind: u32, vlen: u32) -> u32 {
    kind << 24 | vlen
}

#[test]
fn ends_at_types_that_refer_to_themselves() {
    // A typedef, a pointer, an array, a mark and a struct, each of itself; a function of itself.
    let words = [
        vec![1, info(8, 0), 1],
        vec![0, info(2, 0), 2],
        vec![0, info(3, 0), 0, 3, 3, u32::MAX],
        vec![1, info(18, 0), 4],
        vec![1, info(4, 1), 8, 1, 5, 0],
        vec![1, info(12, 0), 6],
        vec![0, info(13, 1), 7, 1, 7],
        vec![1, info(8, 0), 4],
    ];
    let btf = Btf::parse(btf(&words.concat())).unwrap();
    assert!(written(&btf).unwrap() > 0);
}

#[test]
fn a_prototype_has_an_entry_of_its_own_where_something_points_at_it() {
    // A number, a function, and a pointer to a function.
    let words = [
        vec![1, info(1, 0), 4, 32],
        vec![0, info(13, 0), 1],
        vec![1, info(12, 0), 2],
        vec![0, info(13, 0), 1],
        vec![0, info(2, 0), 4],
    ];
    let btf = Btf::parse(btf(&words.concat())).unwrap();
    let mut units = Units::new();
    let mut unit = units.add(&btf, About::Image, None);
    unit.add_types(&pointed_at(&btf)).unwrap();
    let mut entries: Vec<u32> = unit.entries.of.keys().map(|id| id.get()).collect();
    entries.sort_unstable();
    assert_eq!(entries, [1, 4, 5]);
}

#[test]
fn refuses_more_entries_than_any_kernel_has() {
    // Structs of as many members as one can have.
    let mut words = vec![1, info(1, 0), 4, 32];
    let members = [1, 1, 0].repeat(0xffff);
    while words.len() / 3 <= MAX_ENTRIES {
        words.extend([1, info(4, 0xffff), 4]);
        words.extend_from_slice(&members);
    }
    let btf = Btf::parse(btf(&words)).unwrap();
    assert!(matches!(written(&btf), Err(VmlinuxError::Format(_))));
}

proptest! {
    #[test]
    fn any_types_that_parse_are_written_without_a_panic(
        records in proptest::collection::vec((0..3_u32, 1..20_u32, any::<bool>(), 0..12_u32, any::<[u32; 6]>()), 0..20),
    ) {
        let mut words = Vec::new();
        for (name, kind, flag, size_or_type, tail) in records {
            words.extend([name, u32::from(flag) << 31 | info(kind, 1), size_or_type]);
            let len = match kind {
                1 | 14 | 17 => 1,
                3 | 4 | 5 | 15 | 19 => 3,
                6 | 13 => 2,
                _ => 0,
            };
            words.extend(tail[..len].iter().map(|word| word % 24));
        }
        let btf = Btf::parse(btf(&words)).unwrap();
        prop_assert!(written(&btf).is_ok());
    }
}
