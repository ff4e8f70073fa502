//! Vmap areas: which parts of vmalloc space are in use (G50 to G54).

mod again;
#[cfg(test)]
pub(crate) mod forge;
mod freed;
mod hint;
mod layout;
mod walk;

pub(crate) use freed::lazily_freed;
pub(crate) use hint::{AreaHints, Hint, SortedAreas};
pub(crate) use layout::AreaLayout;
pub(crate) use walk::AreaReader;
pub use walk::KnownArea;
