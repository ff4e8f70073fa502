//! Virtually contiguous areas, and reading them: Linux's `vread_iter`.
//!
//! Vmalloc space is a range of addresses in which areas lie, each followed by a guard page, with
//! nothing between them. [`vread_iter`] delivers any part of it: mapped pages as they are, and zeros
//! for all that is not there or must not be touched. It takes what it needs through two small traits:
//! [`VmapSpace`] (which area comes next, which pages are behind this address) and
//! [`PageSource`](vread_iov_iter::PageSource) (the bytes of those pages). A guest's kernel seen from
//! outside, somebody's own kernel and the [`Arena`] answer the same two questions.
//!
//! The [`Arena`] is vmalloc space of one's own, with Linux's rules: it allocates, maps, resizes and
//! frees areas while others read them. Its documentation has a running example.
//!
//! The crate knows nothing of page tables, guests, files or processes; it is `no_std` and has no
//! unsafe code. Facts are cited by the ids of the behavioural specification (`V…`, `R…`).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod area;
mod arena;
mod flags;
mod space;
mod vread_iter;

pub use area::{AreaContent, VmStruct, VmapArea};
pub use arena::{
    AreaGuard, Arena, ArenaError, FrameProvider, FreeFrames, HeapFrames, PMD_PAGES, VmallocInfo,
};
pub use flags::{VmFlags, VmapAreaFlags};
pub use space::{PageRun, VmapSpace};
pub use vread_iter::vread_iter;
