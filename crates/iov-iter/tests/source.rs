//! The other direction: bytes come out of the iterator.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "small numbers of the test's own"
)]

use std::any::TypeId;

use vread_iov_iter::{
    FailUsercopy, FaultAttr, FaultInjector, IovIter, IovIterDest, IovIterSource, MAX_RW_COUNT,
    Plain, PlainSource, Source, UIO_MAXIOV,
};

/// A writer's memory: pages of 16 bytes, each there or not, or not to be had.
struct Writer {
    bytes: Vec<u8>,
    resident: Vec<bool>,
    denied: Option<usize>,
    fault_ins: usize,
}

impl Writer {
    fn new(len: usize) -> Self {
        Self {
            bytes: (1..=251).cycle().take(len).collect(),
            resident: vec![false; len.div_ceil(16)],
            denied: None,
            fault_ins: 0,
        }
    }
}

impl Source for Writer {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn copy_from_nofault(&mut self, at: usize, dst: &mut [u8]) -> usize {
        let there = self.bytes.iter().enumerate().skip(at);
        let there = there.take_while(|(index, _)| self.resident[index / 16]);
        let mut done = 0;
        for (slot, (_, byte)) in dst.iter_mut().zip(there) {
            *slot = *byte;
            done += 1;
        }
        done
    }

    fn fault_in_readable(&mut self, at: usize, len: usize) -> usize {
        self.fault_ins += 1;
        for index in at..at + len {
            if self.denied == Some(index / 16) {
                return at + len - index;
            }
            self.resident[index / 16] = true;
        }
        0
    }
}

#[test]
fn direction_is_in_the_type() {
    // I2, I42: two types; that a wrong call does not compile is shown in the documentation of `IovIter`.
    type Dest = IovIterDest<'static, Plain<'static>>;
    type Source = IovIterSource<'static, PlainSource<'static>>;
    assert_ne!(TypeId::of::<Dest>(), TypeId::of::<Source>());
    assert_eq!(
        TypeId::of::<Dest>(),
        TypeId::of::<IovIter<'static, Plain<'static>>>()
    );
}

#[test]
fn bytes_come_in_order_and_the_iterator_moves() {
    // I12 to I20
    let (first, second) = ([1, 2, 3], [4, 5]);
    let mut segments = [
        PlainSource::new(&first),
        PlainSource::new(&[]),
        PlainSource::new(&second),
    ];
    let mut iter = IovIterSource::iovec(&mut segments);
    let mut got = [0; 2];
    assert_eq!(iter.copy_from_iter(&mut got), 2);
    assert_eq!((got, iter.count()), ([1, 2], 3));
    let mut got = [0; 9];
    assert_eq!(iter.copy_from_iter_nofault(&mut got), 3);
    assert_eq!((got, iter.count()), ([3, 4, 5, 0, 0, 0, 0, 0, 0], 0));
    assert_eq!(iter.revert(4), Ok(()));
    assert_eq!(iter.copy_from_iter(&mut got), 4);
    assert_eq!(got[..4], [2, 3, 4, 5]);
    assert_eq!(iter.copy_from_iter(&mut got), 0);
}

#[test]
fn copies_fault_in_what_is_not_resident() {
    // I22 in the other direction: byte granularity, and a nofault copy faults nothing in.
    let mut writer = Writer::new(40);
    let mut iter = IovIterSource::ubuf(&mut writer);
    let mut got = [0; 40];
    assert_eq!(iter.copy_from_iter_nofault(&mut got), 0);
    assert_eq!(iter.copy_from_iter(&mut got), 40);
    assert_eq!(iter.count(), 0);
    assert_eq!(got[..], writer.bytes[..]);
    assert_eq!(writer.fault_ins, 1);
    for denied in 0..2 {
        let mut writer = Writer::new(40);
        writer.denied = Some(denied);
        let mut iter = IovIterSource::ubuf(&mut writer);
        assert_eq!(iter.copy_from_iter(&mut got), 16 * denied);
        assert_eq!(iter.count(), 40 - 16 * denied);
    }
}

