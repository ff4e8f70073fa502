//! In which order an area is made and unmade, looked at from the middle.
#![expect(clippy::unwrap_used, reason = "small numbers of the test's own")]

mod own;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use own::{PAGE, Watched, at, bytes, pages, read};
use vread_addr::{ByteLen, PageCount};
use vread_vmalloc::{Arena, ArenaError, VmFlags, VmapSpace};

#[test]
fn area_in_the_making_is_listed_and_not_there_yet() {
    // V9, V3, R8: nobody reads, writes or frees it before its pages are mapped.
    let arena = Watched::arena(64, 4);
    let calls = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&calls);
    arena.frames().on_alloc(move |arena: &Arena<Watched>| {
        let [area] = arena.areas().try_into().unwrap();
        assert!(area.vm.unwrap().flags.contains(VmFlags::UNINITIALIZED));
        assert_eq!(arena.vmallocinfo(), [], "V34");
        let start = area.range.start();
        let refused = ArenaError::NotAnArea { addr: start };
        assert_eq!(arena.vfree(start), Err(refused));
        assert_eq!(arena.vrealloc(start, bytes(1)), Err(refused));
        assert!(arena.write(start, &[1]).is_err());
        assert_eq!(read(arena, start, PAGE).1.copied, ByteLen::ZERO);
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let area = arena.vmalloc(bytes(3)).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    let vm = arena.areas()[0].vm.unwrap();
    assert_eq!((vm.flags, vm.nr_pages), (VmFlags::ALLOC, PageCount::new(3)));
    arena.vfree(area).unwrap();
    // One page too many: what was taken goes back, and the area is unlisted.
    assert!(arena.vmalloc(bytes(5)).is_err());
    assert_eq!(arena.areas(), []);
    assert_eq!(arena.frames().frames.taken(), PageCount::new(0));
}

#[test]
fn frames_go_back_when_nobody_can_reach_them() {
    // V16: taken from readers, then unmapped, then given back, then unlisted. At the moment in which a
    // frame goes back, its area is no more, nothing is mapped there, and the room is not free yet.
    let arena = Watched::arena(64, 8);
    let calls = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&calls);
    arena.frames().on_free(move |arena: &Arena<Watched>| {
        assert_eq!(arena.areas(), []);
        assert_eq!(read(arena, at(0), 4 * PAGE).1.copied, ByteLen::ZERO);
        for page in 0..4 {
            let run = arena.vmalloc_to_run(at(page), bytes(1)).unwrap();
            assert!(matches!(run, vread_vmalloc::PageRun::Hole { .. }));
        }
        assert!(arena.write(at(0), &[1]).is_err());
        let gone = ArenaError::NotAnArea { addr: at(0) };
        assert_eq!(arena.vfree(at(0)), Err(gone), "freed twice");
        arena.purge_vmap_area_lazy();
        let again = arena.vmalloc_range(bytes(3), bytes(1), pages(0, 4));
        assert!(
            matches!(again, Err(ArenaError::NoSpace { .. })),
            "room given away too early"
        );
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let area = arena.vmalloc(bytes(3)).unwrap();
    arena.vfree(area).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn tail_goes_back_when_nobody_can_reach_it() {
    // V10: the number of pages is lowered and the tail unmapped before its frames go back.
    let arena = Watched::arena(64, 8);
    let calls = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&calls);
    arena.frames().on_free(move |arena: &Arena<Watched>| {
        assert_eq!(arena.areas()[0].vm.unwrap().nr_pages, PageCount::new(1));
        assert_eq!(read(arena, at(0), 4 * PAGE).1.copied, bytes(1));
        for page in 1..4 {
            let run = arena.vmalloc_to_run(at(page), bytes(1)).unwrap();
            assert!(matches!(run, vread_vmalloc::PageRun::Hole { .. }));
        }
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let area = arena.vmalloc(bytes(3)).unwrap();
    arena.vrealloc(area, bytes(1)).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

/// Holds the area at `at(0)` as a reader does, runs `free` beside it, and checks that no frame goes back
/// before the reader lets go.
fn waits_for_its_reader(free: impl Fn(&Arena<Watched>) + Sync) {
    let arena = Watched::arena(64, 8);
    arena.vmalloc(bytes(3)).unwrap();
    let held = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&held);
    arena.frames().on_free(move |_arena: &Arena<Watched>| {
        assert!(
            !seen.load(Ordering::SeqCst),
            "a frame went back under a reader"
        );
    });
    let started = AtomicBool::new(false);
    thread::scope(|scope| {
        let guard = arena.find_vmap_area_exceed_addr_lock(at(0), bytes(1));
        let guard = guard.unwrap().unwrap();
        let freeing = scope.spawn(|| {
            started.store(true, Ordering::SeqCst);
            free(&arena);
        });
        while !started.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        // As long as a wrong order needs to show itself; a right one waits for ever.
        for _ in 0..300 {
            thread::yield_now();
            assert!(!freeing.is_finished());
        }
        assert_eq!(guard.range, pages(0, 4));
        assert_eq!(guard.vm.unwrap().nr_pages, PageCount::new(3));
        held.store(false, Ordering::SeqCst);
        drop(guard);
    });
}

#[test]
fn vfree_waits_for_the_readers_of_its_area() {
    // R22, R28
    waits_for_its_reader(|arena| arena.vfree(at(0)).unwrap());
}

#[test]
fn shrinking_waits_for_the_readers_of_its_area() {
    // R22, V10
    waits_for_its_reader(|arena| assert_eq!(arena.vrealloc(at(0), bytes(1)), Ok(at(0))));
}

#[test]
fn growing_waits_for_the_readers_of_its_area() {
    waits_for_its_reader(|arena| {
        arena.vrealloc(at(0), bytes(5)).unwrap();
    });
}

#[test]
fn others_do_not_wait_for_a_reader() {
    // R28: only the area being read is held.
    let arena = Watched::arena(64, 8);
    arena.vmalloc(bytes(1)).unwrap();
    let other = arena.vmalloc(bytes(1)).unwrap();
    let guard = arena
        .find_vmap_area_exceed_addr_lock(at(0), bytes(1))
        .unwrap();
    assert_eq!(guard.as_ref().unwrap().range.start(), at(0));
    arena.vfree(other).unwrap();
    let new = arena.vmalloc(bytes(1)).unwrap();
    arena.write(new, &[1]).unwrap();
    assert_eq!(
        read(&arena, at(0), PAGE).1.copied,
        bytes(1),
        "two readers of one area"
    );
}
