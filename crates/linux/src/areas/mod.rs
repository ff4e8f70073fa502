//! Vmap areas: which parts of vmalloc space are in use (G50 to G54).

mod again;
#[cfg(test)]
pub(crate) mod forge;
mod hint;
mod layout;
mod walk;

pub(crate) use hint::{AreaHints, SortedAreas};
pub(crate) use layout::AreaLayout;
pub use walk::KnownArea;
pub(crate) use walk::{AreaReader, lazily_freed};
