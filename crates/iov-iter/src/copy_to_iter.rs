use core::fmt;

use crate::{Destination, IovIterDest};

/// A position that no file has: below its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NegativePosition {
    /// The position.
    pub at: i64,
}

impl fmt::Display for NegativePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "position {} lies before the start; read from 0 on",
            self.at
        )
    }
}

impl core::error::Error for NegativePosition {}

impl<D: Destination> IovIterDest<'_, D> {
    /// Copies `src` into the buffer, faulting pages in where they are not resident. Returns the bytes
    /// done: fewer than asked for where the buffer ends or cannot be made resident (I21, I22).
    #[doc(alias = "_copy_to_iter")]
    pub fn copy_to_iter(&mut self, src: &[u8]) -> usize {
        self.with_fault_in(
            src.len(),
            |iter, done| iter.copy_to_iter_nofault(src.get(done..).unwrap_or_default()),
            Self::fault_in_writeable,
        )
    }

    /// Copies `src` into the buffer without faulting pages in. Returns the bytes done.
    pub fn copy_to_iter_nofault(&mut self, src: &[u8]) -> usize {
        self.walk(src.len(), |piece| {
            let end = piece.done.saturating_add(piece.len);
            let src = src.get(piece.done..end).unwrap_or_default();
            piece.segment.copy_nofault(piece.at, src)
        })
    }

    /// Writes `len` zeros, faulting pages in where they are not resident. Returns the bytes done (I27).
    #[doc(alias = "iov_iter_zero")]
    pub fn zero(&mut self, len: usize) -> usize {
        let len = len.min(self.count());
        self.with_fault_in(
            len,
            |iter, done| iter.zero_nofault(len.saturating_sub(done)),
            Self::fault_in_writeable,
        )
    }

    /// Writes `len` zeros without faulting pages in and without sleeping. Returns the bytes done (R20).
    pub fn zero_nofault(&mut self, len: usize) -> usize {
        self.walk(len, |piece| piece.segment.zero_nofault(piece.at, piece.len))
    }

    /// Makes the next `len` bytes of the buffer resident and writeable, without moving and without
    /// changing them. Returns the bytes *not* faulted in (I33): what lies beyond
    /// [`count`](Self::count) cannot be (I35), and the first segment with a shortfall ends the work
    /// (I36). Memory that is not a user's is always resident (I34).
    #[doc(alias = "fault_in_iov_iter_writeable")]
    pub fn fault_in_writeable(&mut self, len: usize) -> usize {
        self.fault_in(len, D::fault_in_writeable)
    }

    /// Serves a read at `at` of a file that holds `contents`, and moves `at` by what arrived: fewer bytes
    /// than the buffer takes at the file's end, none beyond it (I42).
    ///
    /// # Errors
    ///
    /// [`NegativePosition`]; nothing moves then.
    #[doc(alias = "simple_copy_to_iter")]
    pub fn simple_read_from_buffer(
        &mut self,
        at: &mut i64,
        contents: &[u8],
    ) -> Result<usize, NegativePosition> {
        let Ok(from) = u64::try_from(*at) else {
            return Err(NegativePosition { at: *at });
        };
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let done = self.copy_to_iter(contents.get(from..).unwrap_or_default());
        // What was copied lies inside a slice, so that its end is a position.
        *at = at.saturating_add_unsigned(u64::try_from(done).unwrap_or(u64::MAX));
        Ok(done)
    }
}
