use super::*;
use proptest::prelude::*;

const STEXT: VirtAddr = VirtAddr::new(0xffff_ffff_8100_0000);
const BASE: VirtAddr = VirtAddr::new(0xffff_ffff_8100_0000);
const AT: VirtAddr = VirtAddr::new(0xffff_ffff_8200_0000);

/// Tables in which every token is one character, and token 1 is a long one.
fn tokens() -> (Vec<u8>, Vec<u8>) {
    let (mut table, mut index) = (Vec::new(), Vec::new());
    for token in 0..=255_u8 {
        index.extend_from_slice(&(table.len() as u16).to_le_bytes());
        match token {
            0 => {}
            1 => table.extend_from_slice(&[b'x'; 200]),
            _ => table.push(token),
        }
        table.push(0);
    }
    (table, index)
}

fn encode(names: &[&[u8]], alignment: usize) -> Vec<u8> {
    let (mut bytes, mut markers) = (Vec::new(), Vec::new());
    for (index, name) in names.iter().enumerate() {
        if index % 256 == 0 {
            markers.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        }
        match name.len() {
            len @ 0..0x80 => bytes.push(len as u8),
            len => bytes.extend_from_slice(&[len as u8 | 0x80, (len >> 7) as u8]),
        }
        bytes.extend_from_slice(name);
    }
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
    bytes.extend_from_slice(&markers);
    bytes
}

fn raw(names: &[&[u8]], offsets: &[i32], base: Option<VirtAddr>) -> RawTables {
    let (token_table, token_index) = tokens();
    RawTables {
        num_syms: names.len() as u32,
        names_at: AT,
        names: encode(names, 8),
        token_table,
        token_index,
        addresses: RawAddresses::Relative {
            offsets: offsets
                .iter()
                .flat_map(|offset| offset.to_le_bytes())
                .collect(),
            at: AT,
            base,
        },
    }
}

fn addresses(raw: RawTables) -> Result<Vec<u64>, LinuxError> {
    let decoded = Kallsyms::decode(raw, STEXT)?;
    Ok(decoded.iter().map(|symbol| symbol.addr.get()).collect())
}

