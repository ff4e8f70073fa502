use core::sync::atomic::{AtomicBool, Ordering};

use vread_addr::{ByteLen, FileOffset};
use vread_iov_iter::{Destination, IovIter, Progress, SourceFailure, Stop};

use crate::{KcoreError, KcoreImage, KernelMemory, Place, SegmentKind};

/// How many turns in a row may move nothing although the destination was faulted in, before the read
/// gives up with [`Stop::DestFault`] (K45). Linux has no such bound: there a destination that denies
/// every copy and admits every fault is asked for ever.
pub const MAX_STALLED_TURNS: u32 = 1000;

/// How [`read_kcore_iter`] is to behave where embedders differ.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions<'a> {
    /// Where the file ends.
    pub end: EndOfFile,
    /// Set from elsewhere to end the read with [`SourceFailure::Cancelled`]; looked at before every
    /// turn.
    pub cancelled: Option<&'a AtomicBool>,
}

/// Where the file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndOfFile {
    /// Nowhere: beyond the last segment there are zeros for as long as one asks, as in Linux (K4).
    #[default]
    Never,
    /// At the advertised size: for files that people copy.
    AtSize,
}

/// Fills `iter` from position `at` of the file (spec D).
///
/// The result counts what arrived, also where the read was stopped. (Linux forgets what arrived and
/// returns the error alone, K5; a face that wants that looks at [`Progress::stopped`] first.)
///
/// Bytes are copied without faulting the reader's buffer in. Where it refuses, the rest is faulted in
/// with nothing held, and the copy goes on exactly where it stopped (K36). The loop that Linux has had
/// since 6.4 moves by the running total there, so that a second partial turn skips bytes and then
/// fails (K30 to K34).
///
/// # Errors
///
/// [`KcoreError::PositionOverflow`], before the first byte.
pub fn read_kcore_iter<D, M>(
    image: &KcoreImage,
    memory: &M,
    iter: &mut IovIter<'_, D>,
    at: FileOffset,
    options: ReadOptions<'_>,
) -> Result<Progress, KcoreError>
where
    D: Destination,
    M: KernelMemory<D> + ?Sized,
{
    const MAX_POSITION: u64 = i64::MAX.unsigned_abs();
    let asked = iter.count();
    let overflow = KcoreError::PositionOverflow { at, count: asked };
    let end = at.checked_add(ByteLen::from_usize(asked)).ok_or(overflow)?;
    if end.get() > MAX_POSITION {
        return Err(overflow);
    }
    if options.end == EndOfFile::AtSize {
        let rest = image.size().saturating_sub(ByteLen::new(at.get()));
        iter.truncate(rest.to_usize_clamped());
    }
    let mut read = Reading {
        iter,
        at,
        total: Progress::default(),
    };
    read.head(image);
    while !read.is_over() {
        match image.place(read.at) {
            Place::Hole { len } => read.zeros(len),
            Place::Memory { segment, addr, len } => {
                // Branch up, loop down: the kind is decided once for the whole run.
                let mut done = ByteLen::ZERO;
                read.run(len, options.cancelled, |iter, left| {
                    // WRAP: a run ends at the top of the address space at the latest.
                    let src = addr.wrapping_add(done);
                    let step = match segment.kind {
                        SegmentKind::Vmalloc => memory.vread_iter(iter, src, left),
                        SegmentKind::Remap => zeros(iter, left),
                        SegmentKind::Text
                        | SegmentKind::Ram
                        | SegmentKind::Vmemmap
                        | SegmentKind::User => {
                            memory.copy_segment_to_iter_nofault(segment, iter, src, left)
                        }
                    };
                    done = done.saturating_add(step.advanced());
                    step
                });
            }
        }
    }
    let total = read.total;
    // What the end of the file cut off is still the caller's to use.
    iter.reexpand(asked.saturating_sub(total.advanced().to_usize_clamped()));
    Ok(total)
}

fn zeros<D: Destination>(iter: &mut IovIter<'_, D>, len: ByteLen) -> Progress {
    Progress::zeroed(ByteLen::from_usize(
        iter.zero_nofault(len.to_usize_clamped()),
    ))
}

/// A read under way: `total` is done and the next byte is that at `at`.
struct Reading<'r, 'i, D> {
    iter: &'r mut IovIter<'i, D>,
    at: FileOffset,
    total: Progress,
}

impl<D: Destination> Reading<'_, '_, D> {
    fn is_over(&self) -> bool {
        self.iter.count() == 0 || self.total.stopped.is_some()
    }

    fn step(&mut self, step: Progress) {
        // WRAP: the end of the read was checked; it lies below 2^63.
        self.at = self.at.wrapping_add(step.advanced());
        self.total = self.total.then(step);
    }

    /// ELF header, program headers, notes, and the zeros up to the data (K2, K3).
    fn head(&mut self, image: &KcoreImage) {
        let from = usize::try_from(self.at.get()).unwrap_or(usize::MAX);
        let rest = image.head().get(from..).unwrap_or_default();
        if !rest.is_empty() {
            let want = ByteLen::from_usize(rest.len().min(self.iter.count()));
            let copied = ByteLen::from_usize(self.iter.copy_to_iter(rest));
            self.step(Progress::copied(copied).or_dest_fault(want));
        }
        if let (Some(pad), false) = (
            image.data_offset().checked_offset_from(self.at),
            self.is_over(),
        ) {
            self.zeros(pad);
        }
    }

    fn zeros(&mut self, len: ByteLen) {
        let want = len.min(ByteLen::from_usize(self.iter.count()));
        let zeroed = ByteLen::from_usize(self.iter.zero(want.to_usize_clamped()));
        self.step(Progress::zeroed(zeroed).or_dest_fault(want));
    }

    /// Delivers up to `len` bytes by turns of `copy`, which does not fault, and of faulting in what is
    /// left (K36).
    fn run(
        &mut self,
        len: ByteLen,
        cancelled: Option<&AtomicBool>,
        mut copy: impl FnMut(&mut IovIter<'_, D>, ByteLen) -> Progress,
    ) {
        let mut left = len.min(ByteLen::from_usize(self.iter.count()));
        let mut stalled = 0_u32;
        while !left.is_zero() {
            if cancelled.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                return self.step(Progress::failed(SourceFailure::Cancelled));
            }
            let step = copy(self.iter, left).or_dest_fault(left);
            left = left.saturating_sub(step.advanced());
            stalled = match step.advanced() {
                ByteLen::ZERO => stalled.saturating_add(1),
                _ => 0,
            };
            self.step(step);
            if step.stopped != Some(Stop::DestFault) {
                return;
            }
            let short = self.iter.fault_in_writeable(left.to_usize_clamped());
            if short != 0 || stalled >= MAX_STALLED_TURNS {
                return;
            }
            self.total.stopped = None;
        }
    }
}
