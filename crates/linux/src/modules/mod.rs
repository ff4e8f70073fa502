//! Loaded modules and their symbols (G62).

mod layout;
mod listing;
mod symbols;
mod walk;

pub(crate) use layout::ModuleLayout;
pub(crate) use listing::{ListingLayout, UsersLeft};
pub use listing::{ModuleLine, ModuleState};
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
        let named = |symbol: &&ModuleSymbol| symbol.defined && !is_mapping_symbol(&symbol.name);
        let symbols = || self.symbols.iter().filter(named);
        // The first of several at one address.
        let below = symbols().filter(|symbol| symbol.addr <= addr && symbol.addr.get() != 0);
        let best = below.reduce(|best, symbol| match symbol.addr > best.addr {
            true => symbol,
            false => best,
        })?;
        let text_end = self.text_end.filter(|end| *end > addr);
        let above = symbols().map(|symbol| symbol.addr).filter(|at| *at > addr);
        let next = above.chain(text_end).min()?;
        let size = next.checked_offset_from(best.addr).unwrap_or_default();
        Some((best, size))
    }
}

/// Assembler-local labels that the kernel does not name addresses by.
fn is_mapping_symbol(name: &str) -> bool {
    name.starts_with(".L") || name.starts_with("L0")
}

#[cfg(test)]
mod tests;
