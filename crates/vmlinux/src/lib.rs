//! The vmlinux of a running kernel, recovered from its memory.
//!
//! gdb, crash and drgn want a kernel's symbols and types in one file. [`Vmlinux::recover`] takes them
//! from where they are anyway: symbols from kallsyms, types from BTF, text, read-only data and unwind
//! tables (ORC) from memory; of loaded modules, their symbols, and types where they bring some.
//! [`Vmlinux::write`] makes an ELF file of them, with the types as DWARF; in two forms that differ in
//! addresses only, because gdb knows nothing of a kernel that was moved ([`AddressForm`]).
//!
//! Data that changes is in the file as it was when it was written, for debuggers that want some; they are
//! to read it live. What a kernel lacks is listed as
//! [`Warning`]s, and all else is there. Everything that the target says is hostile here too: tables have
//! limits, nothing recurses over types, and names are made printable.
//!
//! The crate does not know how the memory is reached, nor who reads the file.
//!
//! ```
//! use vread_linux::Kernel;
//! use vread_vmlinux::{AddressForm, Vmlinux, VmlinuxError};
//!
//! fn write_for_gdb(kernel: &Kernel) -> Result<Vec<u8>, VmlinuxError> {
//!     let mut file = Vec::new();
//!     for warning in Vmlinux::recover(kernel)?.write(AddressForm::RunTime, &mut file)? {
//!         eprintln!("{warning}");
//!     }
//!     Ok(file)
//! }
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        reason = "a test on input of our own making fails loudly"
    )
)]

mod dwarf;
mod elf;
mod error;
mod form;
pub mod known;
mod read;
mod sections;
mod symbols;
mod text;
mod ticks;
mod typed;
mod vmlinux;

pub use error::{VmlinuxError, Warning};
pub use form::AddressForm;
pub use known::written_type;
pub use vmlinux::Vmlinux;