#[test]
fn fault_in_readable_counts_as_its_sibling_does() {
    // I33 to I37: bytes not faulted in; the excess counts; the first shortfall ends it; nothing moves.
    let mut writers = [Writer::new(20), Writer::new(40), Writer::new(20)];
    writers[1].denied = Some(1);
    let mut iter = IovIterSource::iovec(&mut writers);
    iter.advance(4);
    assert_eq!(iter.fault_in_readable(32), 0);
    assert_eq!(iter.fault_in_readable(33), 1);
    assert_eq!(iter.fault_in_readable(100), 100 - 32);
    assert_eq!(iter.fault_in_readable(0), 0);
    assert_eq!(iter.count(), 76);
    assert_eq!(writers[2].fault_ins, 0);
    // I34
    let mut kernel = [Writer::new(20)];
    assert_eq!(IovIterSource::kvec(&mut kernel).fault_in_readable(99), 0);
    assert_eq!(kernel[0].fault_ins, 0);
}

#[test]
fn injected_faults_are_survived() {
    // I28: in this direction too.
    let two = FaultAttr {
        interval: 1,
        probability: 100,
        space: 0,
        times: Some(2),
    };
    let faults = FaultInjector::new(two, 1);
    let bytes = [7; 5];
    let mut segment = FailUsercopy::new(PlainSource::new(&bytes), &faults);
    let mut iter = IovIterSource::ubuf(&mut segment);
    let mut got = [0; 5];
    assert_eq!(iter.copy_from_iter_nofault(&mut got), 0);
    assert_eq!(got, [0; 5], "not touched");
    assert_eq!(iter.copy_from_iter(&mut got), 5);
    assert_eq!(got, bytes);
}

#[test]
fn import_is_what_a_system_call_makes_of_segments() {
    // I41: one is a ubuf, whose single piece is not cut; more than 1024 are refused; 2^31 - 4096 bytes at most.
    let bytes = [1; 4];
    for count in [0, 1, 2, UIO_MAXIOV] {
        let mut segments = vec![PlainSource::new(&bytes); count];
        let iter = IovIterSource::import(&mut segments).expect("few enough");
        assert_eq!(iter.count(), 4 * count);
        let kind = if count == 1 { "ubuf" } else { "iovec" };
        assert!(format!("{iter:?}").contains(kind), "{iter:?}");
    }
    let mut segments = vec![PlainSource::new(&bytes); UIO_MAXIOV + 1];
    let error = IovIterSource::import(&mut segments).expect_err("too many");
    assert_eq!(
        error.to_string(),
        "1025 segments; a call brings at most 1024"
    );

    /// Long, and nowhere.
    struct Long;
    impl Source for Long {
        fn len(&self) -> usize {
            1 << 30
        }
        fn copy_from_nofault(&mut self, _at: usize, dst: &mut [u8]) -> usize {
            dst.len()
        }
        fn fault_in_readable(&mut self, _at: usize, _len: usize) -> usize {
            0
        }
    }
    let mut segments = [Long, Long, Long];
    let mut iter = IovIterSource::import(&mut segments).expect("few enough");
    assert_eq!(iter.count(), MAX_RW_COUNT);
    iter.advance(usize::MAX);
    assert_eq!(iter.count(), 0);
}

#[test]
fn simple_reads_move_the_position_by_what_arrived() {
    // I42
    let contents = b"kcore";
    let mut buffer = [0; 3];
    let mut at = 0_i64;
    for (want, text) in [(3, &b"kco"[..]), (2, b"re"), (0, b"")] {
        let mut segment = Plain::new(&mut buffer);
        let mut iter = IovIter::ubuf(&mut segment);
        assert_eq!(iter.simple_read_from_buffer(&mut at, contents), Ok(want));
        assert_eq!(buffer[..want], *text);
    }
    assert_eq!(at, 5);
    let mut segment = Plain::new(&mut buffer);
    let mut iter = IovIter::ubuf(&mut segment);
    for beyond in [6, i64::MAX] {
        at = beyond;
        assert_eq!(iter.simple_read_from_buffer(&mut at, contents), Ok(0));
        assert_eq!(at, beyond);
    }
    at = -1;
    let refused = iter.simple_read_from_buffer(&mut at, contents);
    assert_eq!(
        refused.expect_err("before the start").to_string(),
        "position -1 lies before the start; read from 0 on"
    );
    assert_eq!((at, iter.count()), (-1, 3));
}
