//! Linux's `/proc/kcore`: segments, the ELF image, and [`read_kcore_iter`].
//!
//! A [`KcoreImage`] says which byte of the file is which byte of kernel memory. It comes in two
//! layouts: as `/proc/kcore` itself has it ([`KcoreImage::kcore`], file offsets that follow the virtual
//! addresses), and as a dump has it ([`KcoreImage::vmcore`], text and RAM only, one after another).
//! [`read_kcore_iter`] serves both: it copies the header, and for the data asks a [`KernelMemory`].
//!
//! ```
//! use vread_addr::{ByteLen, PageCount, VirtAddr, VirtRange};
//! use vread_iov_iter::{IovIter, Plain};
//! use vread_kcore::{
//!     ElfMachine, KcoreImage, OffsetRule, ReadOptions, arena_segments, read_kcore_iter,
//! };
//! use vread_vmalloc::{Arena, HeapFrames};
//!
//! let window = VirtRange::from_len(VirtAddr::new(0xffff_c900_0000_0000), ByteLen::new(1 << 30))
//!     .ok_or("the window wraps")?;
//! let arena: Arena<HeapFrames> = Arena::new(window, HeapFrames::new(PageCount::new(16)))?;
//! let area = arena.vmalloc(ByteLen::new(5))?;
//! arena.write(area, b"kcore")?;
//!
//! let (rule, segments) = (OffsetRule::X86_64_4_LEVEL, arena_segments(&arena));
//! let image = KcoreImage::kcore(ElfMachine::X86_64, rule, &segments, &[])?;
//! let mut buffer = [0; 5];
//! let mut segment = Plain::new(&mut buffer);
//! let mut iter = IovIter::ubuf(&mut segment);
//! let at = image.offset_of(area).ok_or("no segment holds the area")?;
//! let progress = read_kcore_iter(&image, &arena, &mut iter, at, ReadOptions::default())?;
//! assert_eq!(progress.copied, ByteLen::new(5));
//! assert_eq!(&buffer, b"kcore");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To give a kernel of one's own a `kcore`, follow `examples/tiny_kernel.rs`: its user copy, its page
//! table and its memory behind the traits, without std.
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
mod prstatus;
mod read_kcore_iter;
mod segment;

pub use arena::arena_segments;
pub use elf::ElfMachine;
pub use error::KcoreError;
pub use image::{KcoreImage, Place, PlacedSegment};
pub use memory::KernelMemory;
pub use note::{NT_PRPSINFO, NT_PRSTATUS, NT_TASKSTRUCT, NT_VMCOREINFO, Note};
pub use offsets::OffsetRule;
pub use prstatus::X86_64Registers;
pub use read_kcore_iter::{CADENCE, EndOfFile, ReadOptions, read_kcore_iter};
pub use segment::{KcoreSegment, SegmentKind};
pub use vread_iov_iter::MAX_STALLED_TURNS;
