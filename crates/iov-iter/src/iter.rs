use core::fmt;

use crate::Destination;

/// The most bytes one read may ask for, and the most [`IovIter::revert`] takes back:
/// 2^31 - 4096, Linux's `MAX_RW_COUNT` with pages of 4 KiB (I9, I41).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;

/// How many turns in a row may move nothing although the buffer was faulted in each time, before a copy
/// gives up (K45). Linux has no such bound: a buffer that denies every copy and admits every fault is
/// asked for ever there.
pub const MAX_STALLED_TURNS: u32 = 1000;

/// A reader's buffer in segments, with a position and the number of bytes still usable: Linux's
/// `struct iov_iter` with direction `ITER_DEST`.
///
/// The direction is part of the type: there is nothing here that takes bytes out of the buffer.
///
/// # Invariants
///
/// - `count` is at most what the segments hold from the position on (I1).
/// - `offset` is below the length of segment `index`, or 0 where that segment is empty or there is
///   none; for a `ubuf` it may equal the length.
#[doc(alias = "iov_iter")]
pub struct IovIter<'a, D> {
    backing: Backing<'a, D>,
    index: usize,
    offset: usize,
    count: usize,
}

enum Backing<'a, D> {
    Ubuf(&'a mut D),
    Iovec(&'a mut [D]),
    Discard,
}

/// One consecutive piece of a walk: `len` bytes at byte `at` of segment `dest`, of which the first
/// comes `done` bytes after the start of the walk.
#[derive(Debug)]
pub struct Piece<'p, D> {
    /// The segment to write to.
    pub dest: &'p mut D,
    /// Where in the segment the piece starts.
    pub at: usize,
    /// How many bytes of this walk went before.
    pub done: usize,
    /// How long the piece is.
    pub len: usize,
}

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

impl<'a, D: Destination> IovIter<'a, D> {
    /// One segment: what a plain `read` or `pread` brings (I41).
    pub fn ubuf(segment: &'a mut D) -> Self {
        let count = segment.len();
        Self {
            backing: Backing::Ubuf(segment),
            index: 0,
            offset: 0,
            count,
        }
    }

    /// Several segments: what `readv` or `preadv` brings. Empty ones are allowed.
    ///
    /// Bytes beyond 2^64 - 1 in total are not usable.
    pub fn iovec(segments: &'a mut [D]) -> Self {
        let count = segments
            .iter()
            .fold(0_usize, |sum, segment| sum.saturating_add(segment.len()));
        Self {
            backing: Backing::Iovec(segments),
            index: 0,
            offset: 0,
            count,
        }
    }

    /// Swallows `count` bytes (I19).
    #[must_use]
    pub fn discard(count: usize) -> Self {
        Self {
            backing: Backing::Discard,
            index: 0,
            offset: 0,
            count,
        }
    }

