//! From a word on the command line to something with memory.
//!
//! The crate finds a target and the places where its memory lies. For a guest of QEMU all of that is
//! QEMU's own word, over QMP: nothing is guessed from the type of the machine, and nothing in the guest
//! has to help.
//!
//! It does not know how bytes are copied (that is `physmem`), what they mean (`linux`), nor who reads
//! them (the faces).
//!
//! ```
//! use std::ffi::OsStr;
//! use vread_targets::TargetWord;
//!
//! let word = TargetWord::parse(OsStr::new("qemu:/run/vm.sock"))?;
//! assert_eq!(word, TargetWord::QemuSocket("/run/vm.sock".into()));
//! # Ok::<(), vread_targets::TargetError>(())
//! ```
#![forbid(unsafe_code)]

mod area_line;
mod arena;
mod churn;
mod error;
mod guest;
mod info;
mod qemu;
mod session;
mod target;
mod view;
mod word;
mod words;

pub use area_line::AreaLine;
pub use error::TargetError;
pub use info::{KernelInfo, MissingInfo, QemuInfo, RamInfo, SegmentInfo, StepInfo, TargetInfo};
pub use qemu::{GuestRam, PauseEnd, Paused, QemuGuest, Sharing};
pub use session::Session;
pub use target::{Glance, OpenOptions, Target};
pub use view::View;
pub use vread_linux::ScanProgress;
pub use word::TargetWord;
