use super::forge::{Forge, STRUCT};
use super::*;
use proptest::prelude::*;

#[test]
fn sizes_arrays_of_typedefs() {
    let mut forge = Forge::default();
    let long = forge.int("long", 8);
    let alias = forge.typedef("word_t", long);
    let row = forge.array(alias, 7);
    let all = forge.array(row, 3);
    let btf = Btf::parse(forge.bytes()).unwrap();
    assert_eq!(btf.size_of(all), Some(ByteLen::new(168)));
    assert_eq!(btf.resolve(alias), Some(long));
    assert_eq!(btf.name_of(alias), b"word_t");
}

#[test]
fn gives_up_on_chains_and_arrays_without_an_end() {
    // G41: chains of 32 and arrays 16 deep are the limit.
    let mut forge = Forge::default();
    let own = forge.next_id();
    let round = forge.typedef("round", own);
    let own = forge.next_id();
    let nested = forge.array(own, 2);
    let btf = Btf::parse(forge.bytes()).unwrap();
    assert_eq!(btf.resolve(round), None);
    assert_eq!(btf.size_of(nested), None);
}

#[test]
fn refuses_sections_that_leave_the_bytes() {
    // G40.
    let whole = {
        let mut forge = Forge::default();
        forge.composite(STRUCT, "page", 64, &[]);
        forge.bytes()
    };
    for len in 0..whole.len() {
        let cut = Btf::parse(whole.get(..len).unwrap().to_vec());
        assert!(
            matches!(cut, Err(BtfError::Short { .. })),
            "{len} bytes: {cut:?}"
        );
    }
    let btf = Btf::parse(whole.clone()).unwrap();
    assert_eq!(btf.bytes(), whole);
    let mut other = whole;
    *other.first_mut().unwrap() = 0xeb;
    assert!(matches!(Btf::parse(other), Err(BtfError::Magic { .. })));
}

#[test]
fn refuses_records_that_leave_the_types() {
    // G41.
    let mut forge = Forge::default();
    forge.record(0, STRUCT, 2, false, 16, &[0, 0, 0]);
    assert_eq!(
        Btf::parse(forge.bytes()).unwrap_err(),
        BtfError::Record { id: 1, at: 24 }
    );
    let mut forge = Forge::default();
    forge.record(0, 20, 0, false, 0, &[]);
    let unknown = BtfError::Kind {
        id: 1,
        at: 24,
        kind: 20,
    };
    assert_eq!(Btf::parse(forge.bytes()).unwrap_err(), unknown);
    let mut forge = Forge::default();
    forge.record(77, 2, 0, false, 0, &[]);
    assert_eq!(
        Btf::parse(forge.bytes()).unwrap_err(),
        BtfError::Name { id: 1, name: 77 }
    );
}

#[test]
fn counts_types_up_to_the_limit_only() {
    let mut forge = Forge::default();
    for _ in 0..=MAX_TYPES {
        forge.record(0, 2, 0, false, 0, &[]);
    }
    let error = Btf::parse(forge.bytes()).unwrap_err();
    assert_eq!(error, BtfError::TooManyTypes { limit: MAX_TYPES });
}

proptest! {
    #[test]
    fn any_types_are_parsed_and_asked_without_a_panic(
        words in proptest::collection::vec(prop_oneof![0_u32..20, any::<u32>(), (0_u32..20).prop_map(|kind| kind << 24 | 1)], 0..60),
        names in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let (types, strings) = (words.len() as u32 * 4, names.len() as u32);
        for word in [24, 0, types, types, strings].iter().chain(&words) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&names);
        if let Ok(btf) = Btf::parse(bytes) {
            for id in 0..=btf.len() as u32 + 1 {
                let id = TypeId(id);
                let _ = (btf.size_of(id), btf.kind_of(id));
                if let Ok(name) = core::str::from_utf8(btf.name_of(id)) {
                    let _ = btf.offset_of(&format!("{name}.a"));
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Btf::parse(bytes);
    }
}

/// `struct page { long flags; }`, and what a module adds: `struct own { struct page page; page_t *alias; }`.
fn split() -> (Arc<Btf>, Vec<u8>) {
    let mut forge = Forge::default();
    let long = forge.int("long", 8);
    let page = forge.composite(STRUCT, "page", 8, &[("flags", long, 0)]);
    let base = Arc::new(Btf::parse(forge.bytes()).unwrap());
    let mut forge = Forge::going_on_from(&base);
    let alias = forge.typedef("page_t", page);
    forge.composite(
        STRUCT,
        "own",
        16,
        &[("page", page, 0), ("alias", alias, 64)],
    );
    (base, forge.bytes())
}

#[test]
fn numbers_and_names_of_a_module_go_on_from_the_base() {
    let (base, bytes) = split();
    let btf = Btf::parse_split(bytes, Arc::clone(&base)).unwrap();
    let ids: Vec<u32> = btf.types().map(|(id, _)| id.get()).collect();
    assert_eq!(ids, [3, 4]);
    // Types of the image are found from the module's, with their names and members.
    assert_eq!(btf.offset_of("own.alias"), Some(ByteLen::new(8)));
    assert_eq!(btf.offset_of("own.page.flags"), Some(ByteLen::ZERO));
    assert_eq!(btf.size_of_struct("page"), Some(ByteLen::new(8)));
    assert_eq!(btf.size_of(TypeId(3)), Some(ByteLen::new(8)));
    assert_eq!(btf.name_of(TypeId(2)), b"page");
    assert_eq!(btf.name_of(TypeId(3)), b"page_t");
    assert_eq!(btf.find("own"), Some(TypeId(4)));
    assert_eq!(base.find("own"), None);
}

#[test]
fn a_module_goes_on_from_the_image_only() {
    let (base, bytes) = split();
    let btf = Arc::new(Btf::parse_split(bytes.clone(), base).unwrap());
    let twice = Btf::parse_split(bytes.clone(), btf);
    assert_eq!(twice.err(), Some(BtfError::SplitBase));
    // Without the base, the names are not there.
    assert!(Btf::parse(bytes).is_err());
}

proptest! {
    #[test]
    fn survives_any_bytes_that_go_on_from_a_base(at: prop::sample::Index, byte: u8) {
        let (base, mut bytes) = split();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(btf) = Btf::parse_split(bytes, base) {
            for (id, described) in btf.types() {
                let _ = (btf.size_of(id), btf.text(described.name));
            }
            let _ = btf.member("own.page.flags");
        }
    }
}
