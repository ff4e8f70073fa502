use super::parse::{Btf, BtfKind, Name, Record, TypeId};

/// All that a type's record says, with the types that it refers to by number.
///
/// The numbers are the target's: they may name no type, one of a kind that makes no sense there, or the
/// type itself.
#[derive(Debug, Clone, Copy)]
pub struct BtfType<'b> {
    /// Its name; empty for anonymous ones.
    pub name: Name,
    /// What it is.
    pub shape: Shape<'b>,
}

/// What a type is, with all that its kind has to say.
#[derive(Debug, Clone, Copy)]
pub enum Shape<'b> {
    /// An integer of so many bytes, of which `bits` are used, `bit_offset` bits from its start.
    Int {
        /// Bytes.
        size: u32,
        /// How its bits are read.
        encoding: IntEncoding,
        /// Bits before the value; 0 in all that is written today.
        bit_offset: u8,
        /// Bits of the value.
        bits: u8,
    },
    /// A floating-point number of so many bytes.
    Float(u32),
    /// A pointer.
    Pointer(TypeId),
    /// An array.
    Array {
        /// The type of an element.
        element: TypeId,
        /// The type of an index.
        index: TypeId,
        /// How many elements there are; 0 also for an array without an end (`[]`).
        count: u32,
    },
    /// A struct or union of so many bytes.
    Composite {
        /// Which of both.
        kind: CompositeKind,
        /// Bytes.
        size: u32,
        /// Its members, in the order of the source.
        members: Elements<'b, CompositeMember>,
    },
    /// An enumeration of so many bytes. One without values was only declared.
    Enum {
        /// Bytes.
        size: u32,
        /// Whether values are read as signed.
        sign: Sign,
        /// Its values, in the order of the source.
        values: Elements<'b, Enumerator>,
    },
    /// A struct or union of which only the name is known.
    Forward(CompositeKind),
    /// Another name for a type.
    Typedef(TypeId),
    /// A qualified type.
    Qualified(Qualifier, TypeId),
    /// A mark on a type, without meaning in C.
    Tagged(TypeId),
    /// A function; its prototype.
    Function(TypeId),
    /// The type of functions.
    Prototype {
        /// What they return.
        result: TypeId,
        /// What they take. A last one without name and type stands for `...`.
        parameters: Elements<'b, Parameter>,
    },
    /// A variable; its type.
    Variable(TypeId),
    /// A section of variables.
    Section(Elements<'b, PlacedVariable>),
    /// A mark on a declaration, without meaning in C.
    DeclarationTag,
}

/// How an integer's bits are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words say it")]
pub enum IntEncoding {
    Unsigned,
    Signed,
    Char,
    Bool,
}

/// Whether numbers can be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Sign {
    Signed,
    Unsigned,
}

/// A struct or a union.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words say it")]
pub enum CompositeKind {
    Struct,
    Union,
}

/// C's qualifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Qualifier {
    Volatile,
    Const,
    Restrict,
}

/// A member as it stands in its struct or union; anonymous ones are not looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompositeMember {
    /// Its name; empty for anonymous ones.
    pub name: Name,
    /// Its type.
    pub of: TypeId,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// The width, for a bit-field.
    pub bits: Option<u8>,
}

/// A value of an enumeration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enumerator {
    /// Its name.
    pub name: Name,
    /// Its value, sign-extended where values are signed.
    pub value: u64,
}

/// A parameter of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name; empty in the type of a pointer's function.
    pub name: Name,
    /// Its type.
    pub of: TypeId,
}

/// Where a variable lies in its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedVariable {
    /// The variable.
    pub variable: TypeId,
    /// Bytes from the section's start.
    pub offset: u32,
    /// Its bytes.
    pub size: u32,
}

/// What stands behind a type's record, one after another.
#[derive(Debug, Clone, Copy)]
pub struct Elements<'b, T> {
    btf: &'b Btf,
    record: Record,
    read: fn(&Btf, Record, usize) -> Option<T>,
}

