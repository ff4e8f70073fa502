use std::io;
use std::path::PathBuf;

/// Why a debug file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The file cannot be opened.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no ELF file, or a broken one.
    #[error("{}: {source}", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: object::Error,
    },
    /// Its DWARF is broken.
    #[error("{}: {source}", path.display())]
    Dwarf {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: gimli::Error,
    },
}
