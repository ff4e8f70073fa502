//! Making the buffer resident: returns the bytes *not* faulted in.

use vread_iov_iter::scripted::{PageKind, Scripted, UserSpace};
use vread_iov_iter::{IovIter, Plain};

#[test]
fn success_is_zero_and_nothing_moves_or_changes() {
    // I33, I37
    let space = UserSpace::new(&[16; 4], 0x5a);
    let mut segments = space.segments(&[10, 0, 30, 24]);
    let mut iter = IovIter::iovec(&mut segments);
    iter.advance(3);
    assert_eq!(iter.fault_in_writeable(61), 0);
    assert_eq!(iter.count(), 61);
    assert_eq!(iter.single_seg_count(), 7);
    assert_eq!(space.bytes(), [0x5a; 64]);
    assert_eq!(space.counts().writes, 0);
    assert_eq!(iter.copy_to_iter_nofault(&[1; 61]), 61, "resident now");
}

#[test]
fn no_bytes_need_no_fault_in() {
    // I36
    let space = UserSpace::new(&[16], 0).page_kind(0, PageKind::Denied);
    let mut segment = space.segment(0, 16);
    let mut iter = IovIter::ubuf(&mut segment);
    assert_eq!(iter.fault_in_writeable(0), 0);
}

#[test]
fn own_memory_is_always_resident() {
    // I34
    let mut buffer = [0_u8; 16];
    let mut segment = Plain::new(&mut buffer);
    assert_eq!(IovIter::ubuf(&mut segment).fault_in_writeable(16), 0);
    let mut discard: IovIter<'_, Plain<'_>> = IovIter::discard(16);
    assert_eq!(discard.fault_in_writeable(usize::MAX), 0);
}

#[test]
fn more_than_the_count_never_succeeds() {
    // I35: the excess counts as not faulted in, with no overflow.
    let space = UserSpace::new(&[16; 4], 0);
    let mut segments = space.segments(&[10, 54]);
    let mut iter = IovIter::iovec(&mut segments);
    iter.truncate(40);
    assert_eq!(iter.fault_in_writeable(41), 1);
    assert_eq!(iter.fault_in_writeable(usize::MAX), usize::MAX - 40);
    let mut segment = space.segment(0, 16);
    let mut iter = IovIter::ubuf(&mut segment);
    assert_eq!(iter.fault_in_writeable(20), 4);
    iter.advance(16);
    assert_eq!(iter.fault_in_writeable(1), 1);
}

#[test]
fn counts_from_the_first_page_that_fails() {
    // I37: first, middle and last page of one range
    for (denied, short) in [(0, 64 - 3), (1, 64 - 16), (3, 16)] {
        let space = UserSpace::new(&[16; 4], 0).page_kind(denied, PageKind::Denied);
        let mut segment = space.segment(3, 61);
        let mut iter = IovIter::ubuf(&mut segment);
        assert_eq!(iter.fault_in_writeable(61), short, "{denied}");
    }
}

#[test]
fn stops_at_the_first_segment_with_a_shortfall() {
    // I36: segments in order from the position on, empty parts skipped, later ones not tried.
    let space = UserSpace::new(&[16; 4], 0).page_kind(1, PageKind::Denied);
    let mut segments = space.segments(&[16, 0, 16, 32]);
    let mut iter = IovIter::iovec(&mut segments);
    iter.advance(6);
    assert_eq!(iter.fault_in_writeable(58), 48);
    assert_eq!(space.counts().fault_ins, 2);
    // The last segment was not made resident.
    let mut tail = space.segment(32, 32);
    assert_eq!(IovIter::ubuf(&mut tail).copy_to_iter_nofault(&[1; 32]), 0);
}

#[test]
fn stops_with_the_bytes_asked_for() {
    // I36: no segment behind the request is touched.
    let space = UserSpace::new(&[16; 4], 0);
    let mut segments = space.segments(&[16, 16, 32]);
    let mut iter: IovIter<'_, Scripted<'_>> = IovIter::iovec(&mut segments);
    assert_eq!(iter.fault_in_writeable(20), 0);
    assert_eq!(space.counts().fault_ins, 2);
}

#[test]
fn residency_may_be_lost_at_once() {
    // I38: success is no promise for the copy that follows.
    let space = UserSpace::new(&[16], 0).schedule(&[0]);
    let mut segment = space.segment(0, 16);
    let mut iter = IovIter::ubuf(&mut segment);
    assert_eq!(iter.fault_in_writeable(16), 0);
    assert_eq!(iter.copy_to_iter_nofault(&[1; 16]), 0);
}
