use crate::{Destination, Source};

/// Bytes are put into the iterator's segments: Linux's `ITER_DEST`, what a `read` brings (I2).
#[derive(Debug, Clone, Copy)]
pub enum IterDest {}

/// Bytes are taken out of the iterator's segments: Linux's `ITER_SOURCE`, what a `write` brings (I2).
#[derive(Debug, Clone, Copy)]
pub enum IterSource {}

/// What a segment is in direction `Dir`; every [`Destination`] and every [`Source`] has it.
///
/// Only the iterator calls it.
pub trait Segment<Dir> {
    /// The length in bytes, which never changes.
    fn byte_len(&self) -> usize;

    /// How far the first byte lies behind the start of its page.
    fn first_byte_in_page(&self) -> usize;
}

impl<D: Destination> Segment<IterDest> for D {
    #[inline]
    fn byte_len(&self) -> usize {
        self.len()
    }

    fn first_byte_in_page(&self) -> usize {
        self.offset_in_page()
    }
}

impl<S: Source> Segment<IterSource> for S {
    #[inline]
    fn byte_len(&self) -> usize {
        self.len()
    }

    fn first_byte_in_page(&self) -> usize {
        self.offset_in_page()
    }
}
