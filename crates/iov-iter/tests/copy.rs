//! What arrives where, on memory that comes and goes.
#![expect(clippy::unwrap_used, reason = "small numbers of the test's own")]

use vread_addr::{ByteLen, PAGE_SIZE, Pfn, PhysAddr, PhysRange};
use vread_iov_iter::scripted::{Granularity, PageKind, UserSpace};
use vread_iov_iter::{IovIter, MAX_STALLED_TURNS, PageSource, Plain, Progress, Stop};

/// Physical memory whose byte at `x` follows the kernel's own test pattern, up to 1 MiB.
#[derive(Debug)]
struct Pattern;

fn pattern(x: usize) -> u8 {
    let bytes = x.to_le_bytes();
    bytes[0].wrapping_add(bytes[1]).wrapping_add(bytes[2])
}

impl<D: vread_iov_iter::Destination> PageSource<D> for Pattern {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        let start = usize::try_from(start.get()).unwrap();
        let bytes: Vec<u8> = (start..)
            .map(pattern)
            .take(len.to_usize().unwrap())
            .collect();
        let done = iter.copy_to_iter_nofault(&bytes);
        Progress::copied(ByteLen::from_usize(done)).or_dest_fault(len)
    }
}

#[test]
fn fills_the_kernels_own_test_ranges_and_no_gap() {
    // A.8 of the specification (the ranges of the kernel's unit test), I18, I26
    const RANGES: [(usize, usize); 8] = [
        (2, 2),
        (27, 0x3000),
        (0x5193, 0x18794),
        (0x20000, 0x20000),
        (0x20000, 0x24000),
        (0x24000, 0x27001),
        (0x29000, 0xffffb),
        (0xffffd, 0xffffe),
    ];
    let mut buffer = vec![0x5a_u8; 1 << 20];
    let mut rest = buffer.as_mut_slice();
    let mut base = 0;
    let mut segments = Vec::new();
    for (from, to) in RANGES {
        let (_gap, tail) = rest.split_at_mut(from - base);
        let (segment, tail) = tail.split_at_mut(to - from);
        segments.push(Plain::new(segment));
        (rest, base) = (tail, to);
    }
    let total: usize = RANGES.iter().map(|(from, to)| to - from).sum();
    let mut iter = IovIter::iovec(&mut segments);
    assert_eq!(iter.count(), total);
    let source: Vec<u8> = (0..1 << 20).map(pattern).collect();
    assert_eq!(iter.copy_to_iter(&source), total);
    assert_eq!(iter.count(), 0);

    let mut expected = vec![0x5a_u8; 1 << 20];
    let mut taken = 0;
    for (from, to) in RANGES {
        for slot in &mut expected[from..to] {
            *slot = pattern(taken);
            taken += 1;
        }
    }
    assert!(buffer == expected);
}

#[test]
fn copy_to_iter_faults_in_what_is_not_resident() {
    // I21, I22
    let space = UserSpace::new(&[16; 4], 0xff);
    let mut segments = space.segments(&[10, 30, 24]);
    let mut iter = IovIter::iovec(&mut segments);
    let src: Vec<u8> = (1..=64).collect();
    assert_eq!(iter.copy_to_iter(&src), 64);
    assert_eq!(space.bytes(), src);
}

#[test]
fn copy_to_iter_stops_at_the_byte_that_cannot_be_had() {
    // I22: byte granularity, also where fault-in succeeds in part only.
    for denied in 0..4 {
        let space = UserSpace::new(&[16; 4], 0xff).page_kind(denied, PageKind::Denied);
        let mut segments = space.segments(&[10, 30, 24]);
        let mut iter = IovIter::iovec(&mut segments);
        let src: Vec<u8> = (1..=64).collect();
        assert_eq!(iter.copy_to_iter(&src), 16 * denied);
        assert_eq!(iter.count(), 64 - 16 * denied, "I20");
        let bytes = space.bytes();
        assert_eq!(bytes[..16 * denied], src[..16 * denied]);
        assert!(bytes[16 * denied..].iter().all(|byte| *byte == 0xff));
    }
}

#[test]
fn copy_to_iter_survives_an_eviction_between_fault_in_and_copy() {
    // I38: nothing is pinned; losing the page again and again is no failure.
    let space = UserSpace::new(&[16], 0xff).schedule(&[0; 40]);
    let mut segment = space.segment(0, 16);
    let mut iter = IovIter::ubuf(&mut segment);
    assert_eq!(iter.copy_to_iter(&[7; 16]), 16);
    assert_eq!(space.counts().turns, 41);
}