impl<'b, T: 'b> Elements<'b, T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.record.vlen
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record.vlen == 0
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'b, T> {
        let Self { btf, record, read } = *self;
        (0..record.vlen).map_while(move |index| read(btf, record, index))
    }
}

impl Btf {
    /// All that the record of type `id` says, or `None` for `void` and for numbers without a type.
    #[must_use]
    pub fn describe(&self, id: TypeId) -> Option<BtfType<'_>> {
        let record = self.record(id)?;
        let refers = TypeId::new(record.size_or_type);
        let shape = match record.kind {
            BtfKind::Int => self.int(record)?,
            BtfKind::Float => Shape::Float(record.size_or_type),
            BtfKind::Ptr => Shape::Pointer(refers),
            BtfKind::Array => Shape::Array {
                element: TypeId::new(self.tail(record, 0)?),
                index: TypeId::new(self.tail(record, 1)?),
                count: self.tail(record, 2)?,
            },
            BtfKind::Struct | BtfKind::Union => Shape::Composite {
                kind: match record.kind {
                    BtfKind::Struct => CompositeKind::Struct,
                    _ => CompositeKind::Union,
                },
                size: record.size_or_type,
                members: self.elements(record, member),
            },
            BtfKind::Enum | BtfKind::Enum64 => Shape::Enum {
                size: record.size_or_type,
                sign: match record.flag {
                    true => Sign::Signed,
                    false => Sign::Unsigned,
                },
                values: self.elements(record, enumerator),
            },
            BtfKind::Fwd => Shape::Forward(match record.flag {
                true => CompositeKind::Union,
                false => CompositeKind::Struct,
            }),
            BtfKind::Typedef => Shape::Typedef(refers),
            BtfKind::Volatile => Shape::Qualified(Qualifier::Volatile, refers),
            BtfKind::Const => Shape::Qualified(Qualifier::Const, refers),
            BtfKind::Restrict => Shape::Qualified(Qualifier::Restrict, refers),
            BtfKind::TypeTag => Shape::Tagged(refers),
            BtfKind::Func => Shape::Function(refers),
            BtfKind::FuncProto => Shape::Prototype {
                result: refers,
                parameters: self.elements(record, parameter),
            },
            BtfKind::Var => Shape::Variable(refers),
            BtfKind::Datasec => Shape::Section(self.elements(record, placed_variable)),
            BtfKind::DeclTag => Shape::DeclarationTag,
        };
        let name = record.name;
        Some(BtfType { name, shape })
    }

    /// All types with their numbers, `void` and those of the base not among them.
    pub fn types(&self) -> impl Iterator<Item = (TypeId, BtfType<'_>)> {
        let ids = self.ids();
        ids.filter_map(|id| Some((id, self.describe(id)?)))
    }

    fn int(&self, record: Record) -> Option<Shape<'_>> {
        let word = self.tail(record, 0)?;
        let [bits, _, bit_offset, encoding] = word.to_le_bytes();
        Some(Shape::Int {
            size: record.size_or_type,
            encoding: match encoding & 7 {
                0 => IntEncoding::Unsigned,
                2 | 3 => IntEncoding::Char,
                4 => IntEncoding::Bool,
                _ => IntEncoding::Signed,
            },
            bit_offset,
            bits,
        })
    }

    fn elements<T>(
        &self,
        record: Record,
        read: fn(&Self, Record, usize) -> Option<T>,
    ) -> Elements<'_, T> {
        Elements {
            btf: self,
            record,
            read,
        }
    }

    /// The `N` words of element `index` behind a record.
    fn element<const N: usize>(&self, record: Record, index: usize) -> Option<[u32; N]> {
        let first = index.checked_mul(N)?;
        let mut words = [0; N];
        for (word, at) in words.iter_mut().zip(first..) {
            *word = self.tail(record, at)?;
        }
        Some(words)
    }
}

