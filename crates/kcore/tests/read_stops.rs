//! What ends a read before all has arrived, and what it leaves.

mod tell;

use tell::{BASE, RULE, Tell, image, offset, read_with, segment};
use vread_addr::{ByteLen, FileOffset};
use vread_iov_iter::scripted::{PageKind, UserSpace};
use vread_iov_iter::{IovIter, Plain, Progress, SourceFailure, Stop};
use vread_kcore::{ElfMachine, KcoreError, KcoreImage, ReadOptions, SegmentKind, read_kcore_iter};

#[test]
fn no_bytes_touch_nothing() {
    // K7
    let image = image();
    let memory = Tell::default();
    for at in [0, 64, 4096, offset(&image, BASE).get(), image.size().get()] {
        let at = FileOffset::new(at);
        let (_bytes, progress) = read_with(&image, &memory, at, 0, ReadOptions::default());
        assert_eq!(progress, Progress::default());
    }
    assert_eq!(*memory.calls.borrow(), []);
}

#[test]
fn position_that_would_overflow_is_refused() {
    // K63: 2^63 - 1 is the last position; nothing is touched.
    let image = image();
    let max = 0x7fff_ffff_ffff_ffff_u64;
    let try_read = |at: u64, len: usize| {
        let mut buffer = vec![0xa5; len];
        let mut segment = Plain::new(&mut buffer);
        let mut iter = IovIter::ubuf(&mut segment);
        let at = FileOffset::new(at);
        read_kcore_iter(
            &image,
            &Tell::default(),
            &mut iter,
            at,
            ReadOptions::default(),
        )
    };
    assert_eq!(
        try_read(max - 10, 10).unwrap(),
        Progress::zeroed(ByteLen::new(10))
    );
    for (at, count) in [
        (max - 10, 11),
        (max, 1),
        (max + 1, 0),
        (u64::MAX, 1),
        (u64::MAX, 0),
    ] {
        let refused = KcoreError::PositionOverflow {
            at: FileOffset::new(at),
            count,
        };
        assert_eq!(try_read(at, count), Err(refused));
    }
    assert_eq!(
        try_read(max, 5).unwrap_err().to_string(),
        "a read of 5 bytes at file offset 0x7fffffffffffffff passes the largest file position"
    );
}

#[test]
fn header_that_cannot_be_delivered_stops_at_the_byte() {
    // K3, K5: what arrived is counted, and the reason stands beside it.
    let image = image();
    let space = UserSpace::new(&[100, 4096], 0xa5).page_kind(1, PageKind::Denied);
    let mut segment = space.segment(0, 4196);
    let mut iter = IovIter::ubuf(&mut segment);
    let at = FileOffset::new(0);
    let progress = read_kcore_iter(
        &image,
        &Tell::default(),
        &mut iter,
        at,
        ReadOptions::default(),
    )
    .unwrap();
    assert_eq!(progress.copied, ByteLen::new(100));
    assert_eq!(progress.stopped, Some(Stop::DestFault));
    assert_eq!(space.bytes()[..100], image.head()[..100]);
    assert!(space.bytes()[100..].iter().all(|byte| *byte == 0xa5));
}

#[test]
fn hole_that_cannot_be_delivered_stops_at_the_byte() {
    // K14: zeros fault too.
    let image = image();
    for skip in [0, 1] {
        let space = UserSpace::new(&[100, 4096], 0xa5).page_kind(1, PageKind::Denied);
        let mut segment = space.segment(0, 4196);
        let mut iter = IovIter::ubuf(&mut segment);
        let at = offset(&image, BASE + 3 * 4096 + skip);
        let progress = read_kcore_iter(
            &image,
            &Tell::default(),
            &mut iter,
            at,
            ReadOptions::default(),
        );
        let progress = progress.unwrap();
        assert_eq!(progress.zeroed, ByteLen::new(100));
        assert_eq!(progress.stopped, Some(Stop::DestFault));
    }
}

#[test]
fn failing_source_ends_the_read_with_its_cause() {
    // A source that is gone is an error, and what arrived before stays counted (K5 is Linux's).
    let image = image();
    let memory = Tell::default();
    memory
        .failure
        .set(Some((BASE + 0x1234, SourceFailure::Gone)));
    let at = offset(&image, BASE);
    let (bytes, progress) = read_with(&image, &memory, at, 0x3000, ReadOptions::default());
    assert_eq!(progress.copied, ByteLen::new(0x1234));
    assert_eq!(progress.stopped, Some(Stop::Failed(SourceFailure::Gone)));
    assert!(bytes[0x1234..].iter().all(|byte| *byte == 0xa5));
    assert_eq!(memory.calls.borrow().len(), 1);
}

#[test]
fn long_read_breaks_every_so_often() {
    // K11, K12, K13: nothing is held at least every CADENCE bytes, and the read can be cancelled there.
    let long = [segment(SegmentKind::Ram, BASE, 64 << 20)];
    let image = KcoreImage::kcore(ElfMachine::X86_64, RULE, &long, &[]).unwrap();
    let memory = Tell::default();
    let at = offset(&image, BASE + 5);
    let (_bytes, progress) = read_with(&image, &memory, at, 17 << 20, ReadOptions::default());
    assert_eq!(progress.copied, ByteLen::new(17 << 20));
    assert_eq!(memory.breaks.get(), 5);

    let memory = Tell::default();
    memory.cancel_after.set(Some(2));
    let options = ReadOptions {
        cancelled: Some(&memory.cancelled),
        ..ReadOptions::default()
    };
    let (_bytes, progress) = read_with(&image, &memory, at, 17 << 20, options);
    assert_eq!(progress.copied, ByteLen::new(8 << 20));
    assert_eq!(
        progress.stopped,
        Some(Stop::Failed(SourceFailure::Cancelled))
    );

    // Holes too.
    let memory = Tell::default();
    memory.cancel_after.set(Some(1));
    let options = ReadOptions {
        cancelled: Some(&memory.cancelled),
        ..ReadOptions::default()
    };
    let at = offset(&image, BASE + (64 << 20));
    let (_bytes, progress) = read_with(&image, &memory, at, 17 << 20, options);
    assert_eq!(progress.zeroed, ByteLen::new(4 << 20));
    assert_eq!(
        progress.stopped,
        Some(Stop::Failed(SourceFailure::Cancelled))
    );
}
