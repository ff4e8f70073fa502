//! Layouts as text.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;

use gimli::{AttributeValue, DebugInfoOffset, DebuggingInformationEntry, Dwarf, Unit, UnitOffset};

use crate::debug_file::Slice;
use crate::unit::kind_of;

/// How deep types may lie in one another: far more than in C that anyone writes.
const MAX_DEPTH: u32 = 64;

type Entry<'d> = DebuggingInformationEntry<Slice<'d>>;

/// A type as a member has it.
#[derive(Debug, Clone)]
struct MemberType {
    size: u64,
    /// As C spells it, more or less; a type without a name with all that is in it.
    spelled: Rc<str>,
    /// Of an array, the type of its elements as C spells it, and how many there are.
    array: Option<(Rc<str>, u64)>,
}

/// Describes the types of one unit.
pub(crate) struct Describer<'u, 'd> {
    dwarf: &'u Dwarf<Slice<'d>>,
    unit: Rc<Unit<Slice<'d>>>,
    known: HashMap<UnitOffset, MemberType>,
    /// The units that this one refers to, by where they begin.
    others: HashMap<DebugInfoOffset, Self>,
}

impl<'u, 'd> Describer<'u, 'd> {
    pub(crate) fn new(dwarf: &'u Dwarf<Slice<'d>>, unit: Rc<Unit<Slice<'d>>>) -> Self {
        Self {
            dwarf,
            unit,
            known: HashMap::new(),
            others: HashMap::new(),
        }
    }

    /// Size, and members or values, of the type at `offset`.
    pub(crate) fn describe_inside(
        &mut self,
        offset: UnitOffset,
        out: &mut String,
    ) -> Result<(), gimli::Error> {
        self.inside(offset, out, MAX_DEPTH)
    }

