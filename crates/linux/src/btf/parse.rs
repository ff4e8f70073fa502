use vread_addr::ByteLen;

use super::BtfError;
use crate::fields::{u16_at, u32_at};

/// The most bytes of BTF that are looked at (G73).
pub(crate) const MAX_BTF_LEN: usize = 64 << 20;
/// The most types (G41).
const MAX_TYPES: u32 = 1 << 20;
/// The bytes of a type's record before its tail.
const RECORD_LEN: usize = 12;
/// How many typedefs and qualifiers may stand before a type (G41).
const MAX_CHAIN: usize = 32;

/// A type's number; 0 is `void`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(u32);

impl TypeId {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What a type is: `BTF_KIND_…` of Linux's UAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the format's own names")]
pub enum BtfKind {
    Int,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Fwd,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    Datasec,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl BtfKind {
    fn from_number(kind: u32) -> Option<Self> {
        Some(match kind {
            1 => Self::Int,
            2 => Self::Ptr,
            3 => Self::Array,
            4 => Self::Struct,
            5 => Self::Union,
            6 => Self::Enum,
            7 => Self::Fwd,
            8 => Self::Typedef,
            9 => Self::Volatile,
            10 => Self::Const,
            11 => Self::Restrict,
            12 => Self::Func,
            13 => Self::FuncProto,
            14 => Self::Var,
            15 => Self::Datasec,
            16 => Self::Float,
            17 => Self::DeclTag,
            18 => Self::TypeTag,
            19 => Self::Enum64,
            _ => return None,
        })
    }

    /// The bytes behind the record of a type with `vlen` elements.
    fn tail_len(self, vlen: usize) -> usize {
        let each = match self {
            Self::Int | Self::Var | Self::DeclTag => return 4,
            Self::Array => return 12,
            Self::Struct | Self::Union | Self::Datasec | Self::Enum64 => 12,
            Self::Enum | Self::FuncProto => 8,
            Self::Ptr
            | Self::Fwd
            | Self::Typedef
            | Self::Volatile
            | Self::Const
            | Self::Restrict
            | Self::Func
            | Self::Float
            | Self::TypeTag => return 0,
        };
        vlen.saturating_mul(each)
    }
}

/// A kernel's types, checked so far that every record and every name can be found.
pub struct Btf {
    bytes: Vec<u8>,
    /// The end of the type section, and the string section, as positions in `bytes`.
    types_end: usize,
    strings: core::ops::Range<usize>,
    /// Where the record of type `i + 1` begins.
    records: Vec<u32>,
    /// The named structs and unions, ordered by name.
    composites: Vec<TypeId>,
}

/// The first 12 bytes of a type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) at: usize,
    pub(super) name: u32,
    pub(super) kind: BtfKind,
    pub(super) has_bitfields: bool,
    pub(super) vlen: usize,
    /// A size in bytes, or the type that this one refers to.
    pub(super) size_or_type: u32,
}

impl Btf {
    /// Parses the bytes between `__start_BTF` and `__stop_BTF` (G40, G41).
    ///
    /// # Errors
    ///
    /// [`BtfError`], at the first thing that is wrong.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let have = bytes.len();
        if have > MAX_BTF_LEN {
            return Err(BtfError::TooLong {
                have,
                limit: MAX_BTF_LEN,
            });
        }
        let short = |need: u64| BtfError::Short { have, need };
        let header = |at| u32_at(&bytes, at).ok_or(short(24));
        let magic = header(0)? & 0x00ff_ffff;
        if magic != 0x01_eb9f {
            return Err(BtfError::Magic { found: magic });
        }
        let section = |offset: u32, len: u32| {
            let start = u64::from(header(4)?).saturating_add(u64::from(offset));
            let end = start.saturating_add(u64::from(len));
            match (usize::try_from(start), usize::try_from(end)) {
                (Ok(start), Ok(end)) if end <= have => Ok(start..end),
                _ => Err(short(end)),
            }
        };
        let types = section(header(8)?, header(12)?)?;
        let strings = section(header(16)?, header(20)?)?;
        let mut btf = Self {
            bytes,
            types_end: types.end,
            strings,
            records: Vec::new(),
            composites: Vec::new(),
        };
        btf.index(types.start)?;
        Ok(btf)
    }

