//! Kallsyms: the kernel's own symbol table, as it lies in its memory (G20 to G31).

mod decode;
#[cfg(any(test, feature = "fuzzing"))]
mod forge;
mod locate;
mod search;
mod tokens;

pub use decode::Kallsyms;
pub(crate) use locate::read_kallsyms;

/// What [`crate::fuzzing`] needs of it.
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing {
    pub(crate) use super::decode::{RawAddresses, RawTables};
    pub(crate) use super::forge::tables_of_5_10;
    pub(crate) use super::search::search;
}

/// A symbol's number: its place in the table, which is the order of `/proc/kallsyms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolIndex(u32);

impl SymbolIndex {
    /// The place in the table, from 0.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}
