//! What arrives where, on memory that comes and goes.
#![expect(clippy::unwrap_used, reason = "small numbers of the test's own")]

use vread_addr::{ByteLen, PAGE_SIZE, Pfn, PhysAddr};
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