    /// The bytes, as `/sys/kernel/btf/vmlinux` has them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many types there are, `void` not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no type.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The struct or union `name`; the first of several.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TypeId> {
        let first = self
            .composites
            .partition_point(|id| self.name_of(*id) < name.as_bytes());
        let id = self.composites.get(first).copied()?;
        (self.name_of(id) == name.as_bytes()).then_some(id)
    }

    /// The size in bytes of a type that has one, typedefs and qualifiers followed.
    #[must_use]
    pub fn size_of(&self, id: TypeId) -> Option<ByteLen> {
        let mut count = 1_u64;
        let mut id = id;
        // An array of arrays is at most 16 deep (G41).
        for _ in 0..16 {
            let record = self.record(self.resolve(id)?)?;
            let each = match record.kind {
                BtfKind::Int
                | BtfKind::Struct
                | BtfKind::Union
                | BtfKind::Enum
                | BtfKind::Enum64
                | BtfKind::Float => u64::from(record.size_or_type),
                // x86_64, the only machine so far.
                BtfKind::Ptr => 8,
                BtfKind::Array => {
                    let tail = record.at.checked_add(RECORD_LEN)?;
                    count =
                        count.checked_mul(u64::from(u32_at(&self.bytes, tail.checked_add(8)?)?))?;
                    id = TypeId(u32_at(&self.bytes, tail)?);
                    continue;
                }
                _ => return None,
            };
            return each.checked_mul(count).map(ByteLen::new);
        }
        None
    }

    /// The size in bytes of the struct or union `name`.
    #[must_use]
    pub fn size_of_struct(&self, name: &str) -> Option<ByteLen> {
        self.size_of(self.find(name)?)
    }

    /// What a type is, or `None` for `void` and numbers without a type.
    #[must_use]
    pub fn kind_of(&self, id: TypeId) -> Option<BtfKind> {
        self.record(id).map(|record| record.kind)
    }

    /// A type's name; empty for anonymous ones.
    #[must_use]
    pub fn name_of(&self, id: TypeId) -> &[u8] {
        let name = self.record(id).and_then(|record| self.string(record.name));
        name.unwrap_or_default()
    }

    /// The type behind typedefs and qualifiers.
    #[must_use]
    pub fn resolve(&self, id: TypeId) -> Option<TypeId> {
        let mut id = id;
        for _ in 0..MAX_CHAIN {
            let record = self.record(id)?;
            id = match record.kind {
                BtfKind::Typedef
                | BtfKind::Volatile
                | BtfKind::Const
                | BtfKind::Restrict
                | BtfKind::TypeTag => TypeId(record.size_or_type),
                _ => return Some(id),
            };
        }
        None
    }

    pub(super) fn record(&self, id: TypeId) -> Option<Record> {
        let index = usize::try_from(id.0.checked_sub(1)?).ok()?;
        let at = usize::try_from(*self.records.get(index)?).ok()?;
        record_at(self.bytes.get(..self.types_end)?, at).ok()
    }

    /// The NUL-terminated string at `offset` of the string section.
    pub(super) fn string(&self, offset: u32) -> Option<&[u8]> {
        let strings = self.bytes.get(self.strings.clone())?;
        let from = strings.get(usize::try_from(offset).ok()?..)?;
        let end = from.iter().position(|byte| *byte == 0)?;
        from.get(..end)
    }

    /// The elements of a composite: name, type and offset word of each.
    pub(super) fn members(&self, record: Record) -> impl Iterator<Item = (u32, TypeId, u32)> + '_ {
        let tail = record.at.saturating_add(RECORD_LEN);
        (0..record.vlen).map_while(move |index| {
            let at = tail.checked_add(index.checked_mul(12)?)?;
            let word = |n: usize| u32_at(&self.bytes, at.checked_add(n)?);
            Some((word(0)?, TypeId(word(4)?), word(8)?))
        })
    }

    fn index(&mut self, start: usize) -> Result<(), BtfError> {
        let types = self.bytes.get(..self.types_end).unwrap_or_default();
        let mut at = start;
        let mut id = 0_u32;
        while at < self.types_end {
            id = id.saturating_add(1);
            if id > MAX_TYPES {
                return Err(BtfError::TooManyTypes { limit: MAX_TYPES });
            }
            let outside = BtfError::Record { id, at };
            let record = record_at(types, at).map_err(|kind| match kind {
                Some(kind) => BtfError::Kind { id, at, kind },
                None => outside,
            })?;
            let end = at
                .saturating_add(RECORD_LEN)
                .saturating_add(record.kind.tail_len(record.vlen));
            if end > self.types_end {
                return Err(outside);
            }
            let Some(name) = self.string(record.name) else {
                let name = record.name;
                return Err(BtfError::Name { id, name });
            };
            if matches!(record.kind, BtfKind::Struct | BtfKind::Union) && !name.is_empty() {
                self.composites.push(TypeId(id));
            }
            // `MAX_BTF_LEN` is far below 2^32.
            self.records.push(u32::try_from(at).map_err(|_| outside)?);
            at = end;
        }
        let mut composites = core::mem::take(&mut self.composites);
        composites.sort_by(|a, b| self.name_of(*a).cmp(self.name_of(*b)));
        self.composites = composites;
        Ok(())
    }
}

