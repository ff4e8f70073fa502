//! The walker's contract: which pieces a step sees, and where the iterator stands afterwards.

use vread_iov_iter::scripted::{Scripted, UserSpace};
use vread_iov_iter::{IovIter, Piece};

/// The pieces of a walk over `len` bytes as (bytes done before, position in the segment, length), when
/// step `n` does `limits[n]` bytes of its piece, and all of it beyond the list.
fn walk(
    iter: &mut IovIter<'_, Scripted<'_>>,
    len: usize,
    limits: &[usize],
) -> (usize, Vec<(usize, usize, usize)>) {
    let mut pieces = Vec::new();
    let done = iter.walk(len, |piece: Piece<'_, _>| {
        let limit = limits.get(pieces.len()).copied().unwrap_or(usize::MAX);
        pieces.push((piece.done, piece.at, piece.len));
        piece.len.min(limit)
    });
    (done, pieces)
}

#[test]
fn clamps_a_request_to_the_count() {
    // I12, I20
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[10, 20]);
    let mut iter = IovIter::iovec(&mut segments);
    iter.truncate(25);
    assert_eq!(
        walk(&mut iter, usize::MAX, &[]),
        (25, vec![(0, 0, 10), (10, 0, 15)])
    );
    assert_eq!(iter.count(), 0);
}

#[test]
fn calls_no_step_for_no_bytes() {
    // I12, I32: neither a request of 0 bytes nor an exhausted iterator touches anything.
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[0, 10]);
    let mut iter = IovIter::iovec(&mut segments);
    assert_eq!(walk(&mut iter, 0, &[]), (0, vec![]));
    assert_eq!(iter.single_seg_count(), 0, "still before the empty segment");
    iter.truncate(0);
    assert_eq!(walk(&mut iter, 10, &[]), (0, vec![]));
    assert_eq!(iter.single_seg_count(), 0);
    assert_eq!(space.counts().writes, 0);
}

#[test]
fn ubuf_is_one_piece_across_pages() {
    // I14
    let space = UserSpace::new(&[4096, 4096, 4096], 0);
    let mut segment = space.segment(100, 8192);
    let mut iter = IovIter::ubuf(&mut segment);
    assert_eq!(walk(&mut iter, 8000, &[]), (8000, vec![(0, 0, 8000)]));
    assert_eq!(walk(&mut iter, 8000, &[]), (192, vec![(0, 8000, 192)]));
}

#[test]
fn iovec_gives_a_piece_a_segment() {
    // I13, I14
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[7, 3, 90]);
    let mut iter = IovIter::iovec(&mut segments);
    let pieces = vec![(0, 0, 7), (7, 0, 3), (10, 0, 5)];
    assert_eq!(walk(&mut iter, 15, &[]), (15, pieces));
    assert_eq!(walk(&mut iter, 15, &[]), (15, vec![(0, 5, 15)]));
}

#[test]
fn short_step_ends_the_walk_where_it_stopped() {
    // I15, I16: by any number of bytes, and no later segment is offered.
    for done in 0..7 {
        let space = UserSpace::new(&[100], 0);
        let mut segments = space.segments(&[5, 7, 9]);
        let mut iter = IovIter::iovec(&mut segments);
        let pieces = vec![(0, 0, 5), (5, 0, 7)];
        assert_eq!(walk(&mut iter, 21, &[5, done]), (5 + done, pieces));
        assert_eq!(iter.count(), 16 - done, "I20");
        let rest = vec![(0, done, 7 - done), (7 - done, 0, 9)];
        assert_eq!(walk(&mut iter, 21, &[]), (16 - done, rest));
    }
}

#[test]
fn short_step_on_a_ubuf_resumes_at_the_byte() {
    // I15, I20, I22: byte granularity within a piece.
    let space = UserSpace::new(&[100], 0);
    let mut segment = space.segment(0, 100);
    let mut iter = IovIter::ubuf(&mut segment);
    assert_eq!(walk(&mut iter, 50, &[13]), (13, vec![(0, 0, 50)]));
    assert_eq!(walk(&mut iter, 37, &[]), (37, vec![(0, 13, 37)]));
    assert_eq!(iter.count(), 50);
}

#[test]
fn step_that_claims_too_much_moves_no_further_than_its_piece() {
    // I1: whatever a destination says, the position stays in the buffer.
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[5, 7]);
    let mut iter = IovIter::iovec(&mut segments);
    assert_eq!(iter.walk(20, |_piece| usize::MAX), 12);
    assert_eq!(iter.count(), 0);
    let mut segment = space.segment(0, 10);
    let mut iter = IovIter::ubuf(&mut segment);
    assert_eq!(iter.walk(4, |_piece| usize::MAX), 4);
    assert_eq!(iter.count(), 6);
}

#[test]
fn skips_empty_segments_without_a_step() {
    // I18
    let space = UserSpace::new(&[100], 0);
    let mut segments = space.segments(&[0, 4, 0, 0, 6, 0]);
    let mut iter = IovIter::iovec(&mut segments);
    assert_eq!(walk(&mut iter, 10, &[]), (10, vec![(0, 0, 4), (4, 0, 6)]));
}

#[test]
fn copy_leaves_trailing_empty_segments_and_advance_skips_them() {
    // I17 against I7, seen through I5: the current segment is the empty one, or the one behind.
    let space = UserSpace::new(&[100], 0).resident();
    let mut segments = space.segments(&[4, 0, 6, 1]);
    let mut copied = IovIter::iovec(&mut segments);
    assert_eq!(copied.copy_to_iter(&[1; 4]), 4);
    assert_eq!(copied.single_seg_count(), 0);

    let mut segments = space.segments(&[4, 0, 6, 1]);
    let mut advanced = IovIter::iovec(&mut segments);
    advanced.advance(4);
    assert_eq!(advanced.single_seg_count(), 6);

    // The next byte is the same all the same.
    for iter in [&mut copied, &mut advanced] {
        assert_eq!(walk(iter, 7, &[]), (7, vec![(0, 0, 6), (6, 0, 1)]));
    }
}

#[test]
fn discard_swallows_the_clamped_length() {
    // I19
    let mut iter: IovIter<'_, Scripted<'_>> = IovIter::discard(10);
    assert_eq!(walk(&mut iter, 4, &[]), (4, vec![]));
    assert_eq!(iter.copy_to_iter(&[1; 4]), 4);
    assert_eq!(iter.zero(usize::MAX), 2);
    assert_eq!(iter.count(), 0);
    assert_eq!(iter.copy_to_iter(&[1; 4]), 0);
}

#[test]
fn any_number_of_segments_is_a_buffer() {
    // I41: Linux imports up to 1024; the bound is the system call's and not the iterator's.
    let space = UserSpace::new(&[10_000], 0).resident();
    for count in [0, 1, 1024, 1025, 5000] {
        let mut segments = space.segments(&vec![2; count]);
        let mut iter = IovIter::iovec(&mut segments);
        assert_eq!(iter.count(), 2 * count);
        assert_eq!(iter.copy_to_iter(&vec![7; 10_000]), 2 * count);
    }
}
