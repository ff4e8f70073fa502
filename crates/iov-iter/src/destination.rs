/// One segment of a reader's buffer, as long as [`len`](Destination::len) says.
///
/// In Linux this is a user address range behind `copy_to_user`, `copy_to_user_nofault` and
/// `fault_in_safe_writeable`. Positions `at` are byte offsets inside the segment; a request that
/// reaches beyond its end is cut there.
///
/// Unlike Linux's steps, which return the bytes *not* done (I13), and unlike its nofault step, which
/// counts a partly written piece as not done at all (I23), every writing method returns the bytes
/// that were done, exact to the byte: all before that number are written, and what follows may be
/// dirty (I25). A caller that resumes there is right under both contracts.
pub trait Destination {
    /// The length of the segment in bytes; it never changes.
    fn len(&self) -> usize;

    /// Whether the segment has no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far the first byte lies behind the start of its page, for those who count pages
    /// ([`npages`](crate::IovIter::npages)).
    fn offset_in_page(&self) -> usize {
        0
    }

    /// Copies `src` to `at` without faulting a page in and without sleeping. Returns the bytes done.
    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize;

    /// Writes `len` zeros at `at` without faulting a page in and without sleeping. Returns the bytes
    /// done. (Linux copies from a page of zeros for want of such a primitive, R20.)
    fn zero_nofault(&mut self, at: usize, len: usize) -> usize;

    /// Makes `[at, at + len)` resident and writeable without changing its content; may sleep.
    ///
    /// Returns the bytes *not* faulted in: 0 is full success (I33). Nothing is pinned: the pages may be
    /// gone before the next instruction (I38). What lies past the segment's end is not faulted in (I35).
    fn fault_in_writeable(&mut self, at: usize, len: usize) -> usize;
}
