use crate::{IovIterSource, Source};

impl<S: Source> IovIterSource<'_, S> {
    /// Copies the buffer's next bytes to `dst`, faulting pages in where they are not resident. Returns the
    /// bytes done: fewer than asked for where the buffer ends or cannot be made resident. What follows in
    /// `dst` may be dirty.
    #[doc(alias = "_copy_from_iter")]
    pub fn copy_from_iter(&mut self, dst: &mut [u8]) -> usize {
        self.with_fault_in(
            dst.len(),
            |iter, done| iter.copy_from_iter_nofault(dst.get_mut(done..).unwrap_or_default()),
            Self::fault_in_readable,
        )
    }

    /// Copies the buffer's next bytes to `dst` without faulting pages in. Returns the bytes done.
    pub fn copy_from_iter_nofault(&mut self, dst: &mut [u8]) -> usize {
        self.walk(dst.len(), |piece| {
            let end = piece.done.saturating_add(piece.len);
            let dst = dst.get_mut(piece.done..end).unwrap_or_default();
            piece.segment.copy_from_nofault(piece.at, dst)
        })
    }

    /// Makes the next `len` bytes of the buffer resident and readable, without moving. Returns the bytes
    /// *not* faulted in, counted as in
    /// [`fault_in_writeable`](crate::IovIterDest::fault_in_writeable).
    #[doc(alias = "fault_in_iov_iter_readable")]
    pub fn fault_in_readable(&mut self, len: usize) -> usize {
        self.fault_in(len, S::fault_in_readable)
    }
}
