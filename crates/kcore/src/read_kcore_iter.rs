use core::sync::atomic::{AtomicBool, Ordering};

use vread_addr::{ByteLen, FileOffset};
use vread_iov_iter::{Destination, IovIter, MAX_STALLED_TURNS, Progress, SourceFailure, Stop};

use crate::{KcoreError, KcoreImage, KernelMemory, Place, SegmentKind};

/// How many bytes are delivered before the memory's
/// [`cond_resched`](KernelMemory::cond_resched) is called again and the read can be cancelled: Linux's
/// cadence on x86_64, 1024 pages (K11).
pub const CADENCE: ByteLen = ByteLen::new(4 << 20);

/// How [`read_kcore_iter`] is to behave where embedders differ.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions<'a> {
    /// Where the file ends.
    pub end: EndOfFile,
    /// Set from elsewhere to end the read with [`SourceFailure::Cancelled`]; looked at before every
    /// turn, and every [`CADENCE`] bytes.
    pub cancelled: Option<&'a AtomicBool>,
}

impl ReadOptions<'_> {
    fn is_cancelled(&self) -> bool {
        self.cancelled
            .is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}

/// Where the file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndOfFile {
    /// Nowhere: a read never ends early, as in Linux (K4). Beyond the last segment there are zeros; on
    /// x86_64, whose offsets are the low bits of addresses, the same memory comes again every 2^47 bytes
    /// (2^56 with 5 levels of page tables), as it does in Linux.
    #[default]
    Never,
    /// At the advertised size: for files that people copy.
    AtSize,
}

/// Fills `iter` from position `at` of the file (spec D).
///
/// The result counts what arrived, also where the read was stopped. (Linux forgets what arrived and
/// returns the error alone, K5; a face that wants that looks at [`Progress::stopped`] first.) With
/// [`EndOfFile::AtSize`] less than the buffer holds arrives at the end of the file, with nothing in
/// `stopped`.
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
    if at < image.data_offset() {
        read.head(image);
    }
    while !read.is_over() {
        // Branch up, loop down: what stands here is decided once for the whole run. K10: a segment is
        // kept for as long as the read stays in it, also where another begins meanwhile.
        match image.place(read.at) {
            Place::Hole { len } => {
                read.run(memory, len, &options, |iter, _done, left| zeros(iter, left));
            }
            Place::Memory { segment, addr, len } => {
                read.run(memory, len, &options, |iter, done, left| {
                    // WRAP: a run ends at the top of the address space at the latest.
                    let src = addr.wrapping_add(done);
                    match segment.kind {
                        SegmentKind::Vmalloc => memory.vread_iter(iter, src, left),
                        SegmentKind::Remap => zeros(iter, left),
                        SegmentKind::Text
                        | SegmentKind::Ram
                        | SegmentKind::Vmemmap
                        | SegmentKind::User => {
                            memory.copy_segment_to_iter_nofault(segment, iter, src, left)
                        }
                    }
                });
            }
        }
    }
    let total = read.total;
    if options.end == EndOfFile::AtSize {
        // What the end of the file cut off is still the caller's to use.
        iter.reexpand(asked.saturating_sub(total.advanced().to_usize_clamped()));
    }
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

    /// Delivers up to `len` bytes by turns of `copy`, which does not fault and is told how many bytes
    /// went before and how many to deliver, and of faulting in what is left (K36).
    fn run<M: KernelMemory<D> + ?Sized>(
        &mut self,
        memory: &M,
        len: ByteLen,
        options: &ReadOptions<'_>,
        mut copy: impl FnMut(&mut IovIter<'_, D>, ByteLen, ByteLen) -> Progress,
    ) {
        let mut done = ByteLen::ZERO;
        let mut left = len.min(ByteLen::from_usize(self.iter.count()));
        let mut stalled = 0_u32;
        while !left.is_zero() {
            if options.is_cancelled() {
                return self.step(Progress::failed(SourceFailure::Cancelled));
            }
            let want = left.min(CADENCE);
            let step = copy(self.iter, done, want).or_dest_fault(want);
            done = done.saturating_add(step.advanced());
            left = left.saturating_sub(step.advanced());
            stalled = match step.advanced() {
                ByteLen::ZERO => stalled.saturating_add(1),
                _ => 0,
            };
            self.step(step);
            match step.stopped {
                None => memory.cond_resched(),
                Some(Stop::DestFault) => {
                    let rest = want.saturating_sub(step.advanced()).to_usize_clamped();
                    // Whatever could be faulted in is delivered, so that a read ends at the first byte
                    // that cannot be had and not at one before it that happened to be evicted. (Linux
                    // gives up unless all of the rest could be, K43.)
                    let none = self.iter.fault_in_writeable(rest) >= rest;
                    if none || stalled >= MAX_STALLED_TURNS {
                        return;
                    }
                    self.total.stopped = None;
                }
                Some(Stop::Failed(_)) => return,
            }
        }
    }
}
