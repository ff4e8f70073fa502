use vread_addr::VirtAddr;

use super::eval::Place;
use super::types::Kind;
use super::{Type, TypedError, Value};
use crate::btf::{IntEncoding, Shape, Sign, TypeId};
use crate::fields::until_nul;
use crate::record::little_endian;
use crate::{Btf, Kernel, LinuxError, Symbols};

/// The most bytes of a value that is shown.
const MAX_SIZE: u64 = 1 << 20;
/// How many elements of an array are shown.
const MAX_ELEMENTS: u64 = 64;
/// How deep members are shown in one another.
const MAX_DEPTH: usize = 16;
/// How many pieces a value is shown in at most.
const MAX_PIECES: usize = 1 << 16;
/// How often a value is read anew that changes while it is read (G71).
const MAX_TRIES: u32 = 3;

/// A value, piece by piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Its type's name.
    pub type_name: String,
    /// Where it lies.
    pub at: Option<VirtAddr>,
    /// What it is made of.
    pub pieces: Vec<Piece>,
    /// Whether it changed at every try to read it twice: its parts may be of different moments.
    pub torn: bool,
}

/// A piece of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// A struct or union begins.
    OpenStruct(Label, String),
    /// An array begins.
    OpenArray(Label, String),
    /// The struct or array that began last ends.
    Close,
    /// A number, a text, a pointer; with its type's name.
    Leaf(Label, String, Leaf),
    /// So many elements or members are left out.
    More(u64),
}

/// What a piece is of what it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// The whole.
    None,
    /// A member; empty for an anonymous one.
    Member(String),
    /// An element.
    Index(u64),
}

/// A value without parts.
#[derive(Debug, Clone, PartialEq)]
pub enum Leaf {
    /// A number.
    Integer(i128),
    /// A truth value.
    Bool(bool),
    /// An array of characters, up to its NUL.
    Text(String),
    /// A value of an enumeration, with its name if it has one.
    Enumerator(Option<String>, i128),
    /// A pointer, with the symbol that it leads into.
    Pointer(VirtAddr, Option<String>),
    /// A floating-point number.
    Float(f64),
    /// Nothing that could be shown: `void`, functions, types that are only declared.
    Opaque,
}

/// What is still to be shown.
enum Work {
    Value {
        label: Label,
        of: Type,
        /// The value's first byte in what was read.
        at: usize,
        bits: Option<(u32, u32)>,
        depth: usize,
    },
    Close,
    More(u64),
}

impl Kernel {
    /// The value as it is now.
    ///
    /// # Errors
    ///
    /// [`TypedError`] where it is too large or cannot be read.
    pub fn show(&self, value: &Value) -> Result<Shown, TypedError> {
        let btf = &value.types;
        let mut bytes = self.bytes_of(btf, value)?;
        let mut torn = true;
        for _ in 0..MAX_TRIES {
            let again = self.bytes_of(btf, value)?;
            torn = again != bytes;
            if !torn {
                break;
            }
            bytes = again;
        }
        let bits = match value.place {
            Place::Memory { bits, .. } => bits,
            Place::Written(_) => None,
        };
        let show = Show {
            btf,
            bytes: &bytes,
            symbols: self.symbols().ok(),
        };
        Ok(Shown {
            type_name: value.of.name(btf),
            at: value.address(),
            pieces: show.pieces(value.of, bits),
            torn,
        })
    }

    /// The bytes that `value` lies in.
    pub(super) fn bytes_of(&self, btf: &Btf, value: &Value) -> Result<Vec<u8>, TypedError> {
        let (addr, bits) = match value.place {
            Place::Memory { addr, bits } => (addr, bits),
            Place::Written(number) => return Ok(number.to_le_bytes().to_vec()),
        };
        // A bit-field is read with the bytes that hold it, and not with those of its whole type.
        let size = match bits {
            Some((before, width)) => u64::from(before.saturating_add(width).div_ceil(8)),
            None => value.of.size(btf).unwrap_or_default(),
        };
        if size > MAX_SIZE {
            return Err(TypedError::TooLarge {
                of: value.of.name(btf),
                size,
                limit: MAX_SIZE,
            });
        }
        let len = usize::try_from(size).unwrap_or_default();
        self.virt()
            .read_vec(addr, len)
            .map_err(|error| match error {
                LinuxError::NotMapped { addr } => TypedError::Unmapped {
                    path: value.path.clone(),
                    addr,
                },
                other => other.into(),
            })
    }
}

struct Show<'k> {
    btf: &'k Btf,
    bytes: &'k [u8],
    symbols: Option<Symbols<'k>>,
}