fn why(raw: RawTables) -> &'static str {
    match Kallsyms::decode(raw, STEXT) {
        Err(LinuxError::Malformed { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn finds_the_rule_that_puts_stext_right() {
    // G24, G25: the four rules.
    let names: [&[u8]; 3] = [b"Apercpu", b"T_stext", b"tafter"];
    let percpu = raw(&names, &[0x1000, -1, -0x21], Some(BASE));
    assert_eq!(
        addresses(percpu),
        Ok(vec![0x1000, STEXT.get(), STEXT.get() + 0x20])
    );
    let below = VirtAddr::new(STEXT.get() - 0x9000_0000);
    let high = (0x9000_0000_u32).cast_signed();
    let plain = raw(&names, &[5, high, high + 0x20], Some(below));
    assert_eq!(
        addresses(plain),
        Ok(vec![below.get() + 5, STEXT.get(), STEXT.get() + 0x20])
    );
    let to_stext = i32::try_from(STEXT.get().cast_signed() - AT.get().cast_signed()).unwrap();
    let place = raw(&names, &[0, to_stext - 4, to_stext], None);
    assert_eq!(
        addresses(place),
        Ok(vec![AT.get(), STEXT.get(), STEXT.get() + 8])
    );
    let mut absolute = raw(&names, &[], None);
    let table = [7, STEXT.get(), STEXT.get() + 9];
    let bytes = table
        .iter()
        .flat_map(|addr: &u64| addr.to_le_bytes())
        .collect();
    absolute.addresses = RawAddresses::Absolute(bytes);
    assert_eq!(addresses(absolute), Ok(table.to_vec()));
    let wrong = raw(&names, &[0x1000, -2, -0x21], Some(BASE));
    assert!(why(wrong).contains("_stext"));
}

#[test]
fn reads_names_of_128_bytes_and_more() {
    // G22: two length bytes.
    let long = [b'n'; 300];
    let mut name = vec![b't'];
    name.extend_from_slice(&long);
    let decoded =
        Kallsyms::decode(raw(&[b"T_stext", &name], &[-1, -2], Some(BASE)), STEXT).unwrap();
    let symbol = decoded.get(SymbolIndex(1)).unwrap();
    assert_eq!(symbol.name.as_bytes(), long);
    assert_eq!(decoded.find(&symbol.name), Some(symbol.addr));
}

#[test]
fn finds_markers_under_both_alignments() {
    // G21: 8 up to 6.12, 4 in 7.2; more than one marker.
    let many = vec![b"tname".as_slice(); 600];
    let mut names: Vec<&[u8]> = vec![b"T_stext", b"tX"];
    names.extend(many);
    let offsets: Vec<i32> = (1..=602).map(|offset| -offset).collect();
    for alignment in [8, 4] {
        let mut raw = raw(&names, &offsets, Some(BASE));
        raw.names = encode(&names, alignment);
        let decoded = Kallsyms::decode(raw, STEXT).unwrap();
        assert_eq!(
            decoded.find_all("name").count(),
            600,
            "G26: names are not unique"
        );
    }
    let mut forged = raw(&names, &offsets, Some(BASE));
    let last = forged.names.len() - 2;
    *forged.names.get_mut(last).unwrap() ^= 1;
    assert!(why(forged).contains("marker"));
}

#[test]
fn refuses_tables_beyond_the_limits() {
    // G31.
    let good = || raw(&[b"T_stext"], &[-1], Some(BASE));
    assert!(addresses(good()).is_ok());
    for num_syms in [0, MAX_SYMBOLS + 1, u32::MAX] {
        assert!(why(RawTables { num_syms, ..good() }).contains("number of symbols"));
    }
    assert!(
        why(RawTables {
            num_syms: 9,
            ..good()
        })
        .contains("name")
    );
    assert!(why(raw(&[b"T_stext", b""], &[-1, -2], Some(BASE))).contains("no length"));
    // Three tokens of 200 characters.
    assert!(why(raw(&[b"T_stext", b"t\x01\x01\x01"], &[-1, -2], Some(BASE))).contains("limit"));
    let mut twisted = good();
    *twisted.token_index.get_mut(20).unwrap() ^= 1;
    assert!(why(twisted).contains("token"));
    let mut short = good();
    short.token_table.truncate(300);
    assert!(why(short).contains("token"));
    let short = raw(&[b"T_stext", b"tx"], &[-1], Some(BASE));
    assert!(why(short).contains("_stext"));
}

#[test]
fn names_an_address_by_the_first_of_several_symbols() {
    let names: [&[u8]; 4] = [b"T_stext", b"tone", b"ttwo", b"tthree"];
    let decoded =
        Kallsyms::decode(raw(&names, &[-1, -0x11, -0x11, -0x31], Some(BASE)), STEXT).unwrap();
    let nearest = |into: u64| {
        let (index, next) = decoded.nearest(VirtAddr::new(STEXT.get() + into))?;
        Some((
            decoded.get(index)?.name,
            next.map(|next| next.get() - STEXT.get()),
        ))
    };
    assert_eq!(nearest(0xf), Some(("_stext".to_owned(), Some(0x10))));
    assert_eq!(nearest(0x10), Some(("one".to_owned(), Some(0x30))));
    assert_eq!(nearest(0x1000), Some(("three".to_owned(), None)));
    assert_eq!(decoded.nearest(VirtAddr::new(STEXT.get() - 1)), None);
}

proptest! {
    #[test]
    fn any_tables_are_decoded_without_a_panic(
        names in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20),
        offsets in proptest::collection::vec(any::<i32>(), 0..20),
        base in any::<Option<u64>>(),
        forged in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..3),
        num_syms in proptest::option::of(0_u32..30),
    ) {
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let names: Vec<&[u8]> = [b"T_stext".as_slice()].into_iter().chain(names).collect();
        let offsets: Vec<i32> = [-1].into_iter().chain(offsets).collect();
        let mut raw = raw(&names, &offsets, Some(base.map_or(BASE, VirtAddr::new)));
        raw.num_syms = num_syms.unwrap_or(raw.num_syms);
        for (at, byte) in forged {
            let at = at % raw.names.len();
            *raw.names.get_mut(at).unwrap() = byte;
        }
        if let Ok(decoded) = Kallsyms::decode(raw, STEXT) {
            prop_assert_eq!(decoded.iter().count(), decoded.len());
            prop_assert!(decoded.find_all("_stext").count() > 0);
            let _ = decoded.nearest(STEXT);
        }
    }
}
