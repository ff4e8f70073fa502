//! The sections `user_types` and `enums`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use vread_linux::btf::{CompositeKind, CompositeMember, Elements, Enumerator, Shape, Sign};

use crate::descriptor::{Descriptor, Types};
use crate::numbers;

/// `user_types`: structs and unions.
pub(crate) struct UserTypes<'t>(pub(crate) Types<'t>);

/// `enums`.
pub(crate) struct Enums<'t>(pub(crate) Types<'t>);

impl Serialize for UserTypes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(types) = *self;
        let mut map = serializer.serialize_map(None)?;
        for (id, described) in types.btf.types() {
            let (
                Shape::Composite {
                    kind,
                    size,
                    members,
                },
                Some(key),
            ) = (described.shape, types.keys.of_type(id))
            else {
                continue;
            };
            let kind = match kind {
                CompositeKind::Struct => "struct",
                CompositeKind::Union => "union",
            };
            let fields = Fields { types, members };
            map.serialize_entry(key, &UserType { kind, size, fields })?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct UserType<'t> {
    kind: &'static str,
    size: u32,
    fields: Fields<'t>,
}

struct Fields<'t> {
    types: Types<'t>,
    members: Elements<'t, CompositeMember>,
}

#[derive(Serialize)]
struct Field<'t> {
    #[serde(rename = "type")]
    of: Descriptor<'t>,
    offset: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    anonymous: Option<bool>,
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (index, member) in self.members.iter().enumerate() {
            let field = self.types.field(&member);
            let name = String::from_utf8_lossy(self.types.btf.text(member.name));
            match name.is_empty() {
                true => map.serialize_entry(&format!("unnamed_field_{index:x}"), &field)?,
                false => map.serialize_entry(&*name, &field)?,
            }
        }
        map.end()
    }
}

impl<'t> Types<'t> {
    fn field(self, member: &CompositeMember) -> Field<'t> {
        let of = self.descriptor(member.of);
        let has_name = !self.btf.text(member.name).is_empty();
        let (of, offset) = match member.bits {
            None => (of, member.bit_offset / 8),
            Some(bits) => self.bit_field(member, bits, of),
        };
        let is_inner = matches!(of, Descriptor::Struct { .. } | Descriptor::Union { .. });
        Field {
            of,
            offset,
            anonymous: (is_inner && !has_name).then_some(true),
        }
    }

    /// A bit-field is read as a number of its type, of which some bits count: the one whose place is a
    /// multiple of its size, or, in a packed struct where that does not hold all bits, the one that
    /// begins at the byte.
    fn bit_field(
        self,
        member: &CompositeMember,
        bits: u8,
        of: Descriptor<'t>,
    ) -> (Descriptor<'t>, u32) {
        let size = self.btf.size_of(member.of).map_or(0, |size| size.get());
        // No number is larger; a hostile size is not to be multiplied.
        let size = u32::try_from(size).unwrap_or_default().clamp(1, 16);
        let unit_bits = size.saturating_mul(8);
        let aligned = member.bit_offset.checked_rem(unit_bits).unwrap_or_default();
        let (bit_position, start) = match aligned.saturating_add(u32::from(bits)) <= unit_bits {
            true => (aligned, member.bit_offset.saturating_sub(aligned)),
            false => (member.bit_offset % 8, member.bit_offset & !7),
        };
        let bit_field = Descriptor::Bitfield {
            bit_position,
            bit_length: bits,
            of: Box::new(of),
        };
        (bit_field, start / 8)
    }
}

impl Serialize for Enums<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(types) = *self;
        let mut map = serializer.serialize_map(None)?;
        for (id, described) in types.btf.types() {
            let (Shape::Enum { size, sign, values }, Some(key)) =
                (described.shape, types.keys.of_type(id))
            else {
                continue;
            };
            let constants = Constants {
                types,
                sign,
                values,
            };
            let base = numbers::of_enum(size, sign);
            map.serialize_entry(
                key,
                &Enum {
                    size,
                    base,
                    constants,
                },
            )?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Enum<'t> {
    size: u32,
    base: &'static str,
    constants: Constants<'t>,
}

struct Constants<'t> {
    types: Types<'t>,
    sign: Sign,
    values: Elements<'t, Enumerator>,
}

impl Serialize for Constants<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for constant in self.values.iter() {
            let name = String::from_utf8_lossy(self.types.btf.text(constant.name));
            match self.sign {
                Sign::Signed => map.serialize_entry(&*name, &constant.value.cast_signed())?,
                Sign::Unsigned => map.serialize_entry(&*name, &constant.value)?,
            }
        }
        map.end()
    }
}
