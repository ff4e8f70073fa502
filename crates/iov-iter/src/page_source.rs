use vread_addr::{ByteLen, PAGE_SIZE, Pfn, PhysAddr, PhysRange};

use crate::{Destination, IovIter, MAX_STALLED_TURNS, Progress, Stop};

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

    /// The frames of the compound page (or folio) that `page` belongs to: `page` alone, where there are no
    /// such.
    fn compound_range(&self, page: Pfn) -> Option<PhysRange> {
        PhysRange::from_len(page.checked_start()?, PAGE_SIZE)
    }

    /// Copies `len` bytes from byte `offset` of the frame `page`, as Linux's function of that name
    /// does, without faulting the destination in. A request that leaves the page is refused whole, unless
    /// the bytes lie inside the compound page that `page` belongs to (I29); nothing moves then.
    #[doc(alias = "copy_page_to_iter")]
    fn copy_page_to_iter_nofault(
        &self,
        page: Pfn,
        offset: ByteLen,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        match self.bytes_of_page(page, offset, len) {
            Some(start) => self.copy_run_to_iter_nofault(start, len, iter),
            None => Progress::default(),
        }
    }

    /// As [`copy_page_to_iter_nofault`](Self::copy_page_to_iter_nofault), faulting the destination in where it
    /// refuses; may sleep, so that nothing may be held.
    ///
    /// Gives up where not even the next byte can be had, and after [`MAX_STALLED_TURNS`] turns in a row that
    /// moved nothing.
    fn copy_page_to_iter(
        &self,
        page: Pfn,
        offset: ByteLen,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        let Some(start) = self.bytes_of_page(page, offset, len) else {
            return Progress::default();
        };
        let mut total = Progress::default();
        let mut stalled = 0_u32;
        loop {
            // WRAP: not beyond the end of the request, which was checked.
            let next = start.wrapping_add(total.advanced());
            let left = len.saturating_sub(total.advanced());
            let step = self.copy_run_to_iter_nofault(next, left, iter);
            total = total.then(step);
            stalled = match step.advanced() {
                ByteLen::ZERO => stalled.saturating_add(1),
                _ => 0,
            };
            let left = left.saturating_sub(step.advanced()).to_usize_clamped();
            let refused = step.stopped == Some(Stop::DestFault) && iter.is_user_backed();
            if !refused || stalled >= MAX_STALLED_TURNS || iter.fault_in_writeable(left) >= left {
                return total;
            }
        }
    }

    /// The physical address of byte `offset` of `page`, if the `len` bytes from there on lie on one page, or
    /// inside its compound page: Linux's `page_copy_sane` (I29).
    fn bytes_of_page(&self, page: Pfn, offset: ByteLen, len: ByteLen) -> Option<PhysAddr> {
        let start = page.checked_start()?.checked_add(offset)?;
        if offset.checked_add(len)? > PAGE_SIZE {
            let compound = self.compound_range(page)?;
            let end = start.checked_add(len)?;
            return (end <= compound.end()).then_some(start);
        }
        Some(start)
    }
}
