//! The way of the cursor through areas and gaps, and where it stops.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "small numbers of the test's own"
)]

mod model;

use model::{BASE, Model, PAGE, bare, described, read};
use proptest::prelude::*;
use vread_addr::{ByteLen, VirtAddr, VirtRange};
use vread_iov_iter::scripted::{Granularity, UserSpace};
use vread_iov_iter::{IovIter, Plain, SourceFailure, Stop};
use vread_vmalloc::{VmFlags, VmapArea, VmapAreaFlags, vread_iter};

/// Areas at pages 2 to 5 (content 2, 3), 5 to 7 (content 5, no guard) and 9 to 12 (content 9, 10).
fn three_areas() -> Model {
    Model::default()
        .with(described(2, 3, VmFlags::ALLOC), 2)
        .with(described(5, 2, VmFlags::MAP | VmFlags::NO_GUARD), 1)
        .with(bare(9, 2, VmapAreaFlags::RAM), 2)
}

/// What the three areas look like at `addr`.
fn expected(model: &Model, addr: u64) -> u8 {
    match (addr - BASE) / PAGE {
        2 | 3 | 5 | 9 | 10 => model.mapped_byte(addr),
        _ => 0,
    }
}

#[test]
fn start_below_the_first_area() {
    // R5 where the read ends below it, R15 where it reaches it
    let model = three_areas();
    let (bytes, progress) = read(&model, BASE, 2 * 4096);
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!(progress.zeroed, ByteLen::new(2 * PAGE));
    let (bytes, _progress) = read(&model, BASE, 2 * 4096 + 1);
    assert_eq!(bytes.last(), Some(&model.mapped_byte(BASE + 2 * PAGE)));
}

#[test]
fn spans_area_gap_area_and_end() {
    // R6 to R18
    let model = three_areas();
    for from in [0, 1, 4095, 4096, 3 * 4096 + 17] {
        let (bytes, progress) = read(&model, BASE + from, 14 * 4096);
        let end = BASE + from + 14 * PAGE;
        let wanted: Vec<u8> = (BASE + from..end).map(|a| expected(&model, a)).collect();
        assert!(bytes == wanted, "from {from}");
        assert_eq!(progress.stopped, None);
    }
}

#[test]
fn starts_in_a_guard_page_before_the_next_area() {
    // R14, R17
    let model = three_areas();
    let guard = BASE + 4 * PAGE;
    for from in [guard, guard + 1, guard + 4095] {
        let len = guard + PAGE - from + 3;
        let (bytes, _progress) = read(&model, from, usize::try_from(len).unwrap());
        let wanted: Vec<u8> = (from..from + len).map(|a| expected(&model, a)).collect();
        assert_eq!(bytes, wanted);
    }
}

#[test]
fn last_byte_of_content_and_first_of_the_guard() {
    let model = three_areas();
    let border = BASE + 4 * PAGE;
    let (bytes, progress) = read(&model, border - 1, 2);
    assert_eq!(bytes, [model.mapped_byte(border - 1), 0]);
    assert_eq!((progress.copied.get(), progress.zeroed.get()), (1, 1));
}

#[test]
fn ends_at_the_top_of_the_address_space() {
    // R2: 2^64 - PAGE and three pages give one.
    let top = 0_u64.wrapping_sub(PAGE);
    let (bytes, progress) = read(&three_areas(), top, 3 * 4096);
    assert_eq!(progress.advanced(), ByteLen::new(PAGE));
    assert!(bytes[..4096].iter().all(|byte| *byte == 0));
    assert!(bytes[4096..].iter().all(|byte| *byte == 0xa5), "untouched");
    let (_bytes, progress) = read(&three_areas(), u64::MAX, 2);
    assert_eq!(progress.advanced(), ByteLen::new(1));
}

#[test]
fn area_below_the_top_of_the_address_space() {
    // R2 together with R16: the last area that a range can name.
    let start = VirtAddr::new(0_u64.wrapping_sub(2 * PAGE));
    let area = VmapArea {
        range: VirtRange::from_len(start, ByteLen::new(PAGE)).unwrap(),
        flags: VmapAreaFlags::RAM,
        vm: None,
    };
    let model = Model::default().with(area, 1);
    let (bytes, progress) = read(&model, start.get(), 3 * 4096);
    assert_eq!((progress.copied.get(), progress.zeroed.get()), (PAGE, PAGE));
    assert_eq!(bytes[5], model.mapped_byte(start.get() + 5));
}

#[test]
fn no_bytes_touch_nothing() {
    // R6: 0 on entry gives 0, without a search.
    let model = three_areas();
    for at in [0, BASE, BASE + 2 * PAGE, BASE + 4 * PAGE, u64::MAX] {
        let (_bytes, progress) = read(&model, at, 0);
        assert_eq!(progress.advanced(), ByteLen::ZERO);
        assert_eq!(progress.stopped, None);
    }
    assert_eq!(model.searches.get(), 0);
}

