//! Variables.

use gimli::constants;
use gimli::write::{Address, AttributeValue, Expression, UnitEntryId};

use super::Source;
use super::unit::TypeUnit;
use crate::VmlinuxError;
use crate::symbols::{Binding, ElfSymbol};
use crate::typed::{self, NamedTypes, VariableType};

impl TypeUnit<'_> {
    /// Makes an entry of every variable whose type is known.
    pub(super) fn add_variables(&mut self, source: &Source<'_>) -> Result<(), VmlinuxError> {
        let named = NamedTypes::new(self.btf);
        let variables = typed::variables(self.btf, source.release, source.sections, source.symbols);
        for (symbol, of) in &variables {
            let entry = match of {
                VariableType::Btf(of) => self.entry_of(*of),
                VariableType::Notation(notation) => {
                    self.entry_of_notation(&named, notation, symbol.size.get())?
                }
            };
            match entry {
                Some(entry) => self.add_variable(source, symbol, entry)?,
                None => tracing::info!(symbol.name, ?of, "no room for this type"),
            }
        }
        Ok(())
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
