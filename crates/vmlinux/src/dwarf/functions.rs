//! Functions.

use std::collections::{HashMap, HashSet};

use gimli::constants;
use gimli::write::{Address, AttributeValue};
use vread_linux::btf::{Name, Shape, TypeId};

use super::Source;
use super::unit::TypeUnit;
use crate::VmlinuxError;
use crate::symbols::{Binding, ElfSymbol, SymbolKind};
use crate::typed;

/// A function that has a type and a place.
struct Function<'a> {
    name: Name,
    prototype: TypeId,
    symbol: &'a ElfSymbol,
}

impl TypeUnit<'_> {
    /// Makes an entry of every function of BTF that has one place in the image, or in the module.
    ///
    /// Where several functions have the same name, BTF does not say which of them it describes: they
    /// keep their symbols and get no types, rather than a wrong one.
    pub(super) fn add_functions(&mut self, source: &Source<'_>) -> Result<(), VmlinuxError> {
        let mut functions = self.functions(&typed::by_name(self.symbols(source)));
        functions.sort_by_key(|function| {
            let is_local = function.symbol.binding == Binding::Local;
            // The name, so that the same kernel gives the same file.
            (function.symbol.addr, is_local, function.name)
        });
        let mut taken = HashSet::new();
        for function in functions {
            let Some(Shape::Prototype { result, parameters }) = self
                .btf
                .describe(function.prototype)
                .map(|described| described.shape)
            else {
                continue;
            };
            let root = self.root();
            let entry = self.add(root, constants::DW_TAG_subprogram)?;
            self.set_name(entry, function.name);
            if function.symbol.binding != Binding::Local {
                self.set_flag(entry, constants::DW_AT_external);
            }
            self.set_flag(entry, constants::DW_AT_prototyped);
            self.set_type(entry, result);
            let addr = source.relocation.apply(function.symbol.addr);
            let low_pc = AttributeValue::Address(Address::Constant(addr));
            self.set(entry, constants::DW_AT_low_pc, low_pc);
            // Other names of the same code begin there too; only one may own it.
            if taken.insert(addr) {
                let size = function.symbol.size.get();
                self.set_number(entry, constants::DW_AT_high_pc, size);
            }
            for parameter in parameters.iter() {
                self.add_parameter(entry, parameter)?;
            }
            self.set_sibling(entry);
        }
        Ok(())
    }

    /// The symbols of what the unit is about.
    pub(super) fn symbols<'s>(
        &self,
        source: &Source<'s>,
    ) -> impl Iterator<Item = &'s ElfSymbol> + use<'s, '_> {
        let about = self.about;
        let symbols = source.symbols.iter();
        symbols.filter(move |symbol| about.has(symbol.module.as_deref()))
    }

    fn functions<'a>(&self, by_name: &HashMap<&str, Vec<&'a ElfSymbol>>) -> Vec<Function<'a>> {
        let mut functions: HashMap<Name, Option<Function<'a>>> = HashMap::new();
        for (_, described) in self.btf.types() {
            let Shape::Function(prototype) = described.shape else {
                continue;
            };
            let name = described.name;
            let place = || {
                let text = std::str::from_utf8(self.btf.text(name)).ok()?;
                let [symbol] = by_name.get(text)?.as_slice() else {
                    return None;
                };
                let is_code = symbol.kind == SymbolKind::Function && !symbol.size.is_zero();
                is_code.then_some(*symbol)
            };
            let function = place().map(|symbol| Function {
                name,
                prototype,
                symbol,
            });
            let twice = functions.contains_key(&name);
            functions.insert(name, function.filter(|_| !twice));
        }
        functions.into_values().flatten().collect()
    }
}
