//! The arena's home on Linux: vmalloc space whose addresses are pointers.
//!
//! The pages of an area are frames of a memfd, from all over the file, mapped one after another into a
//! range that was reserved for the arena. Its first bytes can be used as any memory; the guard page behind
//! them traps; an area that grows moves, and its pages move with it, none of them copied; and what is
//! freed traps at once and reads as zeros through [`vread_iter`](vread_vmalloc::vread_iter), until another
//! area gets the addresses after a purge, with pages of zeros of its own.
//!
//! ```
//! use vread_addr::{ByteLen, PageCount};
//!
//! let arena = vread_vmap_memfd::arena(ByteLen::new(1 << 30), PageCount::new(64))?;
//! let area = arena.vmalloc(ByteLen::new(3 * 4096))?;
//! arena.write(area, b"kcore")?;
//! let pointer = arena.frames().as_ptr(area).ok_or("not in the window")?;
//! // SAFETY: the area has 12288 bytes and is freed by nobody else; nobody writes it meanwhile.
//! let bytes = unsafe { std::slice::from_raw_parts(pointer, 5) };
//! assert_eq!(bytes, b"kcore");
//! let area = arena.vrealloc(area, ByteLen::new(1 << 16))?;
//! arena.vfree(area)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate knows nothing of kernels and guests. A system limits how many pieces of files a process maps
//! (`vm.max_map_count`), and scattered pages are a piece each: an arena uses at most half of them, and says
//! so when an area would need more.

mod direct_map;
mod error;
mod frames;
mod pieces;
mod window;

pub use error::MemfdError;
pub use frames::MemfdFrames;

use vread_addr::{ByteLen, PageCount};
use vread_vmalloc::Arena;

/// An arena whose addresses are pointers.
pub type MemfdArena = Arena<MemfdFrames>;

/// An arena without areas: a window of `window` bytes, rounded up to pages, and `frames` frames, of which
/// memory is taken as they are used.
///
/// # Errors
///
/// [`MemfdError`] where the system refuses the address space or the file.
pub fn arena(window: ByteLen, frames: PageCount) -> Result<MemfdArena, MemfdError> {
    let frames = MemfdFrames::new(window, frames)?;
    Ok(Arena::new(frames.window(), frames)?)
}