#[test]
fn no_search_behind_the_last_byte() {
    // R19: Linux makes one more.
    let model = three_areas();
    let (_bytes, _progress) = read(&model, BASE + 2 * PAGE, 3 * 4096);
    assert_eq!(model.searches.get(), 1);
}

#[test]
fn search_goes_on_behind_the_area_and_not_at_the_cursor() {
    // R17: a read that stays in one area's guard page ends.
    let model = three_areas();
    let (bytes, _progress) = read(&model, BASE + 4 * PAGE + 1, 100);
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!(model.searches.get(), 1);
}

/// Reads all 14 pages into a buffer of which only the first `resident` bytes are there.
fn read_until_refused(model: &Model, resident: usize) -> (Vec<u8>, vread_iov_iter::Progress) {
    let total = 14 * 4096;
    let space = UserSpace::new(&[resident, total - resident], 0xa5).schedule(&[0b01]);
    let mut segment = space.segment(0, total);
    let mut iter = IovIter::ubuf(&mut segment);
    let len = ByteLen::from_usize(total);
    let progress = vread_iter(model, &mut iter, VirtAddr::new(BASE), len);
    assert_eq!(model.held(), 0, "R28: nothing is held afterwards");
    assert_eq!(space.counts().fault_ins, 0, "R28: nothing is faulted in");
    (space.bytes(), progress)
}

#[test]
fn refusal_in_each_place_stops_at_the_byte() {
    // R15 (gap below an area), R16 (content), R17 (tail), R18: byte granularity (I23 is Linux's).
    for resident in [
        1, 8191, 8192, 8193, 12_288, 16_383, 16_384, 18_000, 41_000, 45_056, 57_343,
    ] {
        let model = three_areas();
        let (bytes, progress) = read_until_refused(&model, resident);
        assert_eq!(progress.stopped, Some(Stop::DestFault), "{resident}");
        assert_eq!(progress.advanced(), ByteLen::from_usize(resident));
        let end = BASE + u64::try_from(resident).unwrap();
        let wanted: Vec<u8> = (BASE..end).map(|addr| expected(&model, addr)).collect();
        assert!(bytes[..resident] == wanted);
        assert!(bytes[resident..].iter().all(|byte| *byte == 0xa5));
    }
}

#[test]
fn full_iterator_is_a_refusal() {
    // R18: the only reason to be short.
    let model = three_areas();
    let mut buffer = [0xa5; 100];
    let mut segment = Plain::new(&mut buffer);
    let mut iter = IovIter::ubuf(&mut segment);
    let start = VirtAddr::new(BASE + 2 * PAGE);
    let progress = vread_iter(&model, &mut iter, start, ByteLen::new(101));
    assert_eq!(progress.copied, ByteLen::new(100));
    assert_eq!(progress.stopped, Some(Stop::DestFault));
}

#[test]
fn failing_source_is_a_failure_and_keeps_what_arrived() {
    // A source that is gone is an error, not zeros; bytes delivered stay delivered.
    let model = three_areas();
    model.failure.set(Some(SourceFailure::Gone));
    let (_bytes, progress) = read(&model, BASE, 100);
    assert_eq!(progress.advanced(), ByteLen::ZERO);
    assert_eq!(progress.stopped, Some(Stop::Failed(SourceFailure::Gone)));
}

#[test]
fn area_that_does_not_lie_above_the_search_ends_it() {
    // A space that answers with the same area for ever.
    struct Stuck(VmapArea);
    impl vread_vmalloc::VmapSpace for Stuck {
        type Locked<'a> = &'a VmapArea;
        fn find_vmap_area_exceed_addr_lock(
            &self,
            _addr: VirtAddr,
            _within: ByteLen,
        ) -> Result<Option<&VmapArea>, SourceFailure> {
            Ok(Some(&self.0))
        }
        fn vmalloc_to_run(
            &self,
            _addr: VirtAddr,
            _max: ByteLen,
        ) -> Result<vread_vmalloc::PageRun, SourceFailure> {
            // An answer of no use must not be asked for again and again either.
            Ok(vread_vmalloc::PageRun::Hole { len: ByteLen::ZERO })
        }
    }
    impl<D: vread_iov_iter::Destination> vread_iov_iter::PageSource<D> for Stuck {
        fn copy_run_to_iter_nofault(
            &self,
            _start: vread_addr::PhysAddr,
            _len: ByteLen,
            _iter: &mut IovIter<'_, D>,
        ) -> vread_iov_iter::Progress {
            unreachable!("nothing is mapped")
        }
    }
    let space = Stuck(described(1, 2, VmFlags::ALLOC));
    let mut iter: IovIter<'_, Plain<'_>> = IovIter::discard(1 << 20);
    let progress = vread_iter(
        &space,
        &mut iter,
        VirtAddr::new(BASE),
        ByteLen::new(1 << 20),
    );
    assert_eq!(progress.advanced(), ByteLen::new(2 * PAGE));
    assert_eq!(progress.stopped, Some(Stop::Failed(SourceFailure::Torn)));
}

