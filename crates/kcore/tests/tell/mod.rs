//! Memory that tells what it was asked for, and a file over it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "each test file uses a part of it; small numbers of the tests' own"
)]

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};

use vread_addr::{ByteLen, FileOffset, PhysAddr, VirtAddr};
use vread_iov_iter::{Destination, IovIter, Plain, Progress, SourceFailure};
use vread_kcore::{
    CADENCE, ElfMachine, KcoreImage, KcoreSegment, KernelMemory, NT_PRSTATUS, Note, OffsetRule,
    ReadOptions, SegmentKind, read_kcore_iter,
};

/// Memory in which every byte tells its address and by which way it was asked for.
#[derive(Default)]
pub struct Tell {
    /// The calls so far: kind of the segment, address, length.
    pub calls: RefCell<Vec<(SegmentKind, u64, u64)>>,
    pub breaks: Cell<u32>,
    /// What to stop with at the first address from this on.
    pub failure: Cell<Option<(u64, SourceFailure)>>,
    pub cancel_after: Cell<Option<u32>>,
    pub cancelled: AtomicBool,
}

/// The byte at `addr`; by way of `vread_iter` another one than by way of the segment.
pub fn told(kind: SegmentKind, addr: u64) -> u8 {
    let byte = u8::try_from((addr ^ addr >> 8 ^ addr >> 16) % 120).unwrap() + 1;
    match kind {
        SegmentKind::Vmalloc => byte | 0x80,
        SegmentKind::Remap => 0,
        _ => byte,
    }
}

impl Tell {
    fn deliver<D: Destination>(
        &self,
        kind: SegmentKind,
        iter: &mut IovIter<'_, D>,
        addr: VirtAddr,
        len: ByteLen,
    ) -> Progress {
        assert!(!len.is_zero(), "nothing asked for");
        assert!(len <= CADENCE, "K11: too much at once");
        self.calls.borrow_mut().push((kind, addr.get(), len.get()));
        let stop = self
            .failure
            .get()
            .filter(|(at, _)| addr.get() + len.get() > *at);
        let end = stop.map_or(addr.get() + len.get(), |(at, _)| at.max(addr.get()));
        let bytes: Vec<u8> = (addr.get()..end).map(|addr| told(kind, addr)).collect();
        let done = ByteLen::from_usize(iter.copy_to_iter_nofault(&bytes));
        let progress = Progress::copied(done).or_dest_fault(ByteLen::from_usize(bytes.len()));
        match stop {
            Some((_, failure)) if progress.stopped.is_none() => {
                progress.then(Progress::failed(failure))
            }
            _ => progress,
        }
    }
}

impl<D: Destination> KernelMemory<D> for Tell {
    fn vread_iter(&self, iter: &mut IovIter<'_, D>, addr: VirtAddr, len: ByteLen) -> Progress {
        self.deliver(SegmentKind::Vmalloc, iter, addr, len)
    }

    fn copy_segment_to_iter_nofault(
        &self,
        segment: &KcoreSegment,
        iter: &mut IovIter<'_, D>,
        addr: VirtAddr,
        len: ByteLen,
    ) -> Progress {
        assert!(segment.contains(addr), "{segment:?} does not hold {addr}");
        self.deliver(segment.kind, iter, addr, len)
    }

    fn cond_resched(&self) {
        self.breaks.set(self.breaks.get() + 1);
        if self.cancel_after.get() == Some(self.breaks.get()) {
            self.cancelled.store(true, Ordering::Relaxed);
        }
    }
}

pub const BASE: u64 = 0xffff_8880_0000_0000;
pub const RULE: OffsetRule = OffsetRule::X86_64_4_LEVEL;

pub fn segment(kind: SegmentKind, start: u64, len: u64) -> KcoreSegment {
    KcoreSegment {
        kind,
        start: VirtAddr::new(start),
        len: ByteLen::new(len),
        phys: Some(PhysAddr::new(start - BASE)),
    }
}

/// RAM at [0, 3) pages, vmalloc space from page 5 to the last byte but one of page 7, a page of each
/// other kind at pages 9 to 12, text that begins and ends inside pages 14 and 16.
pub fn image() -> KcoreImage {
    use SegmentKind::{Ram, Remap, Text, User, Vmalloc, Vmemmap};
    let page = |page: u64| BASE + page * 4096;
    let segments = [
        segment(Text, page(14) + 0x800, 0x1000),
        segment(Ram, BASE, 0x3000),
        segment(Vmalloc, page(5), 0x2fff),
        segment(Vmemmap, page(9), 0x1000),
        segment(User, page(10), 0x1000),
        segment(Remap, page(11), 0x1000),
        segment(Ram, page(12), 0x1000),
    ];
    let notes = [Note::new(
        "CORE",
        NT_PRSTATUS,
        (0..=255).cycle().take(336).collect(),
    )];
    KcoreImage::kcore(ElfMachine::X86_64, RULE, &segments, &notes).unwrap()
}

/// Where `addr` stands in the file, whether a segment holds it or not.
pub fn offset(image: &KcoreImage, addr: u64) -> FileOffset {
    let data = image.data_offset();
    data.checked_add(RULE.to_offset(VirtAddr::new(addr)))
        .unwrap()
}

pub fn read_with(
    image: &KcoreImage,
    memory: &Tell,
    at: FileOffset,
    len: usize,
    options: ReadOptions<'_>,
) -> (Vec<u8>, Progress) {
    let mut buffer = vec![0xa5; len];
    let mut segment = Plain::new(&mut buffer);
    let mut iter = IovIter::ubuf(&mut segment);
    let progress = read_kcore_iter(image, memory, &mut iter, at, options).unwrap();
    assert_eq!(iter.count(), len - progress.advanced().to_usize().unwrap());
    (buffer, progress)
}

pub fn read(image: &KcoreImage, at: FileOffset, len: usize) -> (Vec<u8>, Progress) {
    read_with(image, &Tell::default(), at, len, ReadOptions::default())
}
