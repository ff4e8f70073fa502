//! A machine's physical memory as it lies.
//!
//! [`PhysMem`] has the RAM ranges of a target machine and copies bytes out of them: from the file that
//! holds the RAM, mapped into this process (a saved image, or the memory file or memfd of a running
//! VMM), or out of the VMM's own memory (`process_vm_readv`). It only ever reads.
//!
//! - A page that was never populated reads as zeros and stays unpopulated: looking at an idle machine
//!   does not make it bigger. (A page that the machine gives back while we know of it may come back, as a
//!   page of zeros, by one more small read, or by a large one within 20 ms.) Addresses that are not RAM read as zeros too, counted as
//!   [`zeroed`](vread_iov_iter::Progress::zeroed), in [`PageSource`](vread_iov_iter::PageSource);
//!   [`PhysMem::read`] refuses them.
//! - A VMM that has ended is [`SourceFailure::Gone`](vread_iov_iter::SourceFailure::Gone), also where
//!   its memory file would still give bytes. A file that became too short is
//!   [`SourceFailure::Truncated`](vread_iov_iter::SourceFailure::Truncated), never a signal.
//! - Any number of threads may read at once.
//!
//! Mapped memory is read through `vread_nofault`; call `vread_nofault::install` at the start of the
//! program, or each read costs a system call.
//!
//! The crate does not know what the bytes mean, and never trusts one of them.
//!
//! ```
//! use vread_addr::{ByteLen, FileOffset, PhysAddr, PhysRange};
//! use vread_physmem::PhysMem;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("ram");
//! # std::fs::write(&path, vec![7_u8; 0x3000])?;
//! let ram = PhysRange::from_len(PhysAddr::new(0x10_0000), ByteLen::new(0x3000))
//!     .ok_or("the range wraps")?;
//! let mem = PhysMem::from_file(&path, &[(ram, FileOffset::new(0))])?;
//! let mut bytes = [0; 4];
//! mem.read(PhysAddr::new(0x10_1000), &mut bytes)?;
//! assert_eq!(bytes, [7; 4]);
//! assert_eq!(mem.read_u64(PhysAddr::new(0x10_0000))?, 0x0707_0707_0707_0707);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backing_file;
mod error;
mod liveness;
mod loads;
mod mapped_ram;
mod mapping;
mod open;
mod pagemap;
mod pages;
mod phys_mem;
mod presence;
mod proc_maps;
mod process_ram;
mod region;
mod segments;
mod system_read;
mod zeros;

#[cfg(feature = "trace-reads")]
pub mod trace;

pub use error::{OpenError, ReadError};
pub use loads::{Loads, Record};
pub use phys_mem::{Access, AccessMode, PhysMem};