#[test]
fn copy_to_iter_gives_up_on_memory_that_lies() {
    // I40, K43, K45: sub-page denial, where Linux would ask for ever.
    let space = UserSpace::new(&[16; 2], 0xff).page_kind(1, PageKind::Deceitful);
    let mut segment = space.segment(0, 32);
    let mut iter = IovIter::ubuf(&mut segment);
    assert_eq!(iter.copy_to_iter(&[7; 32]), 16);
    assert!(space.counts().turns <= usize::try_from(MAX_STALLED_TURNS).unwrap() + 2);
}

#[test]
fn nofault_copy_faults_nothing_in() {
    // I23, I24: and the progress is the piece's in Linux, the byte's here.
    for (granularity, done) in [(Granularity::Piece, 0), (Granularity::Byte, 16)] {
        let space = UserSpace::new(&[16; 2], 0xff)
            .schedule(&[0b01])
            .granularity(granularity);
        let mut segment = space.segment(0, 32);
        let mut iter = IovIter::ubuf(&mut segment);
        assert_eq!(iter.copy_to_iter_nofault(&[7; 32]), done);
        assert_eq!(iter.count(), 32 - done);
        assert_eq!(space.counts().fault_ins, 0);
        // I25: the first page is overwritten either way; the second is not.
        assert_eq!(space.bytes(), [[7; 16], [0xff; 16]].concat());
    }
}

#[test]
fn resumed_copy_rewrites_dirty_bytes() {
    // I25: what a refused piece left behind is overwritten by the retry.
    let space = UserSpace::new(&[16; 2], 0xff)
        .schedule(&[0b01, 0b11])
        .granularity(Granularity::Piece);
    let mut segment = space.segment(0, 32);
    let mut iter = IovIter::ubuf(&mut segment);
    assert_eq!(iter.copy_to_iter_nofault(&[7; 32]), 0);
    assert_eq!(iter.fault_in_writeable(32), 0);
    assert_eq!(iter.copy_to_iter_nofault(&[9; 32]), 32);
    assert_eq!(space.bytes(), [9; 32]);
}

#[test]
fn zero_faults_in_and_zero_nofault_does_not() {
    // I27, R20
    let space = UserSpace::new(&[16; 2], 0xff);
    let mut segment = space.segment(0, 32);
    let mut iter = IovIter::ubuf(&mut segment);
    assert_eq!(iter.zero_nofault(32), 0);
    assert_eq!(space.bytes(), [0xff; 32]);
    assert_eq!(iter.zero(20), 20);
    assert_eq!(iter.count(), 12);
    assert_eq!(space.bytes(), [[0; 20].as_slice(), &[0xff; 12]].concat());
    let space = UserSpace::new(&[16; 2], 0xff).page_kind(1, PageKind::Denied);
    let mut segment = space.segment(0, 32);
    let mut iter = IovIter::ubuf(&mut segment);
    assert_eq!(iter.zero(32), 16);
}

#[test]
fn page_copy_refuses_to_leave_the_page() {
    // I29: the whole request, and nothing moves; up to the last byte is allowed.
    let mut buffer = [0xff_u8; 8192];
    let mut segment = Plain::new(&mut buffer);
    let mut iter = IovIter::ubuf(&mut segment);
    let (page, len) = (Pfn::new(1), ByteLen::new);
    for (offset, bytes) in [(0, 4097), (1, 4096), (4096, 1), (u64::MAX, 2), (4097, 0)] {
        let refused = Pattern.copy_page_to_iter_nofault(page, len(offset), len(bytes), &mut iter);
        assert_eq!(refused, Progress::default(), "{offset} {bytes}");
        assert_eq!(iter.count(), 8192);
    }
    let done = Pattern.copy_page_to_iter_nofault(page, len(4095), len(1), &mut iter);
    assert_eq!(done, Progress::copied(len(1)));
    let done = Pattern.copy_page_to_iter_nofault(page, len(0), PAGE_SIZE, &mut iter);
    assert_eq!(done, Progress::copied(PAGE_SIZE));
    assert_eq!(buffer[0], pattern(4096 + 4095));
    assert_eq!(buffer[1], pattern(4096));
    // I32
    let mut iter = IovIter::discard(10);
    let none: &mut IovIter<'_, Plain<'_>> = &mut iter;
    let done = Pattern.copy_page_to_iter_nofault(page, len(4096), len(0), none);
    assert_eq!(done, Progress::default());
}

