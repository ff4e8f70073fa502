//! The copy that stops at a fault instead of dying.
//!
//! Memory that another party owns can vanish under a copy: a mapped file is truncated, a reader's
//! buffer is unmapped. A plain `memcpy` dies of it; [`copy_foreign`] stops, and tells how many bytes
//! were done, exact to the byte, and which side refused. [`UserBuf`] is a reader's buffer written
//! that way: the [`Destination`](vread_iov_iter::Destination) of every std crate of vread. [`UserSource`]
//! is the other direction.
//!
//! # Backends
//!
//! - [`Backend::SignalHandler`]: the copy runs at full speed in a few marked instructions; a handler
//!   for `SIGSEGV` and `SIGBUS` recognises a fault in one of them and lets the copy return. A handler
//!   belongs to the whole process, so it is there only after an explicit call of [`install`].
//! - [`Backend::ProcessVm`]: the kernel copies (`process_vm_readv` on ourselves) and reports the fault.
//!   A system call for each copy, and no handler: for hosts that forbid one, for architectures other
//!   than x86_64, and for everybody who has not called [`install`]. Nothing is unsafe for want of it.
//!
//! # What is guaranteed with the handler, and what is not
//!
//! - Every fault that is not in one of our instructions goes to the handler that was there before,
//!   as if ours were not; that includes Rust's own, which reports a stack overflow.
//! - A handler that somebody installs *after* ours and that does not chain takes our faults away, and
//!   the process dies of the next one. [`handler_is_current`] tells.
//! - A thread that blocks `SIGSEGV` or `SIGBUS` dies of a fault in any handler's place: Linux does not
//!   wait for a blocked signal then. Such threads want [`Backend::ProcessVm`].
//! - "Nofault" means: never dies. As in every user program, the kernel still makes resident what it
//!   can, and may sleep for it.
//!
//! ```
//! use vread_iov_iter::IovIter;
//! use vread_nofault::UserBuf;
//!
//! vread_nofault::install()?;
//! let mut bytes = [0xff_u8; 8];
//! let mut segment = UserBuf::new(&mut bytes);
//! let mut iter = IovIter::ubuf(&mut segment);
//! assert_eq!(iter.copy_to_iter_nofault(b"kcore"), 5);
//! assert_eq!(iter.zero_nofault(usize::MAX), 3);
//! assert_eq!(&bytes, b"kcore\0\0\0");
//! # Ok::<(), vread_nofault::InstallError>(())
//! ```

mod backend;
#[cfg(feature = "fail-usercopy")]
pub mod fail_usercopy;
mod fault_in;
#[cfg(target_arch = "x86_64")]
mod handler;
mod outcome;
mod raw;
mod self_vm;
mod user_buf;
mod user_source;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use backend::{Backend, Handlers, InstallError, backend, handler_is_current, install, select};
pub use fault_in::{fault_in_readable, fault_in_writeable};
pub use outcome::{CopyOutcome, Fault};
pub use raw::{copy_foreign, copy_foreign_to_iter, load_u64, load_u64_with, zero_foreign};
pub use user_buf::UserBuf;
pub use user_source::UserSource;
