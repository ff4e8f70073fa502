//! Types.

use std::collections::HashSet;

use gimli::constants::{self, DwAte, DwTag};
use gimli::write::{AttributeValue, UnitEntryId};
use vread_linux::btf::{
    Btf, BtfType, CompositeKind, CompositeMember, Enumerator, IntEncoding, Parameter, Qualifier,
    Shape, Sign, TypeId,
};

use super::unit::{Place, TypeUnit};
use crate::VmlinuxError;

impl TypeUnit<'_> {
    /// Makes an entry of every type, but for prototypes that are not among those `pointed_at`.
    pub(super) fn add_types(&mut self, pointed_at: &HashSet<TypeId>) -> Result<(), VmlinuxError> {
        let btf = self.btf;
        // Places first: types refer to one another in both directions.
        for (id, described) in btf.types() {
            // The prototype of a function is in the function's own entry; most have no other use.
            if matches!(described.shape, Shape::Prototype { .. }) && !pointed_at.contains(&id) {
                continue;
            }
            if let Some(tag) = tag(&described) {
                let root = self.root();
                let entry = self.add(root, tag)?;
                self.entries.of.insert(id, entry);
                if let Shape::Int { size, encoding, .. } = described.shape {
                    let sign = match encoding {
                        IntEncoding::Signed => Sign::Signed,
                        IntEncoding::Unsigned => Sign::Unsigned,
                        IntEncoding::Char | IntEncoding::Bool => continue,
                    };
                    self.integers.entry((size, sign)).or_insert(entry);
                }
            }
        }
        for (id, described) in btf.types() {
            if let Some(entry) = self.entries.of.get(&id) {
                self.fill(*entry, described)?;
            }
        }
        Ok(())
    }

    fn fill(&mut self, entry: UnitEntryId, described: BtfType<'_>) -> Result<(), VmlinuxError> {
        self.set_name(entry, described.name);
        match described.shape {
            Shape::Int { size, encoding, .. } => {
                self.set_size(entry, size);
                let encoding = AttributeValue::Encoding(encoding_of(size, encoding));
                self.set(entry, constants::DW_AT_encoding, encoding);
            }
            Shape::Float(size) => {
                self.set_size(entry, size);
                let encoding = AttributeValue::Encoding(constants::DW_ATE_float);
                self.set(entry, constants::DW_AT_encoding, encoding);
            }
            Shape::Pointer(to) => {
                self.set_size(entry, 8);
                self.set_type(entry, to);
            }
            Shape::Array {
                element,
                index,
                count,
            } => {
                self.set_type(entry, element);
                self.add_subrange(entry, self.entry_of(index), count)?;
            }
            Shape::Composite { size, members, .. } => {
                self.set_size(entry, size);
                for member in members.iter() {
                    self.add_member(entry, member)?;
                }
                self.set_sibling(entry);
            }
            Shape::Enum { size, sign, values } => {
                self.set_size(entry, size);
                if let Some(of) = self.integers.get(&(size, sign)) {
                    let of = AttributeValue::UnitRef(*of);
                    self.set(entry, constants::DW_AT_type, of);
                }
                if values.is_empty() {
                    self.set_flag(entry, constants::DW_AT_declaration);
                }
                for value in values.iter() {
                    self.add_enumerator(entry, sign, value)?;
                }
                self.set_sibling(entry);
            }
            Shape::Forward(_) => self.set_flag(entry, constants::DW_AT_declaration),
            Shape::Typedef(of) | Shape::Qualified(_, of) => self.set_type(entry, of),
            Shape::Prototype { result, parameters } => {
                self.set_flag(entry, constants::DW_AT_prototyped);
                self.set_type(entry, result);
                for parameter in parameters.iter() {
                    self.add_parameter(entry, parameter)?;
                }
                self.set_sibling(entry);
            }
            Shape::Tagged(_)
            | Shape::Function(_)
            | Shape::Variable(_)
            | Shape::Section(_)
            | Shape::DeclarationTag => {}
        }
        Ok(())
    }

    pub(super) fn set_size(&mut self, entry: UnitEntryId, size: u32) {
        self.set_number(entry, constants::DW_AT_byte_size, u64::from(size));
    }

    /// Lets a reader step over an entry's children.
    pub(super) fn set_sibling(&mut self, entry: UnitEntryId) {
        self.unit().get_mut(entry).set_sibling(true);
    }

    /// The extent of an array; of one without an end (`[]`), none.
    pub(super) fn add_subrange(
        &mut self,
        array: UnitEntryId,
        index: Option<Place>,
        count: u32,
    ) -> Result<(), VmlinuxError> {
        let subrange = self.add(array, constants::DW_TAG_subrange_type)?;
        if let Some(index) = index {
            self.set(subrange, constants::DW_AT_type, index.reference());
        }
        if let Some(last) = count.checked_sub(1) {
            self.set_number(subrange, constants::DW_AT_upper_bound, u64::from(last));
        }
        Ok(())
    }

    /// A parameter of a function or of its type.
    pub(super) fn add_parameter(
        &mut self,
        function: UnitEntryId,
        parameter: Parameter,
    ) -> Result<(), VmlinuxError> {
        if parameter.of == TypeId::VOID {
            self.add(function, constants::DW_TAG_unspecified_parameters)?;
            return Ok(());
        }
        let entry = self.add(function, constants::DW_TAG_formal_parameter)?;
        self.set_name(entry, parameter.name);
        self.set_type(entry, parameter.of);
        Ok(())
    }

    fn add_member(
        &mut self,
        composite: UnitEntryId,
        member: CompositeMember,
    ) -> Result<(), VmlinuxError> {
        let entry = self.add(composite, constants::DW_TAG_member)?;
        self.set_name(entry, member.name);
        self.set_type(entry, member.of);
        match member.bits.or_else(|| self.bits_of_old_bit_field(member)) {
            Some(bits) => {
                self.set_number(entry, constants::DW_AT_bit_size, u64::from(bits));
                self.set_number(
                    entry,
                    constants::DW_AT_data_bit_offset,
                    u64::from(member.bit_offset),
                );
            }
            None => {
                let offset = u64::from(member.bit_offset >> 3);
                self.set_number(entry, constants::DW_AT_data_member_location, offset);
            }
        }
        Ok(())
    }

    /// The width of a bit-field as it was written before there was a kind flag: in its own type of integer.
    fn bits_of_old_bit_field(&self, member: CompositeMember) -> Option<u8> {
        match self.btf.describe(self.btf.resolve(member.of)?)?.shape {
            Shape::Int { size, bits, .. } if u32::from(bits) != size.saturating_mul(8) => {
                Some(bits)
            }
            _ => None,
        }
    }

    fn add_enumerator(
        &mut self,
        of: UnitEntryId,
        sign: Sign,
        value: Enumerator,
    ) -> Result<(), VmlinuxError> {
        let entry = self.add(of, constants::DW_TAG_enumerator)?;
        self.set_name(entry, value.name);
        let value = match sign {
            Sign::Signed => AttributeValue::Sdata(value.value.cast_signed()),
            Sign::Unsigned => AttributeValue::Udata(value.value),
        };
        self.set(entry, constants::DW_AT_const_value, value);
        Ok(())
    }
}

