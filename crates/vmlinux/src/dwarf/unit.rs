use std::collections::HashMap;

use gimli::constants::{self, DwAt, DwTag};
use gimli::write::{
    Address, AttributeValue, DebugInfoRef, Dwarf, EndianVec, LineProgram, Range, RangeList,
    Sections, StringId, Unit, UnitEntryId, UnitId,
};
use gimli::{Encoding, Format, LittleEndian};
use vread_linux::Btf;
use vread_linux::btf::{Name, Shape, Sign, TypeId};

use super::{MAX_ENTRIES, Source};
use crate::VmlinuxError;
use crate::text::printable;

/// How many marks may stand before a type (G41).
const MAX_CHAIN: usize = 32;

/// What a unit is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum About<'a> {
    /// The image.
    Image,
    /// A module.
    Module(&'a str),
}

impl About<'_> {
    /// Whether what belongs to `module`, or to none, belongs here.
    pub(super) fn has(self, module: Option<&str>) -> bool {
        match self {
            Self::Image => module.is_none(),
            Self::Module(name) => module == Some(name),
        }
    }
}

/// Where a type stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// In this unit.
    Here(UnitEntryId),
    /// In the image's, for that of a module.
    Image(UnitId, UnitEntryId),
}

impl Place {
    /// As the value of an attribute.
    pub(super) fn reference(self) -> AttributeValue {
        match self {
            Self::Here(entry) => AttributeValue::UnitRef(entry),
            Self::Image(unit, entry) => {
                AttributeValue::DebugInfoRef(DebugInfoRef::Entry(unit, entry))
            }
        }
    }
}

/// The entries of a unit's types, by number.
#[derive(Debug)]
pub(super) struct Entries {
    unit: UnitId,
    pub(super) of: HashMap<TypeId, UnitEntryId>,
}

/// A unit, and where in it each type of BTF stands.
pub(super) struct TypeUnit<'b> {
    pub(super) btf: &'b Btf,
    pub(super) about: About<'b>,
    dwarf: &'b mut Dwarf,
    /// Types that are entries.
    pub(super) entries: Entries,
    /// Those of the image.
    image: Option<&'b Entries>,
    /// How many entries there may still be, in all units.
    entries_left: &'b mut usize,
    /// Integers, by what an enumeration is made of.
    pub(super) integers: HashMap<(u32, Sign), UnitEntryId>,
    /// Pointers to types and qualified types that BTF has no use for.
    pub(super) derived: HashMap<(DwTag, Option<Place>), UnitEntryId>,
    names: HashMap<Name, StringId>,
}

/// What all units are made in.
pub(super) struct Units {
    dwarf: Dwarf,
    entries_left: usize,
}

impl Units {
    pub(super) fn new() -> Self {
        Self {
            dwarf: Dwarf::new(),
            entries_left: MAX_ENTRIES,
        }
    }

    /// A new unit; that of a module refers to the entries of the image.
    pub(super) fn add<'b>(
        &'b mut self,
        btf: &'b Btf,
        about: About<'b>,
        image: Option<&'b Entries>,
    ) -> TypeUnit<'b> {
        let encoding = Encoding {
            address_size: 8,
            format: Format::Dwarf32,
            version: 4,
        };
        let id = self
            .dwarf
            .units
            .add(Unit::new(encoding, LineProgram::none()));
        let mut unit = TypeUnit {
            btf,
            about,
            dwarf: &mut self.dwarf,
            entries: Entries {
                unit: id,
                of: HashMap::new(),
            },
            image,
            entries_left: &mut self.entries_left,
            integers: HashMap::new(),
            derived: HashMap::new(),
            names: HashMap::new(),
        };
        let root = unit.root();
        let language = AttributeValue::Language(constants::DW_LANG_C99);
        unit.set(root, constants::DW_AT_language, language);
        let producer = concat!(
            "vread ",
            env!("CARGO_PKG_VERSION"),
            " from kallsyms and BTF"
        );
        unit.set_text(root, constants::DW_AT_producer, producer);
        match about {
            About::Image => unit.set_text(root, constants::DW_AT_name, "vmlinux"),
            About::Module(name) => {
                unit.set_text(root, constants::DW_AT_name, &printable(name.as_bytes()));
            }
        }
        unit
    }

    pub(super) fn write(
        &mut self,
        sections: &mut Sections<EndianVec<LittleEndian>>,
    ) -> std::result::Result<(), gimli::write::Error> {
        self.dwarf.write(sections)
    }
}

