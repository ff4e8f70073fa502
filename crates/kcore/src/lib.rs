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
//! # A `kcore` for a kernel of one's own
//!
//! `examples/tiny_kernel.rs` is all of the glue, without std, for a kernel with one page table and a list of
//! areas; read it beside these steps. Each trait is what one part of a kernel has anyway:
//!
//! 1. **The user copy** is a [`Destination`](vread_iov_iter::Destination) (`UserRange` there). Its
//!    `copy_nofault` and `zero_nofault` are the copy with page faults disabled, and return how far they got;
//!    `fault_in_writeable` asks the process's memory map for the pages, and returns what it could *not* have.
//! 2. **The bytes of a page** are a [`PageSource`](vread_iov_iter::PageSource): a run of physical memory goes
//!    straight into the reader's segment. Physical memory that is not there is zeros, and counted as such.
//! 3. **Areas and page tables** are a [`VmapSpace`](vread_vmalloc::VmapSpace):
//!    `find_vmap_area_exceed_addr_lock` finds the first area that ends above an address and returns it
//!    under a lock that keeps it from being freed; `vmalloc_to_run` walks the page table. A kernel without
//!    areas of its own takes the [`Arena`](vread_vmalloc::Arena), for which both are written.
//! 4. **The memory as a whole** is a [`KernelMemory`]: it sends vmalloc space to
//!    [`vread_iter`](vread_vmalloc::vread_iter) and everything else to the direct map. Its
//!    [`cond_resched`](KernelMemory::cond_resched) comes with nothing held: the place to reschedule, and to let
//!    those in who take pages offline.
//! 5. **Opening the file** lays out a [`KcoreImage`] of the segments of that moment (`TinyKernel::kcore`). Memory
//!    that is plugged in later shows at the next open, and what is open keeps its layout.
//! 6. **Reading it** makes an [`IovIter`](vread_iov_iter::IovIter) of the user's segments and calls
//!    [`read_kcore_iter`] (`TinyKernel::read`). A [`Stop::DestFault`](vread_iov_iter::Stop::DestFault) is the
//!    reader's `EFAULT`; what arrived before it is in the buffer and in the [`Progress`].
//!
//! [`Progress`]: vread_iov_iter::Progress
//!
//! `embed-check` builds that example into a program with a panic handler and an allocator of its own, as a
//! kernel has them: it would not build if anything below needed std.
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
