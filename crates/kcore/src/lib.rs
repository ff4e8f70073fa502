//! Linux's `/proc/kcore`: segments, the ELF image, and [`read_kcore_iter`].
//!
//! A [`KcoreImage`] says which byte of the file is which byte of kernel memory. It comes in two
//! layouts: as `/proc/kcore` itself has it ([`KcoreImage::kcore`], file offsets that follow the virtual
//! addresses), and as a dump has it ([`KcoreImage::vmcore`], text and RAM only, one after another).
//! [`read_kcore_iter`] serves both: it copies the header, and for the data asks a [`KernelMemory`].
//!
//! The crate knows nothing of guests, files or processes; it is `no_std` and has no unsafe code. Facts
//! are cited by the ids of the behavioural specification (`K…`, `E…`).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod arena;
mod elf;
mod error;
mod image;
mod memory;
mod note;
mod offsets;
mod read_kcore_iter;
mod segment;

pub use arena::arena_segments;
pub use elf::ElfMachine;
pub use error::KcoreError;
pub use image::{KcoreImage, Place, PlacedSegment};
pub use memory::KernelMemory;
pub use note::{NT_PRPSINFO, NT_PRSTATUS, NT_TASKSTRUCT, NT_VMCOREINFO, Note};
pub use offsets::OffsetRule;
pub use read_kcore_iter::{CADENCE, EndOfFile, ReadOptions, read_kcore_iter};
pub use segment::{KcoreSegment, SegmentKind};
pub use vread_iov_iter::MAX_STALLED_TURNS;
