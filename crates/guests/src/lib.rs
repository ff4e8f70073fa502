//! Boots test guests: real Debian kernels in QEMU, and a helper inside that tells the truth.
//!
//! A test boots a [`Guest`] from a [`GuestConfig`], points vread at its process or its QMP socket,
//! and compares what vread reads from outside with what the guest's own kernel says from inside
//! (`/proc/kcore`, `/proc/kallsyms`, `/proc/vmallocinfo`, …), asked for with the guest's methods.
//!
//! Kernels come from the machine's own Debian mirror, are resolved to the newest version once a
//! day, and are kept in `.cache/` of the workspace; with a warm cache nothing needs the network.
//! What must be installed on the host is installed by [`ensure_packages`], which says so.
//!
//! It knows nothing about vread: the product's crates use it in their tests, never the other way.
//!
//! ```no_run
//! use vread_guests::{FileRange, Guest, GuestConfig, KernelRelease};
//!
//! # fn main() -> Result<(), vread_guests::GuestError> {
//! let guest = Guest::boot(&GuestConfig::new(KernelRelease::V6_12))?;
//! println!("QEMU {} answers at {}", guest.pid(), guest.qmp_path().display());
//! let header = guest.read_at("/proc/kcore", FileRange { offset: 0, len: 64 })?;
//! assert_eq!(header[..4], *b"\x7fELF");
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "runs in tests on guests of our own making, never in the product"
)]

mod apt;
mod bare_machine;
mod cache;
mod config;
mod debug_vmlinux;
mod error;
mod guest;
mod init_program;
mod initramfs;
mod kcore;
mod kernel;
mod machine;
mod mirror;
mod modules;
mod packages;
mod poll;
mod program;
mod python;
mod qmp;
mod runtime;
mod shared;
mod shipped;
mod unpacked;
mod vmallocinfo;
mod wire;

pub use bare_machine::BareMachine;
pub use config::{Backend, GuestConfig, Kaslr};
pub use debug_vmlinux::{DebugFiles, ensure_debug_files, ensure_debug_vmlinux};
pub use error::GuestError;
pub use guest::{BpfMap, Guest};
pub use kcore::GuestKcoreSegment;
pub use kernel::{Kernel, KernelRelease};
pub use packages::ensure_packages;
pub use poll::wait_until;
pub use python::{ensure_drgn, ensure_volatility};
pub use qmp::QmpClient;
pub use shared::SharedGuest;
pub use unpacked::UnpackedPackage;
pub use vmallocinfo::VmallocInfoLine;
pub use vread_guest_helper::digest::{self, Chunk};
pub use vread_guest_helper::pattern;
pub use vread_guest_helper::protocol::{FileRange, Hello, Output, RangeHash, Storm, StormReport};
pub use vread_guest_helper::random::Random;
