//! The layouts of types and the addresses of symbols that an ELF file with DWARF tells, and what two
//! such files say differently.
//!
//! It is made for one question: does a debug file that vread recovered from memory say what the one says
//! that the kernel was built with? It reads both by the same rules, with a library that wrote neither.
//! It belongs to the tests and knows nothing of vread.
//!
//! ```no_run
//! use std::path::Path;
//! use vread_layouts::{DebugFile, Disagreement};
//!
//! let ours = DebugFile::read(Path::new("recovered/vmlinux"))?;
//! let truth = DebugFile::read(Path::new("/usr/lib/debug/boot/vmlinux-6.1.0-50-amd64"))?;
//! let types = Disagreement::between(&ours.types, &truth.types);
//! println!("{} layouts equal, {} not", types.equal, types.different.len());
//! # Ok::<(), vread_layouts::LayoutError>(())
//! ```
#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    reason = "reads files of our own making and the distribution's, in tests only"
)]

mod compare;
mod debug_file;
mod describe;
mod error;
mod unit;

pub use compare::Disagreement;
pub use debug_file::{DebugFile, Symbols, TypeName, Types};
pub use error::LayoutError;