impl<'b> TypeUnit<'b> {
    /// Where its types stand.
    pub(super) fn into_entries(self) -> Entries {
        self.entries
    }

    /// A new entry inside `parent`.
    pub(super) fn add(
        &mut self,
        parent: UnitEntryId,
        tag: DwTag,
    ) -> std::result::Result<UnitEntryId, VmlinuxError> {
        let Some(left) = self.entries_left.checked_sub(1) else {
            return Err(VmlinuxError::Format(format!(
                "more than {MAX_ENTRIES} types, members and functions"
            )));
        };
        *self.entries_left = left;
        Ok(self.unit().add(parent, tag))
    }

    pub(super) fn root(&self) -> UnitEntryId {
        self.dwarf.units.get(self.entries.unit).root()
    }

    pub(super) fn unit(&mut self) -> &mut Unit {
        self.dwarf.units.get_mut(self.entries.unit)
    }

    pub(super) fn set(&mut self, entry: UnitEntryId, attribute: DwAt, value: AttributeValue) {
        self.unit().get_mut(entry).set(attribute, value);
    }

    pub(super) fn set_number(&mut self, entry: UnitEntryId, attribute: DwAt, value: u64) {
        self.set(entry, attribute, AttributeValue::Udata(value));
    }

    pub(super) fn set_flag(&mut self, entry: UnitEntryId, attribute: DwAt) {
        self.set(entry, attribute, AttributeValue::FlagPresent);
    }

    pub(super) fn set_text(&mut self, entry: UnitEntryId, attribute: DwAt, text: &str) {
        // Whoever hands a text in has made it printable, so that no NUL is in it.
        let id = self.dwarf.strings.add(text);
        self.set(entry, attribute, AttributeValue::StringRef(id));
    }

    /// Names an entry, unless the name is empty.
    pub(super) fn set_name(&mut self, entry: UnitEntryId, name: Name) {
        let id = match self.names.get(&name) {
            Some(id) => *id,
            None => {
                let text = self.btf.text(name);
                if text.is_empty() {
                    return;
                }
                let id = self.dwarf.strings.add(printable(text));
                self.names.insert(name, id);
                id
            }
        };
        self.set(entry, constants::DW_AT_name, AttributeValue::StringRef(id));
    }

    /// Gives an entry its type; `void`, and what is no type, is none.
    pub(super) fn set_type(&mut self, entry: UnitEntryId, of: TypeId) {
        if let Some(of) = self.entry_of(of) {
            self.set(entry, constants::DW_AT_type, of.reference());
        }
    }

    /// The entry of a type, marks without meaning in C passed over.
    pub(super) fn entry_of(&self, id: TypeId) -> Option<Place> {
        let mut id = id;
        for _ in 0..MAX_CHAIN {
            if let Some(entry) = self.entries.of.get(&id) {
                return Some(Place::Here(*entry));
            }
            if let Some(image) = self.image
                && let Some(entry) = image.of.get(&id)
            {
                return Some(Place::Image(image.unit, *entry));
            }
            match self.btf.describe(id)?.shape {
                Shape::Tagged(inner) => id = inner,
                _ => return None,
            }
        }
        None
    }

    /// Says which addresses the unit is about: those of all code in the image, or in the module.
    pub(super) fn set_ranges(&mut self, source: &Source<'_>) {
        let code = source
            .sections
            .iter()
            .filter(|section| section.content.is_code())
            .filter(|section| self.about.has(section.module.as_deref()));
        let ranges = code.map(|section| Range::StartLength {
            begin: Address::Constant(source.relocation.apply(section.range.start())),
            length: section.range.len().get(),
        });
        let ranges = RangeList(ranges.collect());
        if ranges.0.is_empty() {
            return;
        }
        let id = self.unit().ranges.add(ranges);
        let root = self.root();
        self.set(
            root,
            constants::DW_AT_low_pc,
            AttributeValue::Address(Address::Constant(0)),
        );
        self.set(
            root,
            constants::DW_AT_ranges,
            AttributeValue::RangeListRef(id),
        );
    }
}