/// What other types are made of as C makes types of functions: by pointers, names and marks.
pub(super) fn pointed_at(btf: &Btf) -> HashSet<TypeId> {
    let shapes = btf.types().map(|(_, described)| described.shape);
    let to = shapes.filter_map(|shape| match shape {
        Shape::Pointer(to) | Shape::Typedef(to) | Shape::Qualified(_, to) | Shape::Tagged(to) => {
            Some(to)
        }
        _ => None,
    });
    to.collect()
}

/// The tag of what is a type in C.
fn tag(described: &BtfType<'_>) -> Option<DwTag> {
    let composite = |kind| match kind {
        CompositeKind::Struct => constants::DW_TAG_structure_type,
        CompositeKind::Union => constants::DW_TAG_union_type,
    };
    Some(match described.shape {
        Shape::Int { .. } | Shape::Float(_) => constants::DW_TAG_base_type,
        Shape::Pointer(_) => constants::DW_TAG_pointer_type,
        Shape::Array { .. } => constants::DW_TAG_array_type,
        Shape::Composite { kind, .. } | Shape::Forward(kind) => composite(kind),
        Shape::Enum { .. } => constants::DW_TAG_enumeration_type,
        Shape::Typedef(_) => constants::DW_TAG_typedef,
        Shape::Qualified(Qualifier::Const, _) => constants::DW_TAG_const_type,
        Shape::Qualified(Qualifier::Volatile, _) => constants::DW_TAG_volatile_type,
        Shape::Qualified(Qualifier::Restrict, _) => constants::DW_TAG_restrict_type,
        Shape::Prototype { .. } => constants::DW_TAG_subroutine_type,
        Shape::Tagged(_)
        | Shape::Function(_)
        | Shape::Variable(_)
        | Shape::Section(_)
        | Shape::DeclarationTag => return None,
    })
}

/// BTF does not tell characters from other integers of one byte; C has no others.
fn encoding_of(size: u32, encoding: IntEncoding) -> DwAte {
    match (encoding, size) {
        (IntEncoding::Bool, _) => constants::DW_ATE_boolean,
        (IntEncoding::Signed | IntEncoding::Char, 1) => constants::DW_ATE_signed_char,
        (IntEncoding::Unsigned, 1) => constants::DW_ATE_unsigned_char,
        (IntEncoding::Signed, _) => constants::DW_ATE_signed,
        (IntEncoding::Unsigned | IntEncoding::Char, _) => constants::DW_ATE_unsigned,
    }
}
