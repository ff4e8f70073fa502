//! Volatility 3's symbol table of a running kernel, from the kernel's own memory.
//!
//! Volatility 3 reads a memory image by a file in its intermediate symbol format (ISF, JSON) that is
//! usually made from hundreds of megabytes of debug packages. [`SymbolTable`] is that file from what the
//! kernel carries in memory anyway: types from BTF, symbols from kallsyms at their link-time addresses,
//! and the banner by which Volatility finds the table that goes with an image.
//!
//! It is a [`Serialize`](serde::Serialize), so that it is written straight to where it goes. It knows
//! neither files nor compression.
//!
//! ```
//! use vread_isf::{IsfError, SymbolTable};
//! use vread_linux::Kernel;
//!
//! fn print(kernel: &Kernel) -> Result<(), Box<dyn std::error::Error>> {
//!     let table = SymbolTable::of(kernel)?;
//!     serde_json::to_writer(std::io::stdout(), &table)?;
//!     Ok(())
//! }
//! ```
//!
//! Layouts are those of schema 6.2.0 of the format. Everything that the target says is hostile here too:
//! nothing recurses over its types but the descriptor of one member, which has a limit.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        reason = "a test on input of our own making fails loudly"
    )
)]

mod descriptor;
mod error;
mod keys;
mod numbers;
mod symbols;
mod table;
mod types;
mod variables;

pub use error::IsfError;
pub use table::SymbolTable;
