/// One segment of a writer's buffer, as long as [`len`](Source::len) says: the other direction of a
/// [`Destination`](crate::Destination).
///
/// In Linux this is a user address range behind `copy_from_user` and `fault_in_readable`. A request that
/// reaches beyond the segment's end is cut there.
pub trait Source {
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

    /// Copies the bytes from `at` on to `dst` without faulting a page in and without sleeping. Returns the
    /// bytes done; what follows in `dst` may be dirty.
    fn copy_from_nofault(&mut self, at: usize, dst: &mut [u8]) -> usize;

    /// Makes `[at, at + len)` resident and readable; may sleep. Returns the bytes *not* faulted in.
    fn fault_in_readable(&mut self, at: usize, len: usize) -> usize;
}
