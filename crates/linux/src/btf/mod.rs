//! BTF: the kernel's own description of its types (G40, G41).
//!
//! Ours and small, because the crates that exist do not fit: `btf-rs` is LGPL, and `btf` builds a tree
//! of owned types without the bounds that a hostile target asks for.

mod error;
mod member;
mod parse;

pub use error::BtfError;
pub use member::Member;
pub(crate) use parse::MAX_BTF_LEN;
pub use parse::{Btf, BtfKind, TypeId};