#[test]
fn page_copy_stops_behind_the_last_resident_segment() {
    // I31: the first segment's bytes count, the second's refusal ends it.
    let space = UserSpace::new(&[100, 100], 0xff).schedule(&[0b01]);
    let mut segments = space.segments(&[100, 100]);
    let mut iter = IovIter::iovec(&mut segments);
    let done =
        Pattern.copy_page_to_iter_nofault(Pfn::new(0), ByteLen::ZERO, ByteLen::new(200), &mut iter);
    assert_eq!(done.copied, ByteLen::new(100));
    assert_eq!(done.stopped, Some(Stop::DestFault));
    assert_eq!(iter.count(), 100);
}

/// Memory whose frames 4 to 7 are one compound page.
struct Compound;

impl<D: vread_iov_iter::Destination> PageSource<D> for Compound {
    fn compound_range(&self, page: Pfn) -> Option<PhysRange> {
        match page.get() {
            4..8 => PhysRange::from_len(PhysAddr::new(4 * 4096), ByteLen::new(4 * 4096)),
            _ => PhysRange::from_len(page.checked_start()?, PAGE_SIZE),
        }
    }

    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        Pattern.copy_run_to_iter_nofault(start, len, iter)
    }
}

#[test]
fn page_copy_reaches_to_the_end_of_the_compound_page() {
    // I29, I30: counted from the head, whichever of its pages is named; one byte more is refused whole.
    let mut buffer = vec![0xff_u8; 5 * 4096];
    for (page, offset, len, sane) in [
        (4, 0, 4 * 4096, true),
        (4, 0, 4 * 4096 + 1, false),
        (6, 5000, 2 * 4096 - 5000, true),
        (6, 5000, 2 * 4096 - 4999, false),
        (4, 3 * 4096 + 7, 4089, true),
        (4, 3 * 4096 + 7, 4090, false),
        (3, 0, 4097, false),
        (4, u64::MAX, 2, false),
    ] {
        let mut segment = Plain::new(&mut buffer);
        let mut iter = IovIter::ubuf(&mut segment);
        let (page, at, want) = (Pfn::new(page), ByteLen::new(offset), ByteLen::new(len));
        let done = Compound.copy_page_to_iter(page, at, want, &mut iter);
        let expected = if sane {
            Progress::copied(want)
        } else {
            Progress::default()
        };
        assert_eq!(done, expected, "{page:?} {offset} {len}");
        if sane {
            let start = usize::try_from(page.get() * 4096 + offset).unwrap();
            let last = usize::try_from(len).unwrap() - 1;
            assert_eq!(
                (buffer[0], buffer[last]),
                (pattern(start), pattern(start + last))
            );
        }
    }
}

#[test]
fn page_copy_that_may_sleep_faults_in_and_gives_up_where_it_must() {
    // I22, I30: the sibling of the copy that may not.
    let (page, none) = (Pfn::new(1), ByteLen::ZERO);
    let space = UserSpace::new(&[1000; 5], 0xff);
    let mut segments = space.segments(&[1000, 0, 3000, 96]);
    let mut iter = IovIter::iovec(&mut segments);
    let done = Pattern.copy_page_to_iter(page, none, PAGE_SIZE, &mut iter);
    assert_eq!(done, Progress::copied(PAGE_SIZE));
    assert_eq!(iter.count(), 0);
    let expected: Vec<u8> = (4096..8192).map(pattern).collect();
    assert_eq!(space.bytes()[..4096], expected);

    let space = UserSpace::new(&[1000; 5], 0xff).page_kind(2, PageKind::Denied);
    let mut segment = space.segment(0, 5000);
    let mut iter = IovIter::ubuf(&mut segment);
    let done = Pattern.copy_page_to_iter(page, none, PAGE_SIZE, &mut iter);
    assert_eq!(done.copied, ByteLen::new(2000));
    assert_eq!(done.stopped, Some(Stop::DestFault));

    let space = UserSpace::new(&[4096], 0xff).page_kind(0, PageKind::Deceitful);
    let mut segment = space.segment(0, 4096);
    let mut iter = IovIter::ubuf(&mut segment);
    let done = Pattern.copy_page_to_iter(page, none, PAGE_SIZE, &mut iter);
    assert_eq!(done.stopped, Some(Stop::DestFault), "K45");
    assert!(space.counts().turns <= usize::try_from(MAX_STALLED_TURNS).unwrap() + 2);
}
