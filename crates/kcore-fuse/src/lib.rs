//! The mount: live images of kernel memory as files.
//!
//! [`Mounted::mount`] serves a table of [`ServedFile`]s at a folder, for the mounting user alone. What
//! debuggers need of such a file decides its manners:
//!
//! - mode 0400, the folder 0500, owner the mounting user; opening for writing fails;
//! - reads of [`Content::Live`] bypass the page cache (`FOPEN_DIRECT_IO`), so that each one looks anew;
//! - its `st_blksize` is 8, since stdio keeps that many bytes and gdb would show stale ones for ever;
//! - `st_size` is the end of the last segment, never 0, since libelf believes it;
//! - one request carries up to 1 MiB, and several threads serve;
//! - each open gets an image of its own, with a header of that moment.
//!
//! A read of a source that is gone is `EIO`, said once in words through
//! [`MountOptions::on_failure`]; a hole is zeros. The crate does not know what it serves.
//!
//! `fuser` does not hand on `FUSE_INTERRUPT`: a reader that is killed waits for the request that is
//! under way, at most 1 MiB.
//!
//! ```no_run
//! use std::{error::Error, path::Path};
//! use vread_addr::{ByteLen, FileOffset};
//! use vread_iov_iter::{IovIter, Progress};
//! use vread_kcore_fuse::{MountOptions, Mounted, OpenFile, ServedFile};
//! use vread_nofault::UserBuf;
//!
//! #[derive(Debug, Clone, Copy)]
//! struct Text(&'static [u8]);
//!
//! impl ServedFile for Text {
//!     fn name(&self) -> &str {
//!         "kcore"
//!     }
//!     fn size(&self) -> ByteLen {
//!         ByteLen::from_usize(self.0.len())
//!     }
//!     fn open(&self) -> Result<Box<dyn OpenFile>, Box<dyn Error + Send + Sync>> {
//!         Ok(Box::new(*self))
//!     }
//! }
//!
//! impl OpenFile for Text {
//!     fn read_at(&self, at: FileOffset, iter: &mut IovIter<'_, UserBuf<'_>>) -> Progress {
//!         let from = usize::try_from(at.get()).unwrap_or(usize::MAX);
//!         let rest = self.0.get(from..).unwrap_or_default();
//!         Progress::copied(ByteLen::from_usize(iter.copy_to_iter(rest)))
//!     }
//! }
//!
//! let options = MountOptions {
//!     on_failure: Box::new(|words| eprintln!("{words}")),
//! };
//! let mounted = Mounted::mount(vec![Box::new(Text(b"a core"))], Path::new("/mnt/vm"), options)?;
//! mounted.wait()?; // until `fusermount3 -u /mnt/vm`
//! # Ok::<(), vread_kcore_fuse::MountError>(())
//! ```
#![forbid(unsafe_code)]

mod detach;
mod error;
mod filesystem;
mod mount_point;
mod mounted;
mod served_file;

pub use error::MountError;
pub use mounted::{MountOptions, Mounted, Unmounter};
pub use served_file::{Content, OpenFile, ServedFile};

/// What `/proc/self/mountinfo` shows as the source of our mounts; it is how we know them again.
pub(crate) const SOURCE: &str = "vread";

/// The most bytes that one request carries.
pub const MAX_READ: u32 = 1 << 20;
