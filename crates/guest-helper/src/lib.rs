//! What a test guest and the test on the host must agree on.
//!
//! The binary of this package is `/init` of a test guest. It answers questions about its own kernel
//! over a serial wire, so that a test can compare what vread reads from outside with what the
//! kernel says from inside. This library is the shared part, used on both ends:
//!
//! - [`protocol`]: requests, replies and how they lie on the wire;
//! - [`digest`]: 64-bit hashes, so that megabytes need not cross the wire;
//! - [`pattern`]: words that both ends can make from a seed.
//!
//! It knows nothing about vread, QEMU or how a guest is started.
//!
//! ```
//! use vread_guest_helper::{digest, pattern};
//!
//! let mut page = [0; 4096];
//! pattern::fill(7, 0, &mut page);
//! assert_eq!(page[..8], pattern::word(7, 0).to_le_bytes());
//! assert!(!digest::is_all_zero(&page));
//! ```
#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "runs in test guests and tests only, never on data of a foreign kernel"
)]

pub mod digest;
pub mod pattern;
pub mod protocol;
pub mod random;