/// Up to 6 areas of any kind, not overlapping, each with some of its pages mapped.
fn spaces() -> impl Strategy<Value = Vec<(u64, u64, u64, u64, u64)>> {
    let flags = prop_oneof![
        Just(VmFlags::ALLOC.bits()),
        Just(VmFlags::MAP.bits()),
        Just((VmFlags::MAP | VmFlags::NO_GUARD).bits()),
        Just(VmFlags::IOREMAP.bits()),
        Just(VmFlags::SPARSE.bits()),
        Just((VmFlags::ALLOC | VmFlags::UNINITIALIZED).bits()),
        // No descriptor: a ram area, a block, one in transition.
        Just(1 << 32),
        Just(3 << 32),
        Just(1 << 40),
    ];
    // Gap before, pages, flags, mask of mapped pages, pages given back by a shrink
    prop::collection::vec((0..3_u64, 1..5_u64, flags, any::<u64>(), 0..3_u64), 0..6)
}

/// Builds the space, and what each of its first 40 pages is: read, or zero.
fn build(spaces: &[(u64, u64, u64, u64, u64)]) -> (Model, Vec<bool>) {
    let mut model = Model::default();
    let mut readable = vec![false; 40];
    let mut at = 0;
    for (gap, pages, flags, mapped, shrunk) in spaces {
        at += gap;
        let (area, usable) = match flags >> 32 {
            0 => {
                let flags = VmFlags::from_bits_retain(*flags);
                let mut area = described(at, *pages, flags);
                let vm = area.vm.as_mut().unwrap();
                let mut usable = match flags.contains(VmFlags::NO_GUARD) {
                    true => *pages,
                    false => pages - 1,
                };
                if flags == VmFlags::ALLOC && *shrunk < usable {
                    usable -= shrunk;
                    vm.nr_pages = vread_addr::PageCount::new(usable);
                }
                let hole = VmFlags::IOREMAP | VmFlags::SPARSE | VmFlags::UNINITIALIZED;
                (area, if flags.intersects(hole) { 0 } else { usable })
            }
            1 => (bare(at, *pages, VmapAreaFlags::RAM), *pages),
            3 => (
                bare(at, *pages, VmapAreaFlags::RAM | VmapAreaFlags::BLOCK),
                *pages,
            ),
            _ => (bare(at, *pages, VmapAreaFlags::empty()), 0),
        };
        model = model.with(area, *pages);
        for page in 0..*pages {
            if mapped >> page & 1 == 0 {
                model.unmap(BASE + (at + page) * PAGE);
            }
            if page < usable {
                readable[usize::try_from(at + page).unwrap()] = true;
            }
        }
        at += pages;
    }
    (model, readable)
}

proptest! {
    /// R1 to R23 byte by byte: whatever areas there are, wherever the read begins, and however the
    /// buffer is split and refuses, each byte is what its own page says, and resuming at the byte where
    /// the read stopped completes it.
    #[test]
    fn every_byte_is_what_its_page_says(
        areas in spaces(),
        from in 0..30 * PAGE,
        segments in prop::collection::vec(prop_oneof![Just(0_usize), 1..5000_usize], 1..8),
        schedule in prop::collection::vec(any::<u64>(), 0..12),
        piece in any::<bool>(),
        longest_run in prop_oneof![Just(None), Just(Some(1)), (1..5000_u64).prop_map(Some)],
        runs_at_once in prop::option::of(0..5_u64),
    ) {
        let (model, readable) = build(&areas);
        // Runs of a byte are slow and rare.
        model.longest_run.set(longest_run.filter(|run| *run > 1 || segments.len() < 3));
        model.runs_at_once.set(runs_at_once);
        let total: usize = segments.iter().sum();
        let space = UserSpace::new(&[1000; 36], 0xa5)
            .schedule(&schedule)
            .granularity(if piece { Granularity::Piece } else { Granularity::Byte });
        let mut parts = space.segments(&segments);
        let mut iter = IovIter::iovec(&mut parts);
        let (mut at, mut left) = (BASE + from, ByteLen::from_usize(total));
        while !left.is_zero() {
            let step = vread_iter(&model, &mut iter, VirtAddr::new(at), left);
            prop_assert_eq!(model.held(), 0);
            at += step.advanced().get();
            left = left.checked_sub(step.advanced()).unwrap();
            prop_assert_eq!(step.stopped, (!left.is_zero()).then_some(Stop::DestFault));
            prop_assert_eq!(iter.count(), left.to_usize().unwrap());
            prop_assert_eq!(iter.fault_in_writeable(iter.count()), 0);
        }
        let wanted: Vec<u8> = (BASE + from..at)
            .map(|addr| {
                let page = usize::try_from((addr - BASE) / PAGE).unwrap();
                match readable.get(page) {
                    Some(true) => model.mapped_byte(addr),
                    _ => 0,
                }
            })
            .collect();
        prop_assert!(space.bytes()[..total] == wanted);
    }
}
