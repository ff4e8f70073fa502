//! Huge pages, and what becomes of a request for them where there are none (V28).
#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "small numbers of the tests' own; a failure fails it"
)]

mod own;

use own::{PAGE, arena, at, bytes, check_empty, fill, pages, read, show, take};
use vread_addr::{ByteLen, PageCount, Pfn, PhysAddr, VirtAddr};
use vread_vmalloc::VmapSpace;
use vread_vmalloc::{Arena, FrameProvider, HeapFrames, PMD_PAGES, PageRun, VmFlags, VmStruct};

const PMD: ByteLen = ByteLen::new(PMD_PAGES * PAGE);

fn vm(arena: &Arena<HeapFrames>, start: VirtAddr) -> VmStruct {
    let mut areas = arena.areas().into_iter();
    let area = areas.find(|area| area.range.start() == start);
    area.unwrap().vm.unwrap()
}

fn run(arena: &Arena<HeapFrames>, addr: VirtAddr) -> (Option<PhysAddr>, ByteLen) {
    match arena.vmalloc_to_run(addr, ByteLen::new(u64::MAX)).unwrap() {
        PageRun::Mapped { phys, len } => (Some(phys), len),
        PageRun::Hole { len } => (None, len),
    }
}

#[test]
fn a_huge_page_is_aligned_on_both_sides_and_one_run() {
    // V7, V28: the length is rounded up to huge pages, and small pages are counted.
    let arena = arena(4096, 2048);
    let small = arena.vmalloc(bytes(1)).unwrap();
    let huge = arena.vmalloc_huge(ByteLen::new(PMD.get() + 1)).unwrap();
    assert_eq!((small, huge), (at(0), at(PMD_PAGES)));
    let vm = vm(&arena, huge);
    assert_eq!(vm.nr_pages, PageCount::new(2 * PMD_PAGES));
    assert_eq!(vm.flags, VmFlags::ALLOC | VmFlags::ALLOW_HUGE_VMAP);
    assert_eq!(vm.size, bytes(2 * PMD_PAGES + 1));
    for n in 0..2 {
        let (phys, len) = run(&arena, at(PMD_PAGES * (n + 1)));
        let phys = phys.unwrap();
        assert!(phys.get().is_multiple_of(PMD.get()), "{phys:?}");
        assert_eq!(len, PMD);
    }
    fill(&arena, at(2 * PMD_PAGES - 1), 2, 7);
    let (_bytes, progress) = read(&arena, huge, (2 * PMD_PAGES + 1) * PAGE);
    assert_eq!(
        (progress.copied, progress.zeroed),
        (bytes(2 * PMD_PAGES), bytes(1))
    );
    assert_eq!(
        show(&arena, at(2 * PMD_PAGES - 2), 4),
        [Some(0), Some(7), Some(8), Some(0)]
    );
    arena.vfree(small).unwrap();
    arena.vfree(huge).unwrap();
    check_empty(&arena);
}

#[test]
fn less_than_a_huge_page_has_small_ones() {
    let arena = arena(2048, 1024);
    let area = arena.vmalloc_huge(bytes(PMD_PAGES - 1)).unwrap();
    assert_eq!(area, at(0));
    let vm = vm(&arena, area);
    assert_eq!(
        (vm.flags, vm.nr_pages),
        (VmFlags::ALLOC, PageCount::new(PMD_PAGES - 1))
    );
    arena.vfree(area).unwrap();
    check_empty(&arena);
}

/// What a request for `count` pages gets where huge ones are not to be had: small ones, as many as it asked for; and
/// nothing is left of the try.
fn makes_do_with_small_pages(arena: &Arena<HeapFrames>, count: u64) {
    let taken = arena.frames().taken().get();
    let area = arena.vmalloc_huge(bytes(count)).unwrap();
    let vm = vm(arena, area);
    assert_eq!(
        (vm.flags, vm.nr_pages),
        (VmFlags::ALLOC, PageCount::new(count))
    );
    assert_eq!(arena.frames().taken(), PageCount::new(taken + count));
    arena.vfree(area).unwrap();
    arena.purge_vmap_area_lazy();
}

#[test]
fn scattered_frames_are_small_pages() {
    // One frame of each huge page is somebody's.
    let arena = arena(4096, 2 * PMD_PAGES);
    let own = take(&arena, 1, 1);
    let last = (0..PMD_PAGES).map(|_| arena.frames().alloc_frame().unwrap());
    let last: Vec<Pfn> = last.collect();
    for frame in &last[..last.len() - 1] {
        arena.frames().free_frame(*frame);
    }
    makes_do_with_small_pages(&arena, PMD_PAGES);
    for frame in own.into_iter().chain(last.last().copied()) {
        arena.frames().free_frame(frame);
    }
    check_empty(&arena);
}

#[test]
fn one_huge_page_too_few_is_all_small_pages() {
    // V28: on any failure the whole allocation starts again.
    let arena = arena(4096, 2 * PMD_PAGES - 1);
    makes_do_with_small_pages(&arena, PMD_PAGES + 1);
    check_empty(&arena);
}

#[test]
fn no_room_at_a_multiple_is_small_pages() {
    let arena = arena(PMD_PAGES + 8, 1024);
    let first = arena.vmalloc(bytes(1)).unwrap();
    makes_do_with_small_pages(&arena, PMD_PAGES);
    arena.vfree(first).unwrap();
    check_empty(&arena);
}

#[test]
fn huge_pages_stay_when_an_area_shrinks_and_move_when_it_grows() {
    // V10: not done for huge-page areas.
    let arena = arena(4096, 2048);
    let area = arena.vmalloc_huge(PMD).unwrap();
    fill(&arena, at(PMD_PAGES - 1), 1, 9);
    assert_eq!(arena.vrealloc(area, bytes(1)), Ok(area));
    assert_eq!(vm(&arena, area).nr_pages, PageCount::new(PMD_PAGES));
    assert_eq!(show(&arena, at(PMD_PAGES - 1), 1), [Some(9)]);
    let moved = arena.vrealloc(area, bytes(PMD_PAGES + 1)).unwrap();
    assert_eq!(arena.areas()[0].range, pages(PMD_PAGES + 1, PMD_PAGES + 2));
    assert_eq!(vm(&arena, moved).flags, VmFlags::ALLOC);
    let last = moved.wrapping_add(bytes(PMD_PAGES - 1));
    assert_eq!(show(&arena, last, 2), [Some(9), Some(0)]);
    // Small ones now, a page can be cut off.
    assert_eq!(arena.vrealloc(moved, bytes(1)), Ok(moved));
    assert_eq!(vm(&arena, moved).nr_pages, PageCount::new(1));
    arena.vfree(moved).unwrap();
    check_empty(&arena);
}