fn member(btf: &Btf, record: Record, index: usize) -> Option<CompositeMember> {
    let [name, of, word] = btf.element(record, index)?;
    let (bit_offset, bits) = match record.flag {
        true => (word & 0x00ff_ffff, word.to_le_bytes()[3]),
        false => (word, 0),
    };
    Some(CompositeMember {
        name: Name::new(name),
        of: TypeId::new(of),
        bit_offset,
        bits: (bits != 0).then_some(bits),
    })
}

fn enumerator(btf: &Btf, record: Record, index: usize) -> Option<Enumerator> {
    let (name, value) = match record.kind {
        BtfKind::Enum64 => {
            let [name, low, high] = btf.element(record, index)?;
            (name, u64::from(high) << 32 | u64::from(low))
        }
        _ => {
            let [name, value] = btf.element(record, index)?;
            let value = match record.flag {
                true => i64::from(value.cast_signed()).cast_unsigned(),
                false => u64::from(value),
            };
            (name, value)
        }
    };
    let name = Name::new(name);
    Some(Enumerator { name, value })
}

fn parameter(btf: &Btf, record: Record, index: usize) -> Option<Parameter> {
    let [name, of] = btf.element(record, index)?;
    Some(Parameter {
        name: Name::new(name),
        of: TypeId::new(of),
    })
}

fn placed_variable(btf: &Btf, record: Record, index: usize) -> Option<PlacedVariable> {
    let [variable, offset, size] = btf.element(record, index)?;
    Some(PlacedVariable {
        variable: TypeId::new(variable),
        offset,
        size,
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse::forge::Forge;
    use super::*;

    fn described(forge: &Forge, id: TypeId, check: impl FnOnce(&Btf, BtfType<'_>)) {
        let btf = Btf::parse(forge.bytes()).unwrap();
        check(&btf, btf.describe(id).unwrap());
    }

    #[test]
    fn reads_bit_fields_with_their_width() {
        // G41: with the kind flag, the low 24 bits are the offset and the high 8 the width.
        let mut forge = Forge::default();
        let int = forge.int("int", 4);
        let id = forge.bit_fields("info", 4, &[("flags", int, 3, 5), ("plain", int, 32, 0)]);
        described(&forge, id, |btf, described| {
            assert_eq!(btf.text(described.name), b"info");
            let Shape::Composite {
                kind,
                size,
                members,
            } = described.shape
            else {
                panic!("{described:?}");
            };
            assert_eq!((kind, size, members.len()), (CompositeKind::Struct, 4, 2));
            let members: Vec<_> = members.iter().collect();
            let flags = members[0];
            assert_eq!(btf.text(flags.name), b"flags");
            assert_eq!((flags.of, flags.bit_offset, flags.bits), (int, 3, Some(5)));
            assert_eq!((members[1].bit_offset, members[1].bits), (32, None));
        });
    }

    #[test]
    fn extends_the_sign_of_signed_enums_only() {
        let mut forge = Forge::default();
        let minus_one = u32::MAX;
        let signed = forge.record(0, 6, 1, true, 4, &[0, minus_one]);
        let unsigned = forge.record(0, 6, 1, false, 4, &[0, minus_one]);
        let wide = forge.record(0, 19, 1, false, 8, &[0, 1, 0x8000_0000]);
        let value = |id| {
            let btf = Btf::parse(forge.bytes()).unwrap();
            let Shape::Enum { values, .. } = btf.describe(id).unwrap().shape else {
                panic!("not an enum");
            };
            values.iter().next().unwrap().value
        };
        assert_eq!(value(signed), u64::MAX);
        assert_eq!(value(unsigned), 0xffff_ffff);
        assert_eq!(value(wide), 0x8000_0000_0000_0001);
    }

    #[test]
    fn lists_every_type_once() {
        let mut forge = Forge::default();
        let int = forge.int("int", 4);
        forge.array(int, 3);
        forge.typedef("number", int);
        let btf = Btf::parse(forge.bytes()).unwrap();
        let ids: Vec<u32> = btf.types().map(|(id, _)| id.get()).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert!(btf.describe(TypeId::new(0)).is_none());
        assert!(btf.describe(TypeId::new(4)).is_none());
    }
}
