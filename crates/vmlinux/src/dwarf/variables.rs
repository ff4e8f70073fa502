//! Variables.

use gimli::constants;
use gimli::write::{Address, AttributeValue, Expression};

use super::Source;
use super::unit::{About, Place, TypeUnit};
use crate::VmlinuxError;
use crate::known::Base;
use crate::symbols::{Binding, ElfSymbol};
use crate::typed::{self, NamedTypes, VariableType};

impl TypeUnit<'_> {
    /// Makes an entry of every variable whose type is known.
    pub(super) fn add_variables(&mut self, source: &Source<'_>) -> Result<(), VmlinuxError> {
        let named = NamedTypes::new(self.btf);
        let by_name = typed::by_name(self.symbols(source));
        let mut variables = typed::variables(self.btf, source.sections, &by_name);
        if let About::Image = self.about {
            typed::add_known(&mut variables, self.btf, source.release, &named, &by_name);
        }
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
        if let About::Image = self.about {
            self.add_time_of_writes(source, &named)?;
        }
        Ok(())
    }

    /// A constant of the scheduler of disks, 5 seconds in ticks, which the compiler keeps in DWARF alone. crash learns
    /// from it how long a tick is, and takes a second for 1000 of them where there is none.
    fn add_time_of_writes(
        &mut self,
        source: &Source<'_>,
        named: &NamedTypes,
    ) -> Result<(), VmlinuxError> {
        const SECONDS: u32 = 5;
        let ticks = source.ticks_per_second;
        let int = named.find(Base::Plain("int"));
        let (Some(ticks), Some(of)) = (ticks, int.and_then(|int| self.entry_of(int))) else {
            return Ok(());
        };
        let root = self.root();
        let entry = self.add(root, constants::DW_TAG_variable)?;
        self.set_text(entry, constants::DW_AT_name, "write_expire");
        self.set(entry, constants::DW_AT_type, of.reference());
        let value = u64::from(ticks.saturating_mul(SECONDS));
        self.set_number(entry, constants::DW_AT_const_value, value);
        Ok(())
    }

    /// A variable at a symbol.
    fn add_variable(
        &mut self,
        source: &Source<'_>,
        symbol: &ElfSymbol,
        of: Place,
    ) -> Result<(), VmlinuxError> {
        let root = self.root();
        let entry = self.add(root, constants::DW_TAG_variable)?;
        self.set_text(entry, constants::DW_AT_name, &symbol.name);
        self.set(entry, constants::DW_AT_type, of.reference());
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
