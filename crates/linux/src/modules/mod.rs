//! Loaded modules and their symbols (G62).

mod layout;
mod listing;
mod symbols;
mod types;
mod walk;

pub(crate) use layout::ModuleLayout;
pub(crate) use listing::{ListingLayout, UsersLeft};
pub use listing::{ModuleLine, ModuleState};
pub use types::ModuleTypes;
pub(crate) use types::TypesLayout;
pub(crate) use walk::{Depth, read_modules};

use std::sync::Arc;

use vread_addr::{ByteLen, VirtAddr, VirtRange};

/// A loaded module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: Arc<str>,
    /// Where its `struct module` lies.
    pub at: VirtAddr,
    /// The memory that it has.
    pub memory: Vec<VirtRange>,
    /// Where its text ends.
    pub text_end: Option<VirtAddr>,
    /// Its symbols, in the order of `/proc/kallsyms`.
    pub symbols: Vec<ModuleSymbol>,
    /// Which of them addresses are named by, in order of address; those of one address in their own order.
    /// A search, since a hostile target has a million symbols and as many addresses that want a name.
    by_address: Vec<u32>,
}

/// A module's symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleSymbol {
    /// Where it lies.
    pub addr: VirtAddr,
    /// The type letter, upper case for exported symbols.
    pub letter: char,
    /// Its name.
    pub name: String,
    /// Whether it is defined in the module, and not merely used there.
    pub(crate) defined: bool,
}

impl Module {
    /// Whether `addr` lies in memory of the module.
    #[must_use]
    pub fn contains(&self, addr: VirtAddr) -> bool {
        self.memory.iter().any(|range| range.contains(addr))
    }

    /// The symbol at or below `addr`, and the distance to the next one: the kernel's own rule, by
    /// which the last one ends with the module's text.
    #[must_use]
    pub fn nearest(&self, addr: VirtAddr) -> Option<(&ModuleSymbol, ByteLen)> {
        let symbol = |index: &u32| self.symbols.get(usize::try_from(*index).ok()?);
        let at = |index: &u32| symbol(index).map(|symbol| symbol.addr);
        let behind = self
            .by_address
            .partition_point(|index| at(index) <= Some(addr));
        let start = at(self.by_address.get(behind.checked_sub(1)?)?);
        // The first of several at one address.
        let first = self.by_address.partition_point(|index| at(index) < start);
        let best = symbol(self.by_address.get(first)?)?;
        let text_end = self.text_end.filter(|end| *end > addr);
        let next = self.by_address.get(behind).and_then(at);
        let next = next.into_iter().chain(text_end).min()?;
        let size = next.checked_offset_from(best.addr).unwrap_or_default();
        Some((best, size))
    }

    /// Puts the symbols that addresses are named by in order.
    fn index(&mut self) {
        let named = |symbol: &ModuleSymbol| {
            symbol.defined && symbol.addr.get() != 0 && !is_mapping_symbol(&symbol.name)
        };
        let symbols = self.symbols.iter().zip(0_u32..);
        let mut by_address: Vec<(VirtAddr, u32)> = symbols
            .filter(|(symbol, _)| named(symbol))
            .map(|(symbol, index)| (symbol.addr, index))
            .collect();
        by_address.sort_unstable();
        // INVARIANT: made of `symbols`, which do not change from here on.
        self.by_address = by_address.into_iter().map(|(_, index)| index).collect();
    }
}

/// Assembler-local labels that the kernel does not name addresses by.
fn is_mapping_symbol(name: &str) -> bool {
    name.starts_with(".L") || name.starts_with("L0")
}

#[cfg(test)]
mod tests;