/// The record at `at`; `Err(Some(kind))` for one of an unknown kind, `Err(None)` past the end.
fn record_at(types: &[u8], at: usize) -> Result<Record, Option<u32>> {
    let word = |n: usize| u32_at(types, at.saturating_add(n)).ok_or(None);
    let info = word(4)?;
    let kind = info >> 24 & 0x1f;
    Ok(Record {
        at,
        name: word(0)?,
        kind: BtfKind::from_number(kind).ok_or(Some(kind))?,
        has_bitfields: info >> 31 == 1,
        vlen: usize::from(u16_at(types, at.saturating_add(4)).ok_or(None)?),
        size_or_type: word(8)?,
    })
}

impl core::fmt::Debug for Btf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Btf")
            .field("bytes", &self.bytes.len())
            .field("types", &self.records.len())
            .finish_non_exhaustive()
    }
}

/// BTF made up in a test.
#[cfg(test)]
pub(super) mod forge {
    use super::TypeId;

    pub(crate) const STRUCT: u32 = 4;
    pub(crate) const UNION: u32 = 5;

    #[derive(Default)]
    pub(crate) struct Forge {
        types: Vec<u8>,
        strings: Vec<u8>,
        count: u32,
    }

    impl Forge {
        pub(crate) fn next_id(&self) -> TypeId {
            TypeId(self.count + 1)
        }

        pub(crate) fn int(&mut self, name: &str, size: u32) -> TypeId {
            let name = self.name(name);
            self.record(name, 1, 0, false, size, &[size * 8])
        }

        pub(crate) fn typedef(&mut self, name: &str, to: TypeId) -> TypeId {
            let name = self.name(name);
            self.record(name, 8, 0, false, to.0, &[])
        }

        pub(crate) fn array(&mut self, of: TypeId, count: u32) -> TypeId {
            self.record(0, 3, 0, false, 0, &[of.0, of.0, count])
        }

        pub(crate) fn composite(
            &mut self,
            kind: u32,
            name: &str,
            size: u32,
            members: &[(&str, TypeId, u32)],
        ) -> TypeId {
            let name = self.name(name);
            let mut words = Vec::new();
            for (member, of, bits) in members {
                words.extend([self.name(member), of.0, *bits]);
            }
            self.record(name, kind, members.len() as u32, false, size, &words)
        }

        pub(crate) fn bit_fields(
            &mut self,
            name: &str,
            size: u32,
            members: &[(&str, TypeId, u32, u32)],
        ) -> TypeId {
            let name = self.name(name);
            let mut words = Vec::new();
            for (member, of, bits, width) in members {
                words.extend([self.name(member), of.0, width << 24 | bits]);
            }
            self.record(name, STRUCT, members.len() as u32, true, size, &words)
        }

        pub(crate) fn record(
            &mut self,
            name: u32,
            kind: u32,
            vlen: u32,
            flag: bool,
            size_or_type: u32,
            tail: &[u32],
        ) -> TypeId {
            let info = u32::from(flag) << 31 | kind << 24 | vlen;
            for word in [name, info, size_or_type].iter().chain(tail) {
                self.types.extend_from_slice(&word.to_le_bytes());
            }
            self.count += 1;
            TypeId(self.count)
        }

        pub(crate) fn bytes(&self) -> Vec<u8> {
            let (types, strings) = (self.types.len() as u32, self.strings.len() as u32 + 1);
            let mut bytes = vec![0x9f, 0xeb, 1, 0];
            for word in [24, 0, types, types, strings] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            bytes.extend_from_slice(&self.types);
            bytes.push(0);
            bytes.extend_from_slice(&self.strings);
            bytes
        }

        fn name(&mut self, name: &str) -> u32 {
            if name.is_empty() {
                return 0;
            }
            // Behind the empty string, which is first.
            let at = self.strings.len() as u32 + 1;
            self.strings.extend_from_slice(name.as_bytes());
            self.strings.push(0);
            at
        }
    }
}

#[cfg(test)]
mod tests {
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
}
