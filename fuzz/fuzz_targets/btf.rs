//! BTF of any content (G40 to G42): every type that is found can be described, and nothing in it, however
//! it is nested, costs more than the limits.
#![no_main]
#![forbid(unsafe_code)]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vread_linux::Btf;

/// The most types looked at closely in one input.
const MAX_LOOKED_AT: usize = 64;

#[derive(Debug, Arbitrary)]
struct Input {
    types: Vec<Type>,
    strings: Vec<u8>,
    /// Bytes changed at the end.
    changes: Vec<(u16, u8)>,
    paths: Vec<[u8; 3]>,
}

#[derive(Debug, Arbitrary)]
struct Type {
    name: u8,
    kind: u8,
    flag: bool,
    size_or_type: Number,
    tail: Vec<[Number; 3]>,
}

/// Mostly the number of a type or a small size.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Number {
    Small(u8),
    Any(u32),
}

impl Number {
    fn get(self) -> u32 {
        match self {
            Self::Small(number) => u32::from(number),
            Self::Any(number) => number,
        }
    }
}

/// The bytes of the input: records whose lengths are right, until its changes are made.
fn bytes(input: &Input) -> Vec<u8> {
    let mut types = Vec::new();
    for record in &input.types {
        let kind = u32::from(record.kind % 20);
        let words = match kind {
            1 | 14 | 17 => 1,
            3 => 3,
            4 | 5 | 15 | 19 => record.tail.len() * 3,
            6 | 13 => record.tail.len() * 2,
            _ => 0,
        };
        let vlen = match kind {
            4 | 5 | 6 | 13 | 15 | 19 => record.tail.len() as u32 & 0xffff,
            _ => 0,
        };
        let info = u32::from(record.flag) << 31 | kind << 24 | vlen;
        let head = [u32::from(record.name), info, record.size_or_type.get()];
        let rest = record.tail.iter().flatten().map(|number| number.get());
        let tail = rest.chain(std::iter::repeat(1)).take(words);
        types.extend(head.into_iter().chain(tail).flat_map(u32::to_le_bytes));
    }
    let mut strings = vec![0];
    strings.extend_from_slice(&input.strings);
    strings.push(0);
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    let len = types.len() as u32;
    for word in [24, 0, len, len, strings.len() as u32] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&types);
    bytes.extend_from_slice(&strings);
    for (at, value) in input.changes.iter().take(32) {
        if let Some(byte) = bytes.get_mut(usize::from(*at)) {
            *byte = *value;
        }
    }
    bytes
}

fuzz_target!(|input: Input| {
    let bytes = bytes(&input);
    let Ok(btf) = Btf::parse(bytes.clone()) else {
        return;
    };
    assert_eq!(btf.bytes(), bytes);
    let mut seen = 0;
    for (id, described) in btf.types() {
        seen += 1;
        if seen > MAX_LOOKED_AT {
            continue;
        }
        let _ = format!("{described:?}");
        assert!(btf.kind_of(id).is_some());
        let _ = btf.size_of(id);
        let _ = btf.resolve(id).and_then(|id| btf.describe(id));
        let Ok(name) = std::str::from_utf8(btf.name_of(id)) else {
            continue;
        };
        for path in input.paths.iter().take(8) {
            let names = path.map(|at| {
                let rest = input.strings.get(usize::from(at)..).unwrap_or_default();
                let end = rest
                    .iter()
                    .position(|byte| *byte == 0)
                    .unwrap_or(rest.len());
                String::from_utf8_lossy(&rest[..end]).into_owned()
            });
            let path = format!("{name}.{}", names.join("."));
            if let Some(member) = btf.member(&path) {
                let _ = btf.size_of(member.kind);
            }
            let _ = btf.offset_of(&path);
            let _ = btf.size_of_member(&path);
        }
    }
    assert_eq!(seen, btf.len());
});
