use thiserror::Error;
use vread_addr::{ByteLen, PageCount, Pfn, VirtAddr, VirtRange};
use vread_iov_iter::SourceFailure;

/// Why an [`Arena`](crate::Arena) refused. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// The window cannot hold areas.
    #[error("an arena cannot lie in {window:?}: both ends must be page aligned and start above 0")]
    Window {
        /// The window asked for.
        window: VirtRange,
    },
    /// An area of no bytes (`EINVAL`, V13).
    #[error("an area of 0 bytes was asked for; the least is 1")]
    ZeroSize,
    /// An area that no window could hold.
    #[error("an area of {size} bytes does not fit a window of {window:?}")]
    TooLarge {
        /// The size asked for.
        size: ByteLen,
        /// The window.
        window: VirtRange,
    },
    /// An alignment that is no power of two, or below a page (`EINVAL`, V13).
    #[error("an alignment of {align} is not a power of two of at least a page (0x1000)")]
    Alignment {
        /// The alignment asked for.
        align: ByteLen,
    },
    /// An address that must be page aligned is not.
    #[error("{addr} is not page aligned")]
    Unaligned {
        /// The address.
        addr: VirtAddr,
    },
    /// There is no room left, also after purging (`EBUSY`, V15).
    #[error(
        "no {size} free bytes aligned to {align} are left in {within:?}; free some areas first"
    )]
    NoSpace {
        /// The size looked for, with the guard page.
        size: ByteLen,
        /// The alignment.
        align: ByteLen,
        /// Where it was looked for.
        within: VirtRange,
    },
    /// Too few frames (`ENOMEM`).
    #[error(
        "{needed:?} frames are needed and the provider of {total:?} has no more; free some areas first"
    )]
    OutOfFrames {
        /// How many the request needs.
        needed: PageCount,
        /// How many there are in all, taken or not.
        total: PageCount,
    },
    /// No area starts there.
    #[error("no area starts at {addr}; it was freed already, or never allocated")]
    NotAnArea {
        /// The address.
        addr: VirtAddr,
    },
    /// The address lies inside an area, and its start is wanted.
    #[error("{addr} lies inside the area that starts at {start}; name its start")]
    InsideArea {
        /// The address.
        addr: VirtAddr,
        /// The start of the area.
        start: VirtAddr,
    },
    /// The area is of another kind.
    #[error("the area at {addr} was made by {made_by}, which {call} does not handle")]
    WrongKind {
        /// The start of the area.
        addr: VirtAddr,
        /// The function that makes such areas.
        made_by: &'static str,
        /// The function that was called.
        call: &'static str,
    },
    /// The bytes are not all of one area.
    #[error("the {len} bytes at {addr} do not lie in the usable part of one area")]
    OutOfArea {
        /// The first byte.
        addr: VirtAddr,
        /// How many.
        len: ByteLen,
    },
    /// There is a page already.
    #[error("a page is mapped at {addr} already; unmap it first")]
    AlreadyMapped {
        /// The address.
        addr: VirtAddr,
    },
    /// There is no page.
    #[error("no page is mapped at {addr}")]
    NotMapped {
        /// The address.
        addr: VirtAddr,
    },
    /// A frame with a number that no physical address can have.
    #[error("{frame:?} lies beyond the 64-bit physical space")]
    Frame {
        /// The frame.
        frame: Pfn,
    },
    /// The provider of frames cannot map them where the area lies.
    #[error("the pages of the area at {addr} cannot be mapped: {failure}")]
    Map {
        /// The start of the area.
        addr: VirtAddr,
        /// Why.
        failure: SourceFailure,
    },
    /// The provider of frames failed.
    #[error("the frame behind {addr} cannot be written: {failure}")]
    Source {
        /// The address.
        addr: VirtAddr,
        /// Why.
        failure: SourceFailure,
    },
}
