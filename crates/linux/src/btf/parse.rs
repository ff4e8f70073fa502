use std::sync::Arc;

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
    /// `void`.
    pub const VOID: Self = Self(0);

    pub(super) const fn new(id: u32) -> Self {
        Self(id)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Where a name stands in the string section; 0 is the empty name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(u32);

impl Name {
    pub(super) const fn new(offset: u32) -> Self {
        Self(offset)
    }

    /// Bytes from the start of the string section.
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
///
/// Those of a module are split: their numbers and names go on where those of the image end, and they refer to
/// types of the image. What a number or a name stands for is found in both; what is listed is the module's own.
pub struct Btf {
    bytes: Vec<u8>,
    base: Option<Arc<Btf>>,
    /// How many types and bytes of names the base has.
    base_types: u32,
    base_names: u32,
    /// The end of the type section, and the string section, as positions in `bytes`.
    types_end: usize,
    strings: core::ops::Range<usize>,
    /// Where the record of type `base_types + i + 1` begins.
    records: Vec<u32>,
    /// The named structs and unions, ordered by name.
    composites: Vec<TypeId>,
}

/// The first 12 bytes of a type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) at: usize,
    owner: Owner,
    pub(super) name: Name,
    pub(super) kind: BtfKind,
    /// The kind flag: what it says depends on the kind.
    pub(super) flag: bool,
    pub(super) vlen: usize,
    /// A size in bytes, or the type that this one refers to.
    pub(super) size_or_type: u32,
}

/// Whose bytes a record is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    This,
    Base,
}

impl Btf {
    /// Parses the bytes between `__start_BTF` and `__stop_BTF` (G40, G41).
    ///
    /// # Errors
    ///
    /// [`BtfError`], at the first thing that is wrong.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        Self::parse_with(bytes, None)
    }

    /// Parses what a module adds to the types of its kernel's image: the bytes of `/sys/kernel/btf/MODULE`.
    ///
    /// # Errors
    ///
    /// [`BtfError`], at the first thing that is wrong; also for a base that has one itself.
    pub fn parse_split(bytes: Vec<u8>, base: Arc<Self>) -> Result<Self, BtfError> {
        match base.base {
            Some(_) => Err(BtfError::SplitBase),
            None => Self::parse_with(bytes, Some(base)),
        }
    }

    fn parse_with(bytes: Vec<u8>, base: Option<Arc<Self>>) -> Result<Self, BtfError> {
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
        // Both are below `MAX_BTF_LEN`.
        let base_len = |len: fn(&Self) -> usize| {
            let len = base.as_deref().map(len).unwrap_or_default();
            u32::try_from(len).unwrap_or(u32::MAX)
        };
        let mut btf = Self {
            bytes,
            base_types: base_len(Self::len),
            base_names: base_len(Self::names_len),
            base,
            types_end: types.end,
            strings,
            records: Vec::new(),
            composites: Vec::new(),
        };
        btf.index(types.start)?;
        Ok(btf)
    }

    /// The bytes, as the file in `/sys/kernel/btf` has them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The types that these go on from.
    #[must_use]
    pub fn base(&self) -> Option<&Self> {
        self.base.as_deref()
    }

    /// How many bytes of names there are, those of the base not counted.
    pub(crate) fn names_len(&self) -> usize {
        self.strings.len()
    }

    /// How many types there are, `void` and those of the base not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no type.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The struct or union `name`; the first of several, those of the base last.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TypeId> {
        self.find_own(name)
            .or_else(|| self.base.as_deref()?.find_own(name))
    }

    fn find_own(&self, name: &str) -> Option<TypeId> {
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
                    count = count.checked_mul(u64::from(self.tail(record, 2)?))?;
                    id = TypeId(self.tail(record, 0)?);
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
        if let Some(base) = self.base.as_deref()
            && id.0 <= self.base_types
        {
            return Some(Record {
                owner: Owner::Base,
                ..base.record(id)?
            });
        }
        let index = id.0.checked_sub(self.base_types)?.checked_sub(1)?;
        let at = self.records.get(usize::try_from(index).ok()?)?;
        let types = self.bytes.get(..self.types_end)?;
        record_at(types, usize::try_from(*at).ok()?).ok()
    }

    /// Word `index` behind a record.
    pub(super) fn tail(&self, record: Record, index: usize) -> Option<u32> {
        let bytes = match record.owner {
            Owner::This => &self.bytes,
            Owner::Base => &self.base.as_deref()?.bytes,
        };
        let at = record.at.checked_add(RECORD_LEN)?;
        u32_at(bytes, at.checked_add(index.checked_mul(4)?)?)
    }

    /// A name's letters, without the NUL; empty where the string section does not hold it.
    #[must_use]
    pub fn text(&self, name: Name) -> &[u8] {
        self.string(name).unwrap_or_default()
    }

    /// The numbers of all types but those of the base.
    pub(super) fn ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        let own = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        let before = self.base_types;
        (1..=own).map(move |id| TypeId(before.saturating_add(id)))
    }

    /// The NUL-terminated string at `name`.
    pub(super) fn string(&self, name: Name) -> Option<&[u8]> {
        let Some(own) = name.0.checked_sub(self.base_names) else {
            return self.base.as_deref()?.string(name);
        };
        let strings = self.bytes.get(self.strings.clone())?;
        let from = strings.get(usize::try_from(own).ok()?..)?;
        let end = memchr::memchr(0, from)?;
        from.get(..end)
    }

    /// The elements of a composite: name, type and offset word of each.
    pub(super) fn members(&self, record: Record) -> impl Iterator<Item = (Name, TypeId, u32)> + '_ {
        (0..record.vlen).map_while(move |index| {
            let first = index.checked_mul(3)?;
            let word = |n: usize| self.tail(record, first.checked_add(n)?);
            Some((Name(word(0)?), TypeId(word(1)?), word(2)?))
        })
    }

    fn index(&mut self, start: usize) -> Result<(), BtfError> {
        let types = self.bytes.get(..self.types_end).unwrap_or_default();
        let mut at = start;
        let mut id = self.base_types;
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
                let name = record.name.0;
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
        owner: Owner::This,
        name: Name(word(0)?),
        kind: BtfKind::from_number(kind).ok_or(Some(kind))?,
        flag: info >> 31 == 1,
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

#[cfg(test)]
pub(crate) mod forge;

#[cfg(test)]
mod tests;