    pub(crate) fn name(&self, entry: &Entry<'d>) -> Result<Option<&'d str>, gimli::Error> {
        let Some(value) = entry.attr_value(gimli::DW_AT_name) else {
            return Ok(None);
        };
        let name = self.dwarf.attr_string(&self.unit, value)?;
        Ok(str::from_utf8(name.slice()).ok())
    }

    fn inside(
        &mut self,
        offset: UnitOffset,
        out: &mut String,
        depth: u32,
    ) -> Result<(), gimli::Error> {
        let unit = Rc::clone(&self.unit);
        let mut tree = unit.entries_tree(Some(offset))?;
        let root = tree.root()?;
        let size = number(root.entry(), gimli::DW_AT_byte_size).unwrap_or_default();
        let _ = write!(out, "{size} bytes");
        let mut children = root.children();
        while let Some(child) = children.next()? {
            let entry = child.entry();
            match entry.tag() {
                gimli::DW_TAG_member => self.member(entry, out, depth)?,
                gimli::DW_TAG_enumerator => {
                    let value = number(entry, gimli::DW_AT_const_value).unwrap_or_default();
                    // A value is as wide as its type, whichever sign the compiler wrote it with.
                    let mask = u64::MAX >> (64 - 8 * size.clamp(1, 8));
                    let name = self.name(entry)?.unwrap_or_default();
                    let _ = write!(out, "\n{name} = {:#x}", value & mask);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Name, place in bits, size in bits, and type.
    fn member(
        &mut self,
        entry: &Entry<'d>,
        out: &mut String,
        depth: u32,
    ) -> Result<(), gimli::Error> {
        let member = self.type_of(entry, depth)?;
        let name = self.name(entry)?.unwrap_or_default();
        let bytes = number(entry, gimli::DW_AT_data_member_location).unwrap_or_default();
        let field = number(entry, gimli::DW_AT_bit_size);
        let at = match field {
            None => bytes * 8,
            Some(bits) => match number(entry, gimli::DW_AT_data_bit_offset) {
                Some(at) => at,
                // DWARF 2 counts from the top of the storage unit.
                None => {
                    let unit = number(entry, gimli::DW_AT_byte_size).unwrap_or(member.size);
                    let from_top = number(entry, gimli::DW_AT_bit_offset).unwrap_or_default();
                    (bytes * 8 + unit * 8).wrapping_sub(from_top + bits)
                }
            },
        };
        let colon = if field.is_some() { ":" } else { "" };
        let bits = field.unwrap_or(member.size * 8);
        let _ = write!(out, "\n{name} @{at} {colon}{bits} {}", member.spelled);
        Ok(())
    }

    /// The type that an entry refers to; `void` where it refers to none.
    fn type_of(&mut self, entry: &Entry<'d>, depth: u32) -> Result<MemberType, gimli::Error> {
        match entry.attr_value(gimli::DW_AT_type) {
            Some(AttributeValue::UnitRef(offset)) => self.member_type(offset, depth),
            Some(AttributeValue::DebugInfoRef(offset)) => self.elsewhere(offset, depth),
            _ => Ok(MemberType {
                size: 0,
                spelled: "void".into(),
                array: None,
            }),
        }
    }

    /// The type at `offset` of the section, in whichever unit that is.
    fn elsewhere(
        &mut self,
        offset: DebugInfoOffset,
        depth: u32,
    ) -> Result<MemberType, gimli::Error> {
        let mut headers = self.dwarf.units();
        while let Some(header) = headers.next()? {
            let Some(inside) = offset.to_unit_offset(&header) else {
                continue;
            };
            let start = header
                .debug_info_offset()
                .ok_or(gimli::Error::OffsetOutOfBounds(0))?;
            if !self.others.contains_key(&start) {
                let unit = Rc::new(self.dwarf.unit(header)?);
                self.others.insert(start, Self::new(self.dwarf, unit));
            }
            if let Some(other) = self.others.get_mut(&start) {
                return other.member_type(inside, depth);
            }
        }
        Err(gimli::Error::OffsetOutOfBounds(0))
    }

    fn member_type(&mut self, offset: UnitOffset, depth: u32) -> Result<MemberType, gimli::Error> {
        if let Some(known) = self.known.get(&offset) {
            return Ok(known.clone());
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(gimli::Error::BadUnsignedLeb128);
        };
        let unit = Rc::clone(&self.unit);
        let entry = unit.entry(offset)?;
        let own_size = number(&entry, gimli::DW_AT_byte_size);
        let name = self.name(&entry)?;
        let mut array = None;
        let (size, spelled) = match entry.tag() {
            gimli::DW_TAG_pointer_type => {
                let to = self.type_of(&entry, depth)?;
                (own_size.unwrap_or(8), format!("{} *", to.spelled))
            }
            gimli::DW_TAG_subroutine_type => (0, "function".to_owned()),
            gimli::DW_TAG_array_type => {
                let element = self.type_of(&entry, depth)?;
                let count = self.elements(offset)?;
                // An array of arrays is one of several dimensions, which BTF may count as one.
                let (of, all) = match element.array {
                    Some((of, each)) => (of, each.wrapping_mul(count)),
                    None => (element.spelled, count),
                };
                let spelled = format!("{of}[{all}]");
                array = Some((of, all));
                (element.size * count, spelled)
            }
            gimli::DW_TAG_typedef => {
                let named = self.type_of(&entry, depth)?;
                (named.size, name.unwrap_or_default().to_owned())
            }
            gimli::DW_TAG_const_type => self.modified(&entry, "const", depth)?,
            gimli::DW_TAG_volatile_type => self.modified(&entry, "volatile", depth)?,
            gimli::DW_TAG_restrict_type => self.modified(&entry, "restrict", depth)?,
            gimli::DW_TAG_atomic_type => self.modified(&entry, "_Atomic", depth)?,
            _ => {
                let spelled = match (kind_of(&entry), name) {
                    (Some(kind), Some(name)) => format!("{kind} {name}"),
                    (Some(kind), None) => {
                        let mut inside = String::new();
                        self.inside(offset, &mut inside, depth)?;
                        format!("{kind} {{ {} }}", inside.replace('\n', "; "))
                    }
                    (None, name) => name.unwrap_or_default().to_owned(),
                };
                (own_size.unwrap_or_default(), spelled)
            }
        };
        let known = MemberType {
            size,
            spelled: spelled.into(),
            array,
        };
        self.known.insert(offset, known.clone());
        Ok(known)
    }

    fn modified(
        &mut self,
        entry: &Entry<'d>,
        word: &str,
        depth: u32,
    ) -> Result<(u64, String), gimli::Error> {
        let plain = self.type_of(entry, depth)?;
        Ok((plain.size, format!("{word} {}", plain.spelled)))
    }

    /// The elements of an array of however many dimensions, as BTF counts them; 0 where it is open.
    fn elements(&self, offset: UnitOffset) -> Result<u64, gimli::Error> {
        let mut tree = self.unit.entries_tree(Some(offset))?;
        let mut children = tree.root()?.children();
        let mut elements = 1_u64;
        while let Some(child) = children.next()? {
            let entry = child.entry();
            if entry.tag() == gimli::DW_TAG_subrange_type {
                let last = number(entry, gimli::DW_AT_upper_bound);
                let count = number(entry, gimli::DW_AT_count)
                    .or(last.map(|last| last.wrapping_add(1)))
                    .unwrap_or_default();
                elements = elements.wrapping_mul(count);
            }
        }
        Ok(elements)
    }
}

/// An attribute that is a number, a negative one modulo 2^64.
fn number(entry: &Entry<'_>, name: gimli::DwAt) -> Option<u64> {
    let value = entry.attr_value(name)?;
    value
        .udata_value()
        .or_else(|| value.sdata_value().map(i64::cast_unsigned))
}