impl Show<'_> {
    fn pieces(&self, of: Type, bits: Option<(u32, u32)>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        // The next one last. No recursion over a target's types.
        let mut pending = vec![Work::Value {
            label: Label::None,
            of,
            at: 0,
            bits,
            depth: 0,
        }];
        while let Some(work) = pending.pop() {
            if pieces.len() >= MAX_PIECES {
                pieces.push(Piece::More(
                    u64::try_from(pending.len()).unwrap_or_default(),
                ));
                // What is open is closed, so that the pieces fit together.
                let open = pending.iter().filter(|work| matches!(work, Work::Close));
                pieces.extend(open.map(|_| Piece::Close));
                break;
            }
            match work {
                Work::Close => pieces.push(Piece::Close),
                Work::More(count) => pieces.push(Piece::More(count)),
                Work::Value {
                    label,
                    of,
                    at,
                    bits,
                    depth,
                } => self.show(label, of, at, bits, depth, &mut pieces, &mut pending),
            }
        }
        pieces
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one piece of work, and where it goes"
    )]
    fn show(
        &self,
        label: Label,
        of: Type,
        at: usize,
        bits: Option<(u32, u32)>,
        depth: usize,
        pieces: &mut Vec<Piece>,
        pending: &mut Vec<Work>,
    ) {
        let name = of.name(self.btf);
        let below = depth.saturating_add(1);
        let kind = of.kind(self.btf);
        match kind {
            Kind::Other(_, Shape::Composite { members, .. }) if depth < MAX_DEPTH => {
                pieces.push(Piece::OpenStruct(label, name));
                pending.push(Work::Close);
                let first = pending.len();
                for member in members.iter().take(MAX_PIECES) {
                    let into = usize::try_from(member.bit_offset >> 3).unwrap_or(usize::MAX);
                    let text = self.btf.text(member.name);
                    pending.push(Work::Value {
                        label: Label::Member(String::from_utf8_lossy(text).into_owned()),
                        of: Type::of(member.of),
                        at: at.saturating_add(into),
                        bits: member
                            .bits
                            .map(|width| (member.bit_offset & 7, u32::from(width))),
                        depth: below,
                    });
                }
                if let Some(members) = pending.get_mut(first..) {
                    members.reverse();
                }
            }
            Kind::Array { element, count } if depth < MAX_DEPTH && !self.is_char(element) => {
                pieces.push(Piece::OpenArray(label, name));
                pending.push(Work::Close);
                let size = element.size(self.btf).unwrap_or_default();
                if count > MAX_ELEMENTS {
                    pending.push(Work::More(count.saturating_sub(MAX_ELEMENTS)));
                }
                for index in (0..count.min(MAX_ELEMENTS)).rev() {
                    let into = usize::try_from(index.saturating_mul(size)).unwrap_or(usize::MAX);
                    pending.push(Work::Value {
                        label: Label::Index(index),
                        of: element,
                        at: at.saturating_add(into),
                        bits: None,
                        depth: below,
                    });
                }
            }
            kind => {
                let leaf = self.leaf(of, kind, at, bits);
                pieces.push(Piece::Leaf(label, name, leaf));
            }
        }
    }

    fn is_char(&self, of: Type) -> bool {
        match of.kind(self.btf) {
            Kind::Other(id, Shape::Int { size: 1, .. }) => self.btf.name_of(id) == b"char",
            _ => false,
        }
    }

    fn leaf(&self, of: Type, kind: Kind<'_>, at: usize, bits: Option<(u32, u32)>) -> Leaf {
        let size = of
            .size(self.btf)
            .and_then(|size| usize::try_from(size).ok());
        let from = self.bytes.get(at..).unwrap_or_default();
        let bytes = from.get(..size.unwrap_or(0)).unwrap_or(from);
        let (raw, width) = match bits {
            // Read with the bytes that hold it; at most 8 and a part of a ninth, which no kernel has.
            Some((before, width)) => (little_endian(from) >> before.min(63), width.min(64)),
            None => (
                little_endian(bytes),
                u32::try_from(bytes.len().min(8))
                    .unwrap_or(8)
                    .saturating_mul(8),
            ),
        };
        let unsigned = match width {
            0 => 0,
            width => raw & (u64::MAX >> 64_u32.saturating_sub(width).min(63)),
        };
        let signed = || {
            let spare = 64_u32.saturating_sub(width).min(63);
            i128::from(unsigned.cast_signed() << spare >> spare)
        };
        match kind {
            Kind::Pointer(_) => {
                let to = VirtAddr::new(unsigned);
                let symbol = self
                    .symbols
                    .as_ref()
                    .and_then(|symbols| symbols.resolve(to));
                Leaf::Pointer(to, symbol.map(|symbol| symbol.to_string()))
            }
            Kind::Array { .. } => {
                Leaf::Text(String::from_utf8_lossy(until_nul(bytes)).into_owned())
            }
            Kind::Other(_, Shape::Int { encoding, .. }) => match encoding {
                IntEncoding::Bool => Leaf::Bool(unsigned != 0),
                IntEncoding::Unsigned => Leaf::Integer(unsigned.into()),
                IntEncoding::Signed | IntEncoding::Char => Leaf::Integer(signed()),
            },
            Kind::Other(id, Shape::Enum { sign, .. }) => {
                let number = match sign {
                    Sign::Signed => signed(),
                    Sign::Unsigned => unsigned.into(),
                };
                Leaf::Enumerator(self.enumerator(id, number), number)
            }
            Kind::Other(_, Shape::Float(8)) => Leaf::Float(f64::from_bits(unsigned)),
            Kind::Other(_, Shape::Float(4)) => {
                let bits = u32::try_from(unsigned).unwrap_or_default();
                Leaf::Float(f32::from_bits(bits).into())
            }
            _ => Leaf::Opaque,
        }
    }

    /// The name of a value of an enumeration.
    fn enumerator(&self, id: TypeId, number: i128) -> Option<String> {
        let Some(Shape::Enum { sign, values, .. }) = self.btf.describe(id).map(|of| of.shape)
        else {
            return None;
        };
        let mut values = values.iter().take(MAX_PIECES);
        let value = values.find(|value| match sign {
            Sign::Signed => i128::from(value.value.cast_signed()) == number,
            Sign::Unsigned => i128::from(value.value) == number,
        })?;
        Some(String::from_utf8_lossy(self.btf.text(value.name)).into_owned())
    }
}