    /// The bytes still usable (I4).
    #[must_use]
    #[doc(alias = "iov_iter_count")]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Lowers [`count`](Self::count) to `count` where it is larger (I4).
    pub fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count);
    }

    /// Sets [`count`](Self::count) back after a [`truncate`](Self::truncate), and never beyond what the
    /// segments hold. (Linux leaves that bound to the caller, I4.)
    pub fn reexpand(&mut self, count: usize) {
        // INVARIANT: `count` stays within the segments.
        self.count = count.min(self.left_in_segments());
    }

    /// The bytes that can go into the current segment (I5).
    #[must_use]
    pub fn single_seg_count(&self) -> usize {
        match &self.backing {
            Backing::Iovec(segments) if self.index.saturating_add(1) < segments.len() => segments
                .get(self.index)
                .map_or(0, |s| s.len().saturating_sub(self.offset))
                .min(self.count),
            _ => self.count,
        }
    }

    /// Skips `len` bytes, or all that are left (I6). Empty segments after the new position are skipped
    /// too, unless nothing was left to begin with (I7).
    pub fn advance(&mut self, len: usize) {
        let len = len.min(self.count);
        if let Backing::Iovec(segments) = &self.backing {
            if self.count == 0 {
                return;
            }
            let mut left = len.saturating_add(self.offset);
            while let Some(segment) = segments.get(self.index).map(D::len) {
                if left < segment {
                    break;
                }
                left = left.saturating_sub(segment);
                self.index = self.index.saturating_add(1);
            }
            self.offset = left;
        } else {
            self.offset = self.offset.saturating_add(len);
        }
        self.count = self.count.saturating_sub(len);
    }

    /// Takes back the last `len` bytes (I9, I11).
    ///
    /// # Errors
    ///
    /// [`RevertError`] where Linux warns, asserts or leaves the result undefined; nothing moves then.
    pub fn revert(&mut self, len: usize) -> Result<(), RevertError> {
        if len > MAX_RW_COUNT {
            return Err(RevertError::TooLong);
        }
        let (mut index, mut left) = (self.index, len);
        let mut offset = self.offset;
        if matches!(self.backing, Backing::Discard) {
            offset = offset.checked_sub(left).ok_or(RevertError::BeforeStart)?;
            left = 0;
        }
        while left > offset {
            left = left.saturating_sub(offset);
            index = index.checked_sub(1).ok_or(RevertError::BeforeStart)?;
            offset = match &self.backing {
                Backing::Iovec(segments) => segments.get(index).map_or(0, D::len),
                Backing::Ubuf(_) | Backing::Discard => return Err(RevertError::BeforeStart),
            };
        }
        self.index = index;
        self.offset = offset.saturating_sub(left);
        self.count = self.count.saturating_add(len);
        Ok(())
    }

    /// The position, to come back to it (I10).
    #[must_use]
    pub fn save(&self) -> IovIterState {
        IovIterState {
            index: self.index,
            offset: self.offset,
            count: self.count,
        }
    }

    /// Goes back to a position that [`save`](Self::save) gave for this iterator (I10).
    pub fn restore(&mut self, state: IovIterState) {
        self.index = state.index;
        self.offset = state.offset;
        // INVARIANT: a state of another iterator could claim too much.
        self.count = state.count.min(self.left_in_segments());
    }

    /// Copies `src` into the buffer, faulting pages in where they are not resident. Returns the bytes
    /// done: fewer than asked for where the buffer ends or cannot be made resident (I21, I22).
    #[doc(alias = "_copy_to_iter")]
    pub fn copy_to_iter(&mut self, src: &[u8]) -> usize {
        self.with_fault_in(src.len(), |iter, done| {
            iter.copy_to_iter_nofault(src.get(done..).unwrap_or_default())
        })
    }

    /// Copies `src` into the buffer without faulting pages in. Returns the bytes done.
    pub fn copy_to_iter_nofault(&mut self, src: &[u8]) -> usize {
        self.walk(src.len(), |piece| {
            let end = piece.done.saturating_add(piece.len);
            piece
                .dest
                .copy_nofault(piece.at, src.get(piece.done..end).unwrap_or_default())
        })
    }

    /// Writes `len` zeros, faulting pages in where they are not resident. Returns the bytes done (I27).
    #[doc(alias = "iov_iter_zero")]
    pub fn zero(&mut self, len: usize) -> usize {
        let len = len.min(self.count);
        self.with_fault_in(len, |iter, done| {
            iter.zero_nofault(len.saturating_sub(done))
        })
    }

    /// Writes `len` zeros without faulting pages in and without sleeping. Returns the bytes done (R20).
    pub fn zero_nofault(&mut self, len: usize) -> usize {
        self.walk(len, |piece| piece.dest.zero_nofault(piece.at, piece.len))
    }

    /// Makes the next `len` bytes of the buffer resident and writeable, without moving and without
    /// changing them. Returns the bytes *not* faulted in (I33): what lies beyond
    /// [`count`](Self::count) cannot be (I35), and the first segment with a shortfall ends the work
    /// (I36).
    #[doc(alias = "fault_in_iov_iter_writeable")]
    pub fn fault_in_writeable(&mut self, len: usize) -> usize {
        let mut left = len.min(self.count);
        let excess = len.saturating_sub(left);
        match &mut self.backing {
            Backing::Discard => return 0,
            Backing::Ubuf(_) if left == 0 => {}
            Backing::Ubuf(segment) => left = segment.fault_in_writeable(self.offset, left),
            Backing::Iovec(segments) => {
                let mut at = self.offset;
                for segment in segments.iter_mut().skip(self.index) {
                    let part = segment.len().saturating_sub(at).min(left);
                    let short = match part {
                        0 => 0,
                        part => segment.fault_in_writeable(at, part),
                    };
                    left = left.saturating_sub(part.saturating_sub(short));
                    if short != 0 || left == 0 {
                        break;
                    }
                    at = 0;
                }
            }
        }
        left.saturating_add(excess)
    }

    /// Hands the next `len` bytes of the buffer to `step`, piece by piece, and moves by what `step`
    /// says it did (I12 to I20). Returns the bytes done.
    ///
    /// A segment is one piece, however long (I14). `step` returns the bytes it *did* (Linux's steps
    /// return the bytes they did not); fewer than [`Piece::len`] ends the walk (I15). Empty segments
    /// are skipped without a step (I18), and trailing ones stay where they are (I17).
    pub fn walk(&mut self, len: usize, mut step: impl FnMut(Piece<'_, D>) -> usize) -> usize {
        let want = len.min(self.count);
        let mut done = 0_usize;
        match &mut self.backing {
            Backing::Discard => done = want,
            Backing::Ubuf(segment) if want > 0 => {
                done = step(Piece {
                    dest: segment,
                    at: self.offset,
                    done,
                    len: want,
                })
                .min(want);
            }
            Backing::Ubuf(_) => {}
            Backing::Iovec(segments) => {
                while done < want {
                    let Some(segment) = segments.get_mut(self.index) else {
                        break;
                    };
                    let room = segment.len().saturating_sub(self.offset);
                    let len = room.min(want.saturating_sub(done));
                    if len > 0 {
                        let did = step(Piece {
                            dest: segment,
                            at: self.offset,
                            done,
                            len,
                        });
                        let did = did.min(len);
                        done = done.saturating_add(did);
                        self.offset = self.offset.saturating_add(did);
                        if did < room {
                            break;
                        }
                    }
                    self.index = self.index.saturating_add(1);
                    self.offset = 0;
                }
                self.count = self.count.saturating_sub(done);
                return done;
            }
        }
        self.offset = self.offset.saturating_add(done);
        self.count = self.count.saturating_sub(done);
        done
    }

    /// Copies without faulting until all is done; whenever the buffer refuses, makes the rest resident
    /// and goes on. Gives up where not even the next byte can be made resident, and after
    /// [`MAX_STALLED_TURNS`] turns in a row that moved nothing.
    fn with_fault_in(
        &mut self,
        len: usize,
        mut copy: impl FnMut(&mut Self, usize) -> usize,
    ) -> usize {
        let len = len.min(self.count);
        let mut total = 0_usize;
        let mut stalled = 0_u32;
        while total < len {
            let step = copy(self, total);
            total = total.saturating_add(step);
            stalled = match step {
                0 => stalled.saturating_add(1),
                _ => 0,
            };
            let left = len.saturating_sub(total);
            // Partial success is use enough: the copy will stop at the byte that cannot be had.
            if left == 0 || self.fault_in_writeable(left) == left || stalled >= MAX_STALLED_TURNS {
                break;
            }
        }
        total
    }

    fn left_in_segments(&self) -> usize {
        match &self.backing {
            Backing::Ubuf(segment) => segment.len().saturating_sub(self.offset),
            Backing::Iovec(segments) => segments
                .iter()
                .skip(self.index)
                .fold(0_usize, |sum, segment| sum.saturating_add(segment.len()))
                .saturating_sub(self.offset),
            Backing::Discard => usize::MAX.saturating_sub(self.offset),
        }
    }
}

impl<D> fmt::Debug for IovIter<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.backing {
            Backing::Ubuf(_) => "ubuf",
            Backing::Iovec(_) => "iovec",
            Backing::Discard => "discard",
        };
        f.debug_struct("IovIter")
            .field("kind", &kind)
            .field("index", &self.index)
            .field("offset", &self.offset)
            .field("count", &self.count)
            .finish()
    }
}
