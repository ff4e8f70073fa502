use core::fmt;

use vread_addr::PAGE_SIZE;

use crate::backing::{Backing, PAGE};
use crate::{IovIter, MAX_RW_COUNT, Segment};

/// A position to come back to with [`IovIter::restore`].
#[derive(Debug, Clone, Copy)]
pub struct IovIterState {
    index: usize,
    offset: usize,
    count: usize,
}

/// Why [`IovIter::revert`] refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevertError {
    /// More than [`MAX_RW_COUNT`] bytes (Linux warns and does nothing, I9).
    TooLong,
    /// Further back than the start of the buffer (undefined or fatal in Linux, I9).
    BeforeStart,
}

impl fmt::Display for RevertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "more bytes to take back than one read can have moved",
            Self::BeforeStart => "more bytes to take back than were moved",
        })
    }
}

impl core::error::Error for RevertError {}

impl<M: Segment<Dir>, Dir> IovIter<'_, M, Dir> {
    /// Lowers [`count`](Self::count) to `count` where it is larger (I4).
    pub fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count);
    }

    /// Sets [`count`](Self::count) back after a [`truncate`](Self::truncate), and never beyond what the
    /// segments hold. (Linux leaves that bound to the caller, I4; so do we where folios may be missing.)
    pub fn reexpand(&mut self, count: usize) {
        // INVARIANT: `count` stays within the segments.
        self.count = count.min(self.left_in_segments());
    }

    /// The bytes that can go into the current segment, or come out of it (I5).
    ///
    /// For a `folioq` that is the size of the whole folio, without regard to the position in it, as in
    /// Linux.
    #[must_use]
    #[doc(alias = "iov_iter_single_seg_count")]
    pub fn single_seg_count(&self) -> usize {
        let (last, from) = match &self.backing {
            Backing::Iovec(segments) | Backing::Kvec(segments) => (segments.len(), self.offset),
            Backing::Bvec(segments) => (segments.len(), self.offset),
            Backing::Folioq(_) => (usize::MAX, 0),
            Backing::Ubuf(_) | Backing::Xarray { .. } | Backing::Discard => return self.count,
        };
        if self.index.saturating_add(1) >= last {
            return self.count;
        }
        let segment = self.segment_len(self.index).unwrap_or(0);
        segment.saturating_sub(from).min(self.count)
    }

    /// How many pages the bytes still usable lie on, at most `max`: what a caller that takes the pages one by
    /// one has to make room for. Segments are counted apart, also where they share a page.
    #[must_use]
    #[doc(alias = "iov_iter_npages")]
    pub fn npages(&self, max: usize) -> usize {
        let span = |offset: usize, len: usize| match len {
            0 => 0,
            len => (offset % PAGE).saturating_add(len).div_ceil(PAGE),
        };
        let start = |memory: &M, at: usize| memory.first_byte_in_page().wrapping_add(at);
        let pages = match &self.backing {
            Backing::Discard => 0,
            Backing::Ubuf(segment) => span(start(segment, self.offset), self.count),
            Backing::Xarray { start, .. } => {
                let start = usize::try_from(start & PAGE_SIZE.low_mask()).unwrap_or(0);
                span(start.wrapping_add(self.offset), self.count)
            }
            Backing::Folioq(_) => span(self.offset, self.count),
            Backing::Iovec(_) | Backing::Kvec(_) | Backing::Bvec(_) => {
                let (mut index, mut at, mut left) = (self.index, self.offset, self.count);
                let mut pages = 0_usize;
                while let (Some(len), true) = (self.segment_len(index), left > 0 && pages < max) {
                    let part = len.saturating_sub(at).min(left);
                    let offset = match &self.backing {
                        Backing::Bvec(segments) => segments
                            .get(index)
                            .map_or(0, |run| run.offset.wrapping_add(at)),
                        Backing::Iovec(segments) | Backing::Kvec(segments) => {
                            segments.get(index).map_or(0, |segment| start(segment, at))
                        }
                        _ => 0,
                    };
                    pages = pages.saturating_add(span(offset, part));
                    left = left.saturating_sub(part);
                    (index, at) = (index.saturating_add(1), 0);
                }
                pages
            }
        };
        pages.min(max)
    }

    /// Skips `len` bytes, or all that are left (I6). Empty segments after the new position are skipped
    /// too, unless nothing was left to begin with (I7).
    #[doc(alias = "iov_iter_advance")]
    pub fn advance(&mut self, len: usize) {
        let len = len.min(self.count);
        match &self.backing {
            Backing::Ubuf(_) | Backing::Xarray { .. } | Backing::Discard => {
                self.offset = self.offset.saturating_add(len);
            }
            Backing::Iovec(_) | Backing::Kvec(_) | Backing::Bvec(_) | Backing::Folioq(_) => {
                if self.count == 0 {
                    return;
                }
                let mut left = len.saturating_add(self.offset);
                while let Some(segment) = self.segment_len(self.index) {
                    if left < segment {
                        break;
                    }
                    left = left.saturating_sub(segment);
                    self.index = self.index.saturating_add(1);
                }
                self.offset = left;
            }
        }
        self.count = self.count.saturating_sub(len);
    }

    /// Takes back the last `len` bytes (I9, I11).
    ///
    /// # Errors
    ///
    /// [`RevertError`] where Linux warns, asserts or leaves the result undefined; nothing moves then.
    #[doc(alias = "iov_iter_revert")]
    pub fn revert(&mut self, len: usize) -> Result<(), RevertError> {
        if len > MAX_RW_COUNT {
            return Err(RevertError::TooLong);
        }
        let (mut index, mut left) = (self.index, len);
        let mut offset = self.offset;
        while left > offset {
            left = left.saturating_sub(offset);
            index = index.checked_sub(1).ok_or(RevertError::BeforeStart)?;
            offset = self.segment_len(index).ok_or(RevertError::BeforeStart)?;
        }
        self.index = index;
        self.offset = offset.saturating_sub(left);
        self.count = self.count.saturating_add(len);
        Ok(())
    }

    /// The position, to come back to it (I10).
    #[must_use]
    #[doc(alias = "iov_iter_save_state")]
    pub fn save(&self) -> IovIterState {
        IovIterState {
            index: self.index,
            offset: self.offset,
            count: self.count,
        }
    }

    /// Goes back to a position that [`save`](Self::save) gave for this iterator: for every kind, where Linux
    /// refuses all but those of user memory, `kvec` and `bvec` (I10).
    #[doc(alias = "iov_iter_restore")]
    pub fn restore(&mut self, state: IovIterState) {
        self.index = state.index;
        self.offset = state.offset;
        // INVARIANT: a state of another iterator could claim too much.
        self.count = state.count.min(self.left_in_segments());
    }
}
