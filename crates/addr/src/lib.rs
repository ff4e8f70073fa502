//! Addresses, lengths and half-open ranges that cannot be mixed up.
//!
//! Wrong numbers of the right type are the classic slip of this field: a position compared with a
//! length, a last byte stored as an end, a total added where a step was meant. The types here make
//! the compiler object. None of them has `+` or `-`: an address moves by a [`ByteLen`], checked, and
//! two addresses of one kind are a `ByteLen` apart.
//!
//! This crate knows nothing of pages' contents, page tables or files; it is `no_std` and has no
//! dependency.
//!
//! ```
//! use vread_addr::{ByteLen, VirtAddr, VirtRange};
//!
//! let text = VirtRange::from_len(VirtAddr::new(0xffff_ffff_8100_0000), ByteLen::new(0x20_0000))
//!     .ok_or("the range wraps")?;
//! let inside = text.start().checked_add(ByteLen::new(0x10)).ok_or("the address wraps")?;
//! assert!(text.contains(inside));
//! assert_eq!(inside.checked_offset_from(text.start()), Some(ByteLen::new(0x10)));
//! # Ok::<(), &str>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod address;
mod len;
mod page;
mod range;

pub use address::{Address, FileOffset, PhysAddr, VirtAddr};
pub use len::ByteLen;
pub use page::{PAGE_SHIFT, PAGE_SIZE, PageCount, Pfn};
pub use range::{AddrRange, FileRange, PhysRange, VirtRange};
