//! BTF: the kernel's own description of its types (G40, G41).
//!
//! Ours and small, because the crates that exist do not fit: `btf-rs` is LGPL, and `btf` 0.5 copies
//! every name and flattens every type before its first answer: 216 ms for the types of 6.12, of which
//! some twenty are asked for, where this takes 8 ms.

mod error;
mod member;
mod parse;
mod search;
mod shape;

pub use error::BtfError;
pub use member::Member;
pub(crate) use parse::MAX_BTF_LEN;
#[cfg(test)]
pub(crate) use parse::forge;
pub use parse::{Btf, BtfKind, Name, TypeId};
pub(crate) use search::search;
pub use shape::{
    BtfType, CompositeKind, CompositeMember, Elements, Enumerator, IntEncoding, Parameter,
    PlacedVariable, Qualifier, Shape, Sign,
};
