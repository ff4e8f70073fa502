use std::collections::HashMap;

use gimli::constants::{self, DwAt, DwTag};
use gimli::write::{
    Address, AttributeValue, DwarfUnit, EndianVec, Range, RangeList, Result, Sections, StringId,
    UnitEntryId,
};
use gimli::{Encoding, Format, LittleEndian};
use vread_linux::Btf;
use vread_linux::btf::{Name, Shape, Sign, TypeId};

use super::{MAX_ENTRIES, Source};
use crate::VmlinuxError;
use crate::text::printable;

/// How many marks may stand before a type (G41).
const MAX_CHAIN: usize = 32;

/// The unit, and where in it each type of BTF stands.
pub(super) struct TypeUnit<'b> {
    pub(super) btf: &'b Btf,
    pub(super) dwarf: DwarfUnit,
    /// Types that are entries, by number.
    pub(super) entries: HashMap<TypeId, UnitEntryId>,
    /// Integers, by what an enumeration is made of.
    pub(super) integers: HashMap<(u32, Sign), UnitEntryId>,
    /// Pointers to types and qualified types that BTF has no use for.
    pub(super) derived: HashMap<(DwTag, Option<UnitEntryId>), UnitEntryId>,
    names: HashMap<Name, StringId>,
}

impl<'b> TypeUnit<'b> {
    pub(super) fn new(btf: &'b Btf) -> Self {
        let encoding = Encoding {
            address_size: 8,
            format: Format::Dwarf32,
            version: 4,
        };
        let mut this = Self {
            btf,
            dwarf: DwarfUnit::new(encoding),
            entries: HashMap::new(),
            integers: HashMap::new(),
            derived: HashMap::new(),
            names: HashMap::new(),
        };
        let root = this.dwarf.unit.root();
        let language = AttributeValue::Language(constants::DW_LANG_C99);
        this.set(root, constants::DW_AT_language, language);
        let producer = concat!(
            "vread ",
            env!("CARGO_PKG_VERSION"),
            " from kallsyms and BTF"
        );
        this.set_text(root, constants::DW_AT_producer, producer);
        this.set_text(root, constants::DW_AT_name, "vmlinux");
        this
    }

    /// A new entry inside `parent`.
    pub(super) fn add(
        &mut self,
        parent: UnitEntryId,
        tag: DwTag,
    ) -> std::result::Result<UnitEntryId, VmlinuxError> {
        if self.dwarf.unit.count() >= MAX_ENTRIES {
            return Err(VmlinuxError::Format(format!(
                "more than {MAX_ENTRIES} types, members and functions"
            )));
        }
        Ok(self.dwarf.unit.add(parent, tag))
    }

    pub(super) fn root(&self) -> UnitEntryId {
        self.dwarf.unit.root()
    }

    pub(super) fn set(&mut self, entry: UnitEntryId, attribute: DwAt, value: AttributeValue) {
        self.dwarf.unit.get_mut(entry).set(attribute, value);
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
            self.set(entry, constants::DW_AT_type, AttributeValue::UnitRef(of));
        }
    }

    /// The entry of a type, marks without meaning in C passed over.
    pub(super) fn entry_of(&self, id: TypeId) -> Option<UnitEntryId> {
        let mut id = id;
        for _ in 0..MAX_CHAIN {
            if let Some(entry) = self.entries.get(&id) {
                return Some(*entry);
            }
            match self.btf.describe(id)?.shape {
                Shape::Tagged(inner) => id = inner,
                _ => return None,
            }
        }
        None
    }

    /// Says which addresses the unit is about: those of all code in the image.
    pub(super) fn set_ranges(&mut self, source: &Source<'_>) {
        let code = source
            .sections
            .iter()
            .filter(|section| section.content.is_code() && !section.of_module);
        let ranges = code.map(|section| Range::StartLength {
            begin: Address::Constant(source.relocation.apply(section.range.start())),
            length: section.range.len().get(),
        });
        let ranges = RangeList(ranges.collect());
        if ranges.0.is_empty() {
            return;
        }
        let id = self.dwarf.unit.ranges.add(ranges);
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

    pub(super) fn write(mut self, sections: &mut Sections<EndianVec<LittleEndian>>) -> Result<()> {
        self.dwarf.write(sections)
    }
}
