use crate::backing::{self, Backing, PAGE};
use crate::{IovIter, Segment};

/// How many turns in a row may move nothing although the buffer was faulted in each time, before a copy
/// gives up (K45). Linux has no such bound: a buffer that denies every copy and admits every fault is
/// asked for ever there.
pub const MAX_STALLED_TURNS: u32 = 1000;

/// One consecutive piece of a walk: `len` bytes at byte `at` of a segment, of which the first comes
/// `done` bytes after the start of the walk.
#[derive(Debug)]
pub struct Piece<'p, M> {
    /// The segment to write to, or to read from.
    pub segment: &'p mut M,
    /// Where in the segment the piece starts.
    pub at: usize,
    /// How many bytes of this walk went before.
    pub done: usize,
    /// How long the piece is.
    pub len: usize,
}

impl<M: Segment<Dir>, Dir> IovIter<'_, M, Dir> {
    /// Hands the next `len` bytes of the buffer to `step`, piece by piece, and moves by what `step`
    /// says it did (I12 to I20). Returns the bytes done.
    ///
    /// A segment is one piece, however long; where segments are made of pages, no piece crosses the border
    /// of one (I14). `step` returns the bytes it *did* (Linux's steps return the bytes they did not);
    /// fewer than [`Piece::len`] ends the walk (I15, I16). Empty segments are skipped without a step, but
    /// for those of a `bvec` (I18), and trailing ones stay where they are (I17).
    #[inline]
    pub fn walk(&mut self, len: usize, mut step: impl FnMut(Piece<'_, M>) -> usize) -> usize {
        let want = len.min(self.count);
        // By far the most walks, often a page at a time.
        if let Backing::Ubuf(segment) = &mut self.backing {
            if want == 0 {
                return 0;
            }
            let did = step(Piece {
                segment,
                at: self.offset,
                done: 0,
                len: want,
            });
            let did = did.min(want);
            // WRAP: no more than is left of a segment.
            self.offset = self.offset.wrapping_add(did);
            self.count = self.count.wrapping_sub(did);
            return did;
        }
        // Not in line, so that the way above stays short.
        let done = match &mut self.backing {
            Backing::Iovec(_) | Backing::Kvec(_) => self.walk_segments(want, &mut step),
            _ => self.walk_pages(want, &mut step),
        };
        self.count = self.count.saturating_sub(done);
        done
    }

    /// The walk over one segment after another.
    #[inline(never)]
    fn walk_segments(
        &mut self,
        want: usize,
        step: &mut impl FnMut(Piece<'_, M>) -> usize,
    ) -> usize {
        let (Backing::Iovec(segments) | Backing::Kvec(segments)) = &mut self.backing else {
            return 0;
        };
        let mut done = 0_usize;
        while done < want {
            let Some(segment) = segments.get_mut(self.index) else {
                break;
            };
            let room = segment.byte_len().saturating_sub(self.offset);
            let len = room.min(want.saturating_sub(done));
            if len > 0 {
                let did = step(Piece {
                    segment,
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
        done
    }

    /// The walk over page-backed kinds, one page at most at a time.
    #[cold]
    fn walk_pages(&mut self, want: usize, step: &mut dyn FnMut(Piece<'_, M>) -> usize) -> usize {
        let mut done = 0_usize;
        while done < want {
            let left = want.saturating_sub(done);
            // Where the piece starts, how much of its segment is left, and whether the segment ends
            // with it: an xarray's position only grows.
            let (segment, at, room, moves_on) = match &mut self.backing {
                Backing::Discard => {
                    self.offset = self.offset.saturating_add(want);
                    return want;
                }
                Backing::Bvec(segments) => {
                    let Some(run) = segments.get_mut(self.index) else {
                        break;
                    };
                    let room = run.byte_len().saturating_sub(self.offset);
                    let at = run.offset.saturating_add(self.offset);
                    (&mut run.pages, at, room, true)
                }
                Backing::Folioq(batches) => {
                    let Some(folio) = backing::folio_mut(batches, self.index) else {
                        break;
                    };
                    let room = folio.byte_len().saturating_sub(self.offset);
                    (folio, self.offset, room, true)
                }
                Backing::Xarray { folios, start } => {
                    let moved = u64::try_from(self.offset).unwrap_or(u64::MAX);
                    let position = start.saturating_add(moved);
                    let Some((folio, at)) = backing::folio_at(folios, position) else {
                        break;
                    };
                    let room = folio.byte_len().saturating_sub(at);
                    (folio, at, room, false)
                }
                // Walked in line.
                Backing::Ubuf(_) | Backing::Iovec(_) | Backing::Kvec(_) => break,
            };
            let to_border = PAGE.saturating_sub(at % PAGE);
            let len = room.min(left).min(to_border);
            let did = step(Piece {
                segment,
                at,
                done,
                len,
            });
            let did = did.min(len);
            done = done.saturating_add(did);
            self.offset = self.offset.saturating_add(did);
            if did < len {
                break;
            }
            if moves_on && did == room {
                self.index = self.index.saturating_add(1);
                self.offset = 0;
            }
        }
        done
    }

    /// Copies without faulting until all is done; whenever a segment refuses, makes the rest resident
    /// and goes on. Gives up where not even the next byte can be made resident, and after
    /// [`MAX_STALLED_TURNS`] turns in a row that moved nothing. Segments that are not user memory either take
    /// all or end the copy (I26).
    pub(crate) fn with_fault_in(
        &mut self,
        len: usize,
        mut copy: impl FnMut(&mut Self, usize) -> usize,
        mut fault_in: impl FnMut(&mut Self, usize) -> usize,
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
            if left == 0 || !self.is_user_backed() || stalled >= MAX_STALLED_TURNS {
                break;
            }
            // Partial success is use enough: the copy will stop at the byte that cannot be had.
            if fault_in(self, left) == left {
                break;
            }
        }
        total
    }

    /// Makes the next `len` bytes resident by `fault_in`, which is told where in a segment and how many,
    /// and returns the bytes *not* faulted in (I33 to I36).
    pub(crate) fn fault_in(
        &mut self,
        len: usize,
        mut fault_in: impl FnMut(&mut M, usize, usize) -> usize,
    ) -> usize {
        let mut left = len.min(self.count);
        let excess = len.saturating_sub(left);
        match &mut self.backing {
            Backing::Ubuf(_) if left == 0 => {}
            Backing::Ubuf(segment) => left = fault_in(segment, self.offset, left),
            Backing::Iovec(segments) => {
                let mut at = self.offset;
                for segment in segments.iter_mut().skip(self.index) {
                    let part = segment.byte_len().saturating_sub(at).min(left);
                    let short = match part {
                        0 => 0,
                        part => fault_in(segment, at, part),
                    };
                    left = left.saturating_sub(part.saturating_sub(short));
                    if short != 0 || left == 0 {
                        break;
                    }
                    at = 0;
                }
            }
            // Always resident, whatever was asked for (I34).
            _ => return 0,
        }
        left.saturating_add(excess)
    }
}
