//! The retry around a copy that does not fault: ours beside the loop that Linux has published.
//!
//! The published arithmetic lives here and nowhere else.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "small numbers of the test's own"
)]

use vread_addr::{ByteLen, FileOffset, PageCount, VirtAddr, VirtRange};
use vread_iov_iter::scripted::{Granularity, PageKind, Scripted, UserSpace};
use vread_iov_iter::{
    Destination, FailUsercopy, FaultAttr, FaultInjector, IovIter, PageSource, Plain, Progress, Stop,
};
use vread_kcore::{
    ElfMachine, KcoreImage, MAX_STALLED_TURNS, OffsetRule, ReadOptions, arena_segments,
    read_kcore_iter,
};
use vread_vmalloc::{Arena, HeapFrames, vread_iter};

const CHUNK: usize = 4096;

/// An arena with one area of two pages, and the image that shows it.
struct Source {
    arena: Arena<HeapFrames>,
    image: KcoreImage,
    area: VirtAddr,
    bytes: Vec<u8>,
}

impl Source {
    fn new() -> Self {
        let start = VirtAddr::new(0xffff_c900_0000_0000);
        let window = VirtRange::from_len(start, ByteLen::new(1 << 20)).unwrap();
        let arena: Arena<HeapFrames> =
            Arena::new(window, HeapFrames::new(PageCount::new(4))).unwrap();
        let area = arena.vmalloc(ByteLen::from_usize(2 * CHUNK)).unwrap();
        // No two bytes that a slip could mix up are alike: the period is a prime above 251 pages' worth.
        let bytes: Vec<u8> = (0..2 * CHUNK)
            .map(|at| u8::try_from((at * 31 + at / 256 * 7) % 251).unwrap() + 1)
            .collect();
        arena.write(area, &bytes).unwrap();
        let segments = arena_segments(&arena);
        let rule = OffsetRule::X86_64_4_LEVEL;
        let image = KcoreImage::kcore(ElfMachine::X86_64, rule, &segments, &[]).unwrap();
        Self {
            arena,
            image,
            area,
            bytes,
        }
    }

