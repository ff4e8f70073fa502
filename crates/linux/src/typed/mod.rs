//! Values by their types: a place in the target's memory, seen as one of the kernel's own types, and the
//! paths that lead from one to another, as C writes them.

mod error;
mod eval;
mod expression;
mod show;
mod spelling;
mod types;

pub use error::TypedError;
pub use eval::Value;
pub use expression::{Base, Expression, GrammarError, Step};
pub use show::{Label, Leaf, Piece, Shown};
pub use spelling::spelled_by_compilers;
pub use types::Type;
