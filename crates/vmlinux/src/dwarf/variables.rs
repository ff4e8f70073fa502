//! Variables.

use std::collections::{HashMap, HashSet};

use gimli::constants;
use gimli::write::{Address, AttributeValue, Expression, UnitEntryId};
use vread_addr::VirtAddr;
use vread_linux::btf::{PlacedVariable, Shape};

use super::Source;
use super::known::NamedTypes;
use super::unit::TypeUnit;
use crate::VmlinuxError;
use crate::known;
use crate::symbols::{Binding, ElfSymbol, SymbolKind};

impl TypeUnit<'_> {
    /// Makes an entry of every variable that BTF knows, and of the well-known ones that it does not.
    pub(super) fn add_variables(
        &mut self,
        source: &Source<'_>,
        by_name: &HashMap<&str, Vec<&ElfSymbol>>,
    ) -> Result<(), VmlinuxError> {
        let mut known = Vec::new();
        for (_, described) in self.btf.types() {
            let Shape::Section(variables) = described.shape else {
                continue;
            };
            let name = String::from_utf8_lossy(self.btf.text(described.name)).into_owned();
            let section = source.sections.iter().find(|section| section.name == name);
            let start = section.map(|section| section.range.start());
            for placed in variables.iter() {
                known.extend(self.known_variable(placed, start, by_name));
            }
        }
        let mut named = HashSet::new();
        for (symbol, of) in &known {
            named.insert(symbol.name.as_str());
            self.add_variable(source, symbol, *of)?;
        }
        let types = NamedTypes::new(self.btf);
        for known in known::variables(source.release).filter(|known| !named.contains(known.name)) {
            let Some([symbol]) = by_name.get(known.name).map(Vec::as_slice) else {
                continue;
            };
            let Some(notation) = known
                .notation()
                .filter(|_| symbol.kind == SymbolKind::Object)
            else {
                continue;
            };
            match self.entry_of_notation(&types, &notation, symbol.size.get())? {
                Some(of) => self.add_variable(source, symbol, of)?,
                None => tracing::info!(
                    name = known.name,
                    ?notation,
                    "no such type, or no room for it"
                ),
            }
        }
        Ok(())
    }

    /// The symbol and the type of a variable of BTF. Of several symbols of one name, it is the one that
    /// lies where BTF has it.
    fn known_variable<'a>(
        &self,
        placed: PlacedVariable,
        section: Option<VirtAddr>,
        by_name: &HashMap<&str, Vec<&'a ElfSymbol>>,
    ) -> Option<(&'a ElfSymbol, UnitEntryId)> {
        let described = self.btf.describe(placed.variable)?;
        let Shape::Variable(of) = described.shape else {
            return None;
        };
        let name = std::str::from_utf8(self.btf.text(described.name)).ok()?;
        let candidates = by_name.get(name)?;
        let offset = vread_addr::ByteLen::new(u64::from(placed.offset));
        let there = section.and_then(|section| section.checked_add(offset));
        let at_place = candidates.iter().find(|symbol| Some(symbol.addr) == there);
        let symbol = match (at_place, candidates.as_slice()) {
            (Some(symbol), _) | (None, [symbol]) => *symbol,
            _ => return None,
        };
        (symbol.kind == SymbolKind::Object).then_some((symbol, self.entry_of(of)?))
    }

    /// A variable at a symbol.
    fn add_variable(
        &mut self,
        source: &Source<'_>,
        symbol: &ElfSymbol,
        of: UnitEntryId,
    ) -> Result<(), VmlinuxError> {
        let root = self.root();
        let entry = self.add(root, constants::DW_TAG_variable)?;
        self.set_text(entry, constants::DW_AT_name, &symbol.name);
        self.set(entry, constants::DW_AT_type, AttributeValue::UnitRef(of));
        if symbol.binding != Binding::Local {
            self.set_flag(entry, constants::DW_AT_external);
        }
        let mut location = Expression::new();
        location.op_addr(Address::Constant(source.relocation.apply(symbol.addr)));
        self.set(
            entry,
            constants::DW_AT_location,
            AttributeValue::Exprloc(location),
        );
        Ok(())
    }
}