    /// Fills `iter` from the area's byte `from` on, with our loop.
    fn read<D: Destination>(&self, iter: &mut IovIter<'_, D>, from: usize) -> Progress
    where
        HeapFrames: PageSource<D>,
    {
        let area = self.image.offset_of(self.area).unwrap();
        let at: FileOffset = area.checked_add(ByteLen::from_usize(from)).unwrap();
        read_kcore_iter(&self.image, &self.arena, iter, at, ReadOptions::default()).unwrap()
    }

    /// The published loop (K30), on one chunk of `total` bytes. `false` is `EFAULT`.
    fn published(
        &self,
        iter: &mut IovIter<'_, Scripted<'_>>,
        from: usize,
        total: usize,
        turns: &mut Vec<u64>,
    ) -> bool {
        let total = ByteLen::from_usize(total).get();
        let mut src = self.area.wrapping_add(ByteLen::from_usize(from));
        let (mut left, mut read) = (total, 0_u64);
        loop {
            let r = vread_iter(&self.arena, iter, src, ByteLen::new(left)).advanced();
            turns.push(r.get());
            read = read.wrapping_add(r.get());
            if read == total {
                return true;
            }
            src = src.wrapping_add(ByteLen::new(read));
            left = left.wrapping_sub(read);
            if iter.fault_in_writeable(usize::try_from(left).unwrap()) != 0 {
                return false;
            }
            assert!(turns.len() < 20, "the published loop does not end");
        }
    }
}

/// The published loop in numbers alone: segments of `lens`, of which those in `schedule[n]` are there at
/// turn `n`, and all of them afterwards.
fn published_in_numbers(lens: &[usize], schedule: &[u64]) -> bool {
    let total: usize = lens.iter().sum();
    let (mut left, mut read, mut at) = (total, 0_usize, 0_usize);
    for turn in 0.. {
        let mask = schedule.get(turn).copied().unwrap_or(u64::MAX);
        let r = resident_from(lens, at, mask).min(left);
        at += r;
        read += r;
        if read == total {
            return true;
        }
        left = left.wrapping_sub(read);
        if left > total - at {
            return false;
        }
    }
    unreachable!("the schedule ends with everything there")
}

/// How many bytes from `at` on lie in segments of `mask`, before the first that does not.
fn resident_from(lens: &[usize], at: usize, mask: u64) -> usize {
    let (mut start, mut reached) = (0, at);
    for (index, len) in lens.iter().enumerate() {
        let end = start + len;
        if start <= reached && reached < end {
            if mask >> index & 1 == 0 {
                break;
            }
            reached = end;
        }
        start = end;
    }
    reached - at
}

/// K34: whether the published loop succeeds, from the steps that a right one makes: no turn but the last
/// two may move anything.
fn predicted(lens: &[usize], schedule: &[u64]) -> bool {
    let total: usize = lens.iter().sum();
    let (mut at, mut steps) = (0, Vec::new());
    while at < total {
        let mask = schedule.get(steps.len()).copied().unwrap_or(u64::MAX);
        let step = resident_from(lens, at, mask);
        at += step;
        steps.push(step);
    }
    steps.iter().rev().skip(2).all(|step| *step == 0)
}

/// Every way to split a chunk into up to four segments of the sizes that matter: the chunks that they
/// make (the first one of a read may be short), and those that a last segment fills up to a page.
fn splits() -> Vec<Vec<usize>> {
    const SIZES: [usize; 6] = [0, 1, 511, 512, 1024, 2048];
    let mut splits: Vec<Vec<usize>> = vec![Vec::new()];
    let mut done = 0;
    while let Some(prefix) = splits.get(done).cloned().filter(|split| split.len() < 4) {
        splits.extend(SIZES.map(|size| [prefix.as_slice(), &[size]].concat()));
        done += 1;
    }
    let filled: Vec<Vec<usize>> = splits
        .iter()
        .filter(|split| split.len() < 4)
        .filter_map(|split| {
            let rest = CHUNK.checked_sub(split.iter().sum())?;
            Some([split.as_slice(), &[rest]].concat())
        })
        .collect();
    splits.extend(filled);
    splits.retain(|split| (1..=CHUNK).contains(&split.iter().sum()));
    splits.sort();
    splits.dedup();
    splits
}

/// Every schedule of up to four turns for segments of `lens`; empty ones are always there.
fn schedules(lens: &[usize]) -> impl Iterator<Item = [u64; 4]> {
    let full: Vec<usize> = (0..lens.len()).filter(|index| lens[*index] > 0).collect();
    let masks: Vec<u64> = (0..1_u64 << full.len())
        .map(|subset| {
            let chosen = full.iter().enumerate();
            chosen
                .filter(|(bit, _)| subset >> bit & 1 == 1)
                .fold(0, |mask, (_, index)| mask | 1 << index)
        })
        .collect();
    let count = masks.len();
    (0..count.pow(4)).map(move |n| {
        let digits = [n, n / count, n / count.pow(2), n / count.pow(3)];
        digits.map(|digit| masks[digit % count])
    })
}

/// Whether a schedule is the first of those that no reader can tell apart: of the segments behind the
/// first one missing, and of those already filled, it does not matter whether they are there.
fn is_representative(lens: &[usize], schedule: &[u64]) -> bool {
    let mut filled = 0;
    schedule.iter().all(|mask| {
        let next = (filled..lens.len()).find(|index| lens[*index] > 0 && mask >> index & 1 == 0);
        let next = next.unwrap_or(lens.len());
        let wanted = (filled..next)
            .filter(|index| lens[*index] > 0)
            .fold(0, |mask, index| mask | 1_u64 << index);
        filled = next;
        *mask == wanted
    })
}

#[test]
fn every_split_and_every_schedule() {
    // K36 and K34, exhaustively: every split, every schedule. Where more than two segments have bytes, one
    // schedule is run for all that no reader can tell apart; the published loop goes through all of them
    // in numbers.
    let source = Source::new();
    let (mut cases, mut runs, mut fails) = (0_u64, 0_u64, 0_u64);
    for lens in splits() {
        let total: usize = lens.iter().sum();
        let from = CHUNK - total;
        let full = lens.iter().filter(|len| **len > 0).count();
        for schedule in schedules(&lens) {
            cases += 1;
            let predicted = predicted(&lens, &schedule);
            assert_eq!(published_in_numbers(&lens, &schedule), predicted, "K34");
            fails += u64::from(!predicted);
            if full > 2 && !is_representative(&lens, &schedule) {
                continue;
            }
            runs += 1;
            let space = UserSpace::new(&lens, 0).schedule(&schedule);
            let mut segments = space.segments(&lens);
            let mut iter = IovIter::iovec(&mut segments);
            let progress = source.read(&mut iter, from);
            let len = ByteLen::from_usize(total);
            assert_eq!(progress, Progress::copied(len), "{lens:?} {schedule:?}");
            assert!(space.bytes() == source.bytes[from..CHUNK], "K36");
            assert!(space.counts().turns <= 5);

            let space = UserSpace::new(&lens, 0).schedule(&schedule);
            let mut segments = space.segments(&lens);
            let mut iter = IovIter::iovec(&mut segments);
            let succeeded = source.published(&mut iter, from, total, &mut Vec::new());
            assert_eq!(succeeded, predicted, "K34: {lens:?} {schedule:?}");
            // Never a silent wrong success.
            assert!(!succeeded || space.bytes() == source.bytes[from..CHUNK]);
        }
    }
    println!(
        "{cases} cases: ours succeeds in all ({runs} runs), the published loop fails in {fails}"
    );
    assert!(fails > 0 && fails < cases);
}

#[test]
fn worked_example_skips_bytes_and_then_fails() {
    // K31, K32: four segments of 1024 bytes on four pages, of which {0}, {1}, {2, 3} are there.
    let source = Source::new();
    let (lens, schedule) = ([1024; 4], [0b0001, 0b0010, 0b1100]);
    let space = UserSpace::new(&lens, 0).schedule(&schedule);
    let mut segments = space.segments(&lens);
    let mut iter = IovIter::iovec(&mut segments);
    let mut turns = Vec::new();
    assert!(!source.published(&mut iter, 0, CHUNK, &mut turns));
    assert_eq!(turns, [1024, 1024, 1024]);
    // Source [2048, 3072) is skipped, [3072, 4096) stands in its place, and 1024 bytes are missing.
    assert_eq!(iter.count(), 1024);
    let bytes = space.bytes();
    assert!(bytes[..2048] == source.bytes[..2048]);
    assert!(bytes[2048..3072] == source.bytes[3072..4096]);

    let space = UserSpace::new(&lens, 0).schedule(&schedule);
    let mut segments = space.segments(&lens);
    let mut iter = IovIter::iovec(&mut segments);
    let progress = source.read(&mut iter, 0);
    assert_eq!(progress, Progress::copied(ByteLen::new(4096)));
    assert!(space.bytes() == source.bytes[..CHUNK]);
    assert_eq!(space.counts().turns, 3);
}

#[test]
fn variant_fails_without_a_wrong_byte() {
    // K33: 1024, then 2048; what is left becomes 0, and then wraps.
    let source = Source::new();
    let (lens, schedule) = ([1024, 2048, 1024], [0b001, 0b010, 0b100]);
    let space = UserSpace::new(&lens, 0).schedule(&schedule);
    let mut segments = space.segments(&lens);
    let mut iter = IovIter::iovec(&mut segments);
    let mut turns = Vec::new();
    assert!(!source.published(&mut iter, 0, CHUNK, &mut turns));
    assert_eq!(turns, [1024, 2048, 0]);
    assert!(space.bytes()[..3072] == source.bytes[..3072]);
    assert!(space.bytes()[3072..].iter().all(|byte| *byte == 0));
}

#[test]
fn turns_without_progress_are_harmless() {
    // K34, K37: none, {0}, all; and {0}, all.
    let source = Source::new();
    for schedule in [[0, 0b0001, 0b1111].as_slice(), &[0b0001, 0b1111]] {
        let space = UserSpace::new(&[1024; 4], 0).schedule(schedule);
        let mut segments = space.segments(&[1024; 4]);
        let mut iter = IovIter::iovec(&mut segments);
        let mut turns = Vec::new();
        assert!(source.published(&mut iter, 0, CHUNK, &mut turns));
        assert_eq!(turns.len(), schedule.len());
        assert!(space.bytes() == source.bytes[..CHUNK]);
    }
}

#[test]
fn one_segment_cannot_show_the_defect() {
    // K35: with Linux's all-or-nothing pieces a turn delivers nothing or everything.
    let source = Source::new();
    for evicted in 0..6 {
        let space = UserSpace::new(&[2048, 2048], 0)
            .schedule(&vec![0b01; evicted])
            .granularity(Granularity::Piece);
        let mut segment = space.segment(0, CHUNK);
        let mut iter = IovIter::ubuf(&mut segment);
        let mut turns = Vec::new();
        assert!(source.published(&mut iter, 0, CHUNK, &mut turns));
        assert!(turns.iter().rev().skip(1).all(|r| *r == 0));
        assert!(space.bytes() == source.bytes[..CHUNK]);
    }
}

#[test]
fn reads_across_pages_and_pieces() {
    // K35, K36: a library caller's count is longer than a page, and the retry holds there too.
    let source = Source::new();
    for granularity in [Granularity::Byte, Granularity::Piece] {
        let lens = [3000, 1, 2000, 0, 3191];
        let space = UserSpace::new(&lens, 0)
            .schedule(&[0b1, 0, 0b10, 0b11, 0b100, 0b10000])
            .granularity(granularity);
        let mut segments = space.segments(&lens);
        let mut iter = IovIter::iovec(&mut segments);
        let progress = source.read(&mut iter, 0);
        assert_eq!(progress, Progress::copied(ByteLen::from_usize(2 * CHUNK)));
        assert!(space.bytes() == source.bytes);
    }
}

#[test]
fn page_that_cannot_be_had_ends_the_read_at_its_first_byte() {
    // K43: unmapped, read-only. Whatever was resident before, everything below arrives (Linux delivers
    // none of a chunk of which a part cannot be faulted in), and the reason is told beside it (K5).
    let source = Source::new();
    for schedule in [[].as_slice(), &[0b1110], &[0b0001, 0], &[0, 0, 0b0001]] {
        for denied in 0..4 {
            let space = UserSpace::new(&[1024; 4], 0xee)
                .schedule(schedule)
                .page_kind(denied, PageKind::Denied);
            let mut segments = space.segments(&[1024; 4]);
            let mut iter = IovIter::iovec(&mut segments);
            let progress = source.read(&mut iter, 0);
            let len = 1024 * denied;
            assert_eq!(progress.copied, ByteLen::from_usize(len));
            assert_eq!(progress.stopped, Some(Stop::DestFault));
            assert_eq!(iter.count(), CHUNK - len);
            assert!(space.bytes()[..len] == source.bytes[..len]);
            assert!(space.bytes()[len..].iter().all(|byte| *byte == 0xee));
        }
    }
}

#[test]
fn page_that_is_evicted_for_long_is_waited_for() {
    // K43, K45: lost again and again, and had in the end.
    let source = Source::new();
    let lost = usize::try_from(MAX_STALLED_TURNS).unwrap() - 1;
    let space = UserSpace::new(&[CHUNK], 0).schedule(&vec![0; lost]);
    let mut segment = space.segment(0, CHUNK);
    let mut iter = IovIter::ubuf(&mut segment);
    let progress = source.read(&mut iter, 0);
    assert_eq!(progress, Progress::copied(ByteLen::from_usize(CHUNK)));
    assert_eq!(space.counts().turns, lost + 1);
}

#[test]
fn injected_faults_are_retried() {
    // I28, K43: endless only if the fault fires every time, and then it ends here (K45).
    let source = Source::new();
    let mut attr: FaultAttr = "1,60,0,-1".parse().unwrap();
    for (seed, probability) in [(1, 60), (2, 90), (3, 100)] {
        attr.probability = probability;
        let injector = FaultInjector::new(attr, seed);
        let mut buffer = vec![0; 2 * CHUNK];
        let mut segments: Vec<_> = buffer
            .chunks_mut(100)
            .map(|bytes| FailUsercopy::new(Plain::new(bytes), &injector))
            .collect();
        let mut iter = IovIter::iovec(&mut segments);
        let progress = source.read(&mut iter, 0);
        if probability < 100 {
            assert_eq!(progress, Progress::copied(ByteLen::from_usize(2 * CHUNK)));
            assert!(buffer == source.bytes);
        } else {
            assert_eq!(progress.advanced(), ByteLen::ZERO);
            assert_eq!(progress.stopped, Some(Stop::DestFault));
        }
    }
}

#[test]
fn page_that_lies_ends_the_read() {
    // K43, K45: every fault-in succeeds and every copy is refused. Linux asks for ever.
    let source = Source::new();
    let space = UserSpace::new(&[100, CHUNK - 100], 0).page_kind(1, PageKind::Deceitful);
    let mut segment = space.segment(0, CHUNK);
    let mut iter = IovIter::ubuf(&mut segment);
    let progress = source.read(&mut iter, 0);
    assert_eq!(progress.copied, ByteLen::new(100));
    assert_eq!(progress.stopped, Some(Stop::DestFault));
    let limit = usize::try_from(MAX_STALLED_TURNS).unwrap();
    assert!((limit..=limit + 2).contains(&space.counts().turns));
}

/// A buffer that is not there; to make it so, the area that is being read is freed.
struct Freeing<'a> {
    arena: &'a Arena<HeapFrames>,
    area: VirtAddr,
    resident: usize,
    bytes: Vec<u8>,
}

