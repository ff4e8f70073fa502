use rustix::io::Errno;
use thiserror::Error;
use vread_addr::{ByteLen, PageCount};
use vread_vmalloc::ArenaError;

/// Why there is no arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemfdError {
    /// The system gives no such range of addresses.
    #[error("{len} bytes of address space cannot be reserved: {errno}; ask for a smaller window")]
    Window {
        /// How many.
        len: ByteLen,
        /// Why.
        errno: Errno,
    },
    /// The system gives no such file.
    #[error(
        "a memfd of {frames:?} frames cannot be made and mapped: {errno}; ask for fewer frames"
    )]
    Frames {
        /// How many frames.
        frames: PageCount,
        /// Why.
        errno: Errno,
    },
    /// The arena refuses the window.
    #[error(transparent)]
    Arena(#[from] ArenaError),
}
