//! Linux's `iov_iter`: where bytes go, or come from, and how far they got.
//!
//! A reader brings its own buffer as an [`IovIter`]; whoever has the bytes pushes them in, and the
//! iterator moves by what arrived. (For a writer's buffer, out of which bytes come, there is
//! [`IovIterSource`].) Three ideas carry the crate:
//!
//! - A [`Destination`] is one segment of the reader's buffer. It can be written without faulting
//!   ([`Destination::copy_nofault`]) and it can be made resident ([`Destination::fault_in_writeable`]);
//!   the two never happen at once. A plain `&mut [u8]` wrapped in [`Plain`] is one that never fails.
//! - A [`PageSource`] is what holds the pages' bytes. It copies straight into the iterator's next
//!   segment, so that no bounce buffer stands between a page and the reader.
//! - A [`Progress`] comes back from every copy and tells content from made-up zeros, and the end of
//!   the work from a pause.
//!
//! The crate knows nothing of page tables, areas, files or signals; it is `no_std` and has no unsafe
//! code. Facts are cited by the ids of the behavioural specification (`I…`).
//!
//! ```
//! use vread_iov_iter::{IovIter, Plain};
//!
//! let (mut head, mut tail) = ([0_u8; 3], [0_u8; 5]);
//! let mut segments = [Plain::new(&mut head), Plain::new(&mut tail)];
//! let mut iter = IovIter::iovec(&mut segments);
//! assert_eq!(iter.copy_to_iter(b"kcore"), 5);
//! assert_eq!(iter.zero(usize::MAX), 3);
//! assert_eq!(iter.count(), 0);
//! assert_eq!((&head, &tail), (b"kco", b"re\0\0\0"));
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "scripted")]
extern crate alloc;

mod backing;
mod copy_from_iter;
mod copy_to_iter;
mod destination;
mod direction;
mod fail_usercopy;
mod iter;
mod page_source;
mod plain;
mod position;
mod progress;
#[cfg(feature = "scripted")]
pub mod scripted;
mod source;
mod walk;

pub use backing::{BioVec, FOLIOS_PER_BATCH, FolioBatch, IndexedFolio};
pub use copy_to_iter::NegativePosition;
pub use destination::Destination;
pub use direction::{IterDest, IterSource, Segment};
pub use fail_usercopy::{FailUsercopy, FaultAttr, FaultAttrError, FaultInjector};
pub use iter::{IovIter, IovIterDest, IovIterSource, MAX_RW_COUNT, TooManySegments, UIO_MAXIOV};
pub use page_source::PageSource;
pub use plain::{Plain, PlainSource};
pub use position::{IovIterState, RevertError};
pub use progress::{Progress, SourceFailure, Stop};
pub use source::Source;
pub use walk::{MAX_STALLED_TURNS, Piece};
