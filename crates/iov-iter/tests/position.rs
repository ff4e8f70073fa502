//! Counting, moving and taking back.

use vread_iov_iter::scripted::{Scripted, UserSpace};
use vread_iov_iter::{IovIter, MAX_RW_COUNT, RevertError};

/// Where the iterator stands: (bytes done before, position in the segment, length) of the pieces left.
fn rest(iter: &mut IovIter<'_, Scripted<'_>>) -> Vec<(usize, usize, usize)> {
    let state = iter.save();
    let mut pieces = Vec::new();
    iter.walk(usize::MAX, |piece| {
        pieces.push((piece.done, piece.at, piece.len));
        piece.len
    });
    iter.restore(state);
    pieces
}

#[test]
fn truncate_only_lowers_the_count() {
    // I4
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[10, 20]);
    let mut iter = IovIter::iovec(&mut segments);
    iter.truncate(31);
    assert_eq!(iter.count(), 30);
    iter.truncate(7);
    assert_eq!(iter.count(), 7);
    iter.truncate(8);
    assert_eq!(iter.count(), 7);
}

#[test]
fn reexpand_stays_within_the_segments() {
    // I1, I4: Linux leaves the bound to the caller.
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[10, 20]);
    let mut iter = IovIter::iovec(&mut segments);
    iter.truncate(5);
    iter.advance(3);
    iter.reexpand(27);
    assert_eq!(iter.count(), 27);
    assert_eq!(rest(&mut iter), [(0, 3, 7), (7, 0, 20)]);
    iter.reexpand(usize::MAX);
    assert_eq!(iter.count(), 27);
    let mut segment = space.segment(0, 10);
    let mut iter = IovIter::ubuf(&mut segment);
    iter.advance(4);
    iter.reexpand(usize::MAX);
    assert_eq!(iter.count(), 6);
}

#[test]
fn single_seg_count_is_what_the_current_segment_takes() {
    // I5
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[10, 20, 5]);
    let mut iter = IovIter::iovec(&mut segments);
    assert_eq!(iter.single_seg_count(), 10);
    iter.advance(4);
    assert_eq!(iter.single_seg_count(), 6);
    iter.truncate(3);
    assert_eq!(iter.single_seg_count(), 3);
    iter.reexpand(31);
    iter.advance(26);
    assert_eq!(iter.single_seg_count(), 5, "the last segment: the count");
    let mut segment = space.segment(0, 10);
    let mut iter = IovIter::ubuf(&mut segment);
    iter.advance(4);
    assert_eq!(iter.single_seg_count(), 6);
}

#[test]
fn advance_stops_at_the_end() {
    // I6, I8
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[10, 20]);
    let mut iter = IovIter::iovec(&mut segments);
    iter.truncate(25);
    iter.advance(usize::MAX);
    assert_eq!(iter.count(), 0);
    iter.reexpand(5);
    assert_eq!(rest(&mut iter), [(0, 15, 5)]);

    let mut segment = space.segment(0, 10);
    let mut iter = IovIter::ubuf(&mut segment);
    iter.advance(usize::MAX);
    assert_eq!((iter.count(), rest(&mut iter)), (0, vec![]));

    let mut iter: IovIter<'_, Scripted<'_>> = IovIter::discard(10);
    iter.advance(usize::MAX);
    assert_eq!(iter.count(), 0);
}

#[test]
fn advance_to_a_segment_end_skips_the_empty_ones_behind() {
    // I7: also with 0 bytes, as long as the count is not 0.
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[0, 0, 10, 0, 20, 3]);
    let mut iter = IovIter::iovec(&mut segments);
    assert_eq!(iter.single_seg_count(), 0);
    iter.advance(0);
    assert_eq!(iter.single_seg_count(), 10);
    iter.advance(10);
    assert_eq!(iter.single_seg_count(), 20);
}

#[test]
fn advance_of_an_exhausted_iterator_does_nothing() {
    // I7
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[0, 10, 3]);
    let mut iter = IovIter::iovec(&mut segments);
    iter.truncate(0);
    iter.advance(0);
    iter.advance(5);
    iter.reexpand(13);
    assert_eq!(iter.single_seg_count(), 0, "still before the empty segment");
}

#[test]
fn revert_steps_back_over_segments() {
    // I9, I11
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[5, 0, 7, 9]);
    let mut iter = IovIter::iovec(&mut segments);
    let all = rest(&mut iter);
    for len in 0..=21 {
        iter.advance(len);
        assert_eq!(iter.revert(len), Ok(()));
        assert_eq!((iter.count(), rest(&mut iter)), (21, all.clone()), "{len}");
    }
    iter.advance(15);
    assert_eq!(iter.revert(5), Ok(()));
    assert_eq!(rest(&mut iter), [(0, 5, 2), (2, 0, 9)]);
}

#[test]
fn revert_refuses_what_no_read_can_have_moved() {
    // I9: Linux warns above 2^31 - 4096, asserts below the start of a ubuf and goes astray below that
    // of an iovec. Nothing moves here.
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[5, 7]);
    let mut iovec = IovIter::iovec(&mut segments);
    let mut segment = space.segment(0, 12);
    let mut ubuf = IovIter::ubuf(&mut segment);
    let mut discard = IovIter::discard(12);
    assert_eq!(MAX_RW_COUNT, 0x7fff_f000);
    for iter in [&mut iovec, &mut ubuf, &mut discard] {
        iter.advance(6);
        assert_eq!(iter.revert(MAX_RW_COUNT + 1), Err(RevertError::TooLong));
        assert_eq!(iter.revert(7), Err(RevertError::BeforeStart));
        assert_eq!(iter.revert(0), Ok(()));
        assert_eq!(iter.count(), 6);
        assert_eq!(iter.revert(6), Ok(()));
        assert_eq!(iter.count(), 12);
    }
}

#[test]
fn restore_returns_to_the_saved_position() {
    // I10
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[5, 0, 7, 9]);
    let mut iter = IovIter::iovec(&mut segments);
    iter.advance(3);
    iter.truncate(10);
    let (state, expected) = (iter.save(), rest(&mut iter));
    for len in 0..=10 {
        iter.advance(len);
        iter.restore(state);
        assert_eq!((iter.count(), rest(&mut iter)), (10, expected.clone()));
    }
}

#[test]
fn restoring_a_foreign_state_claims_no_bytes_that_are_not_there() {
    // I1, I10: Linux trusts the caller.
    let space = UserSpace::new(&[100], 0);
    let mut segment = space.segment(0, 90);
    let mut long = IovIter::ubuf(&mut segment);
    long.advance(20);
    let state = long.save();
    let mut segments = space.segments(&[5, 7]);
    let mut short = IovIter::iovec(&mut segments);
    short.restore(state);
    assert_eq!(short.count(), 0);
    assert_eq!(short.copy_to_iter(&[1; 4]), 0);
}
