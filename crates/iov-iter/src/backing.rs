use vread_addr::PAGE_SIZE;

use crate::Segment;

/// How many folios a [`FolioBatch`] has room for, as in Linux.
pub const FOLIOS_PER_BATCH: usize = 31;

/// Bytes in a page, and the pages' borders, at which pieces of page-backed kinds end (I14).
pub(crate) const PAGE: usize = {
    const BYTES: u64 = PAGE_SIZE.get();
    #[expect(
        clippy::as_conversions,
        reason = "4096, and no conversion of traits in a constant"
    )]
    let page = BYTES as usize;
    page
};

/// What an iterator's segments are: the kinds of Linux's `enum iter_type`.
pub(crate) enum Backing<'a, M> {
    Ubuf(&'a mut M),
    Iovec(&'a mut [M]),
    Kvec(&'a mut [M]),
    Bvec(&'a mut [BioVec<M>]),
    Folioq(&'a mut [FolioBatch<M>]),
    Xarray {
        folios: &'a mut [IndexedFolio<M>],
        start: u64,
    },
    Discard,
}

/// Bytes on one page, or on several that lie one after another: Linux's `struct bio_vec`.
#[derive(Debug)]
pub struct BioVec<M> {
    pub(crate) pages: M,
    pub(crate) offset: usize,
    len: usize,
}

impl<M> BioVec<M> {
    /// The `len` bytes from byte `offset` of `pages`, which begin with a page. What lies beyond their end
    /// is not part of it.
    pub fn new(pages: M, offset: usize, len: usize) -> Self {
        Self { pages, offset, len }
    }

    pub(crate) fn byte_len<Dir>(&self) -> usize
    where
        M: Segment<Dir>,
    {
        let room = self.pages.byte_len().saturating_sub(self.offset);
        self.len.min(room)
    }
}

/// Folios one after another, up to the first slot that has none: Linux's `struct folio_queue`.
///
/// In Linux a queue is a linked list of batches; here it is a slice of them.
#[derive(Debug)]
pub struct FolioBatch<M> {
    slots: [Option<M>; FOLIOS_PER_BATCH],
}

impl<M> FolioBatch<M> {
    /// The folios of these slots, each as long as it is; an empty slot ends every walk (I3).
    pub fn new(slots: [Option<M>; FOLIOS_PER_BATCH]) -> Self {
        Self { slots }
    }
}

/// The folio in slot `index`, counted over all batches.
pub(crate) fn folio<M>(batches: &[FolioBatch<M>], index: usize) -> Option<&M> {
    let batch = batches.get(index.checked_div(FOLIOS_PER_BATCH)?)?;
    let slot = index.checked_rem(FOLIOS_PER_BATCH)?;
    batch.slots.get(slot)?.as_ref()
}

/// As [`folio`], to write to it.
pub(crate) fn folio_mut<M>(batches: &mut [FolioBatch<M>], index: usize) -> Option<&mut M> {
    let batch = batches.get_mut(index.checked_div(FOLIOS_PER_BATCH)?)?;
    let slot = index.checked_rem(FOLIOS_PER_BATCH)?;
    batch.slots.get_mut(slot)?.as_mut()
}

/// A folio and the page of a file that it begins with, as Linux's page cache (an xarray) has them.
#[derive(Debug)]
pub struct IndexedFolio<M> {
    first_page: u64,
    folio: M,
}

impl<M> IndexedFolio<M> {
    /// `folio` holds the file's bytes from page `first_page` on.
    pub fn new(first_page: u64, folio: M) -> Self {
        Self { first_page, folio }
    }
}

/// The folio that holds byte `position` of the file, and where in it.
pub(crate) fn folio_at<Dir, M: Segment<Dir>>(
    folios: &mut [IndexedFolio<M>],
    position: u64,
) -> Option<(&mut M, usize)> {
    let page = position.checked_div(PAGE_SIZE.get())?;
    let behind = folios.partition_point(|folio| folio.first_page <= page);
    let found = folios.get_mut(behind.checked_sub(1)?)?;
    let start = found.first_page.checked_mul(PAGE_SIZE.get())?;
    let at = usize::try_from(position.checked_sub(start)?).ok()?;
    (at < found.folio.byte_len()).then_some((&mut found.folio, at))
}
