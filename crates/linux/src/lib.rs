//! What a Linux kernel's memory says about itself.
//!
//! [`Kernel::attach`] takes a machine's physical memory and finds its way from there: VMCOREINFO by a
//! scan of RAM, the page table and the load address from VMCOREINFO, the symbol table from there, the
//! types (BTF) and the moving bases through symbols, and where there are none, by what they look like in
//! the image. Everything comes out of the target's own memory; no debuginfo, no agent and no pause are
//! needed. What a kernel lacks is listed by
//! [`Kernel::missing`], and all that does not depend on it works.
//!
//! A [`Kernel`] then is what the rooms below ask for: a
//! [`VmapSpace`](vread_vmalloc::VmapSpace), a [`PageSource`](vread_iov_iter::PageSource) and a
//! [`KernelMemory`](vread_kcore::KernelMemory), so that
//! [`read_kcore_iter`](vread_kcore::read_kcore_iter) serves the guest's own `/proc/kcore`.
//!
//! This is where trust changes. Below, bytes are only bytes; everything the target says about itself is
//! taken as hostile here: copied first, checked then, with a limit on every list and table. What comes
//! out is checked types. The crate does not know how the memory is reached, nor who asks.
//!
//! ```
//! use vread_addr::{ByteLen, FileOffset, PhysAddr, PhysRange};
//! use vread_linux::{AttachError, Kernel};
//! use vread_physmem::PhysMem;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("ram");
//! # std::fs::write(&path, vec![0; 0x10_0000])?;
//! let ram = PhysRange::from_len(PhysAddr::new(0), ByteLen::new(0x10_0000)).ok_or("it wraps")?;
//! let mem = PhysMem::from_file(&path, &[(ram, FileOffset::new(0))])?;
//! match Kernel::attach(mem) {
//!     Ok(kernel) => {
//!         println!("{} after {:?}", kernel.release(), kernel.times().total());
//!         for line in kernel.vmallocinfo()? {
//!             println!("{line}");
//!         }
//!     }
//!     // As here, where the machine is blank.
//!     Err(AttachError::NotLinux { scanned }) => assert_eq!(scanned, ByteLen::new(0x10_0000)),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Facts are cited by the ids of the behavioural specification (`N…`, `G…`, `V…`, `E…`).
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        reason = "a test on forged input of our own fails loudly"
    )
)]

mod areas;
mod bases;
pub mod btf;
mod error;
mod fields;
#[cfg(test)]
mod forged;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod image;
pub mod kallsyms;
mod kernel;
mod linear;
mod list;
pub mod log;
pub mod memory;
pub mod modules;
pub mod mounts;
pub mod net;
mod page_table;
mod record;
mod symbol;
pub mod tasks;
pub mod typed;
mod virt_mem;
mod vmcoreinfo;

pub use areas::KnownArea;
pub use bases::Bases;
pub use btf::Btf;
pub use error::LinuxError;
pub use kallsyms::Kallsyms;
pub use kernel::{
    AreaCopy, AttachError, AttachOptions, AttachTimes, Caller, CpuPaging, CpuRegisters, FoundBy,
    Kernel, Missing, Symbols, VmallocKind, VmallocLine,
};
pub use page_table::{PageTable, PagingLevels};
pub use symbol::{Symbol, SymbolOffset};
pub use vmcoreinfo::{ScanProgress, VmCoreInfo};
