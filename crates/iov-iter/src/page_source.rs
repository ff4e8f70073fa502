use vread_addr::{ByteLen, PAGE_SIZE, Pfn, PhysAddr};

use crate::{Destination, IovIter, Progress};

/// What holds the bytes of physical pages, and can copy them into destinations of kind `D`.
///
/// The pair (source, destination) is one type on purpose: a source that lies in foreign memory may
/// not lend it as a slice, so it must itself know how to write a `D`.
pub trait PageSource<D: Destination> {
    /// Copies up to `len` bytes that lie one after another from physical address `start` into `iter`,
    /// without faulting the destination in and without sleeping.
    ///
    /// Physical addresses that hold no memory give zeros, counted in [`Progress::zeroed`]. Stops short
    /// only for the reasons of [`Stop`](crate::Stop), or where `iter` is full.
    ///
    /// Linux copies one page at a time (`copy_page_to_iter_nofault`); we take the whole run that a
    /// page table leaf describes, since a 2 MiB leaf is one copy and not 512.
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress;

    /// Copies `len` bytes from byte `offset` of the frame `page`, as Linux's function of that name
    /// does: a request that leaves the page is refused whole (I29), and nothing moves.
    #[doc(alias = "copy_page_to_iter")]
    fn copy_page_to_iter_nofault(
        &self,
        page: Pfn,
        offset: ByteLen,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        let sane = offset.checked_add(len).is_some_and(|end| end <= PAGE_SIZE);
        match page
            .checked_start()
            .and_then(|start| start.checked_add(offset))
        {
            Some(start) if sane => self.copy_run_to_iter_nofault(start, len, iter),
            _ => Progress::default(),
        }
    }
}
