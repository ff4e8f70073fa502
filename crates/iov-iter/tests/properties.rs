//! What holds for every buffer, every split and every schedule of faults.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "small numbers of the test's own"
)]

use proptest::prelude::*;
use vread_iov_iter::IovIter;
use vread_iov_iter::scripted::{Granularity, PageKind, UserSpace};

/// Lengths with the interesting ones often: empty, tiny, a page of the model, more than a page.
fn lengths(max: usize) -> impl Strategy<Value = Vec<usize>> {
    let length = prop_oneof![Just(0_usize), Just(1), Just(16), 0..40_usize];
    prop::collection::vec(length, 1..max)
}

fn granularities() -> impl Strategy<Value = Granularity> {
    prop_oneof![Just(Granularity::Byte), Just(Granularity::Piece)]
}

fn source(len: usize) -> Vec<u8> {
    (1..=251).cycle().take(len).collect()
}

proptest! {
    /// I12 to I20, I22, I38: however a copy is split and whatever is evicted meanwhile, the buffer gets
    /// what one copy into resident memory gives it.
    #[test]
    fn any_split_of_a_copy_equals_one_copy(
        segments in lengths(8),
        splits in lengths(12),
        schedule in prop::collection::vec(any::<u64>(), 0..20),
        granularity in granularities(),
    ) {
        let total: usize = segments.iter().sum();
        let src = source(total);
        let space = UserSpace::new(&[16; 20], 0xff)
            .schedule(&schedule)
            .granularity(granularity);
        let mut parts = space.segments(&segments);
        let mut iter = IovIter::iovec(&mut parts);
        let mut done = 0;
        for split in splits.into_iter().chain([usize::MAX]) {
            let want = split.min(total - done);
            prop_assert_eq!(iter.copy_to_iter(&src[done..done + want]), want);
            done += want;
            prop_assert_eq!(iter.count(), total - done);
        }
        let bytes = space.bytes();
        prop_assert_eq!(&bytes[..total], &src[..]);
        prop_assert!(bytes[total..].iter().all(|byte| *byte == 0xff));
    }

    /// I20, I25: a nofault copy that stops early has delivered exactly what it says, and resuming there
    /// completes it.
    #[test]
    fn a_copy_resumed_where_it_stopped_loses_and_repeats_nothing(
        segments in lengths(8),
        schedule in prop::collection::vec(any::<u64>(), 0..20),
        granularity in granularities(),
    ) {
        let total: usize = segments.iter().sum();
        let src = source(total);
        let space = UserSpace::new(&[16; 20], 0xff)
            .schedule(&schedule)
            .granularity(granularity);
        let mut parts = space.segments(&segments);
        let mut iter = IovIter::iovec(&mut parts);
        let mut done = 0;
        while done < total {
            let step = iter.copy_to_iter_nofault(&src[done..]);
            done += step;
            prop_assert_eq!(&space.bytes()[..done], &src[..done]);
            prop_assert_eq!(iter.fault_in_writeable(total - done), 0);
        }
        prop_assert_eq!(iter.count(), 0);
    }

    /// I9, I11: taking back what was moved restores the byte position, whatever moved it.
    #[test]
    fn revert_undoes(
        segments in lengths(8),
        moves in prop::collection::vec((any::<bool>(), 0..40_usize), 0..12),
    ) {
        let total: usize = segments.iter().sum();
        let space = UserSpace::new(&[16; 20], 0xff).resident();
        let mut parts = space.segments(&segments);
        let mut iter = IovIter::iovec(&mut parts);
        let mut moved = 0;
        for (copy, len) in moves {
            if copy {
                moved += iter.copy_to_iter(&vec![1; len]);
            } else {
                let before = iter.count();
                iter.advance(len);
                moved += before - iter.count();
            }
        }
        prop_assert_eq!(iter.count(), total - moved);
        prop_assert_eq!(iter.revert(moved), Ok(()));
        prop_assert_eq!(iter.count(), total);
        let src = source(total);
        prop_assert_eq!(iter.copy_to_iter(&src), total);
        prop_assert_eq!(&space.bytes()[..total], &src[..]);
    }

    /// I10: so does restoring.
    #[test]
    fn restore_undoes(
        segments in lengths(8),
        first in 0..100_usize,
        second in 0..100_usize,
    ) {
        let total: usize = segments.iter().sum();
        let space = UserSpace::new(&[16; 20], 0xff).resident();
        let mut parts = space.segments(&segments);
        let mut iter = IovIter::iovec(&mut parts);
        iter.advance(first);
        let (state, left) = (iter.save(), iter.count());
        iter.zero(second);
        iter.restore(state);
        prop_assert_eq!(iter.count(), left);
        let src = source(left);
        prop_assert_eq!(iter.copy_to_iter(&src), left);
        prop_assert_eq!(&space.bytes()[total - left..total], &src[..]);
    }

    /// I33, I35 to I37: fault-in says how many bytes from the position on cannot be had, counted from the
    /// first one, and a copy then gets exactly as far.
    #[test]
    fn fault_in_predicts_the_copy(
        segments in lengths(8),
        at in 0..100_usize,
        want in 0..200_usize,
        denied in prop::collection::vec(0..20_usize, 0..3),
    ) {
        let total: usize = segments.iter().sum();
        let mut space = UserSpace::new(&[16; 20], 0xff);
        for page in &denied {
            space = space.page_kind(*page, PageKind::Denied);
        }
        let mut parts = space.segments(&segments);
        let mut iter = IovIter::iovec(&mut parts);
        iter.advance(at);
        let at = at.min(total);
        let reachable = (at..total)
            .take(want)
            .take_while(|byte| !denied.contains(&(byte / 16)))
            .count();
        prop_assert_eq!(iter.fault_in_writeable(want), want - reachable);
        prop_assert_eq!(iter.copy_to_iter(&source(want)), reachable);
    }
}