impl Destination for Freeing<'_> {
    fn len(&self) -> usize {
        self.bytes.len()
    }
    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize {
        let len = src.len().min(self.resident.saturating_sub(at));
        self.bytes[at..at + len].copy_from_slice(&src[..len]);
        len
    }
    fn zero_nofault(&mut self, at: usize, len: usize) -> usize {
        self.copy_nofault(at, &vec![0; len])
    }
    fn fault_in_writeable(&mut self, _at: usize, _len: usize) -> usize {
        if self.arena.vfree(self.area).is_ok() {
            self.resident = self.bytes.len();
        }
        0
    }
}

#[test]
fn nothing_is_held_while_the_buffer_is_faulted_in() {
    // K1, K46, R28: what makes a page resident may wait for whoever frees the area. With a lock held this
    // would never return.
    let source = Source::new();
    let mut buffer = Freeing {
        arena: &source.arena,
        area: source.area,
        resident: 5000,
        bytes: vec![0xee; 2 * CHUNK],
    };
    let mut iter = IovIter::ubuf(&mut buffer);
    let progress = source.read(&mut iter, 0);
    // What arrived before is the area's; what came afterwards is the hole that it left.
    assert_eq!(progress.copied, ByteLen::new(5000));
    assert_eq!(progress.zeroed, ByteLen::from_usize(2 * CHUNK - 5000));
    assert_eq!(progress.stopped, None);
    assert!(buffer.bytes[..5000] == source.bytes[..5000]);
    assert!(buffer.bytes[5000..].iter().all(|byte| *byte == 0));
}
