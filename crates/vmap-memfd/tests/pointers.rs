//! Real pointers into an arena: what they show, where they trap, and what is left of them after a free.
#![expect(unsafe_code, reason = "uses an area's pointers, also where they trap")]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "small numbers of the tests' own; a failure fails it"
)]

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use vread_addr::{ByteLen, PageCount, VirtAddr};
use vread_iov_iter::{IovIter, Progress, SourceFailure};
use vread_nofault::{CopyOutcome, Fault, UserBuf, copy_foreign};
use vread_vmalloc::{ArenaError, PMD_PAGES, vread_iter};
use vread_vmap_memfd::{MemfdArena, MemfdError, arena};

const PAGE: usize = 4096;
/// Room for two blocks of short mappings, wherever they are aligned.
const WINDOW: u64 = 4096;

fn pages(count: u64) -> ByteLen {
    PageCount::new(count).checked_bytes().unwrap()
}

fn small() -> MemfdArena {
    vread_nofault::install().unwrap();
    arena(pages(WINDOW), PageCount::new(256)).unwrap()
}

fn pointer(arena: &MemfdArena, addr: VirtAddr) -> *mut u8 {
    arena.frames().as_ptr(addr).unwrap()
}

/// Copies from a pointer into the arena, as far as that goes.
fn copy(arena: &MemfdArena, addr: VirtAddr, out: &mut [u8]) -> CopyOutcome {
    let src = pointer(arena, addr);
    // SAFETY: 1. an exclusive slice; 2. the arena's memory, which is written by raw copies and system calls.
    unsafe { copy_foreign(out.as_mut_ptr(), src, out.len()) }
}

/// Writes through a pointer, as a user of the area does.
fn write(arena: &MemfdArena, addr: VirtAddr, bytes: &[u8]) {
    let dst = pointer(arena, addr);
    // SAFETY: 1. the bytes of a live area of the test's own; 2. a slice.
    let outcome = unsafe { copy_foreign(dst, bytes.as_ptr(), bytes.len()) };
    assert_eq!(outcome.fault, None);
}

fn read(arena: &MemfdArena, addr: VirtAddr, len: usize) -> (Vec<u8>, Progress) {
    let mut bytes = vec![0xa5; len];
    let mut segment = UserBuf::new(&mut bytes);
    let mut iter = IovIter::ubuf(&mut segment);
    let progress = vread_iter(arena, &mut iter, addr, ByteLen::from_usize(len));
    (bytes, progress)
}

fn is_trap_at(outcome: CopyOutcome, done: usize, arena: &MemfdArena, addr: VirtAddr) -> bool {
    let fault = Fault::Source(pointer(arena, addr).addr());
    outcome
        == CopyOutcome {
            done,
            fault: Some(fault),
        }
}

/// The offsets in the file of the pages at `addr`, as the kernel tells; `None` where no file is mapped.
fn file_offsets(arena: &MemfdArena, addr: VirtAddr, count: u64) -> Vec<Option<u64>> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |word: &str| u64::from_str_radix(word, 16).unwrap();
    let start = pointer(arena, addr).addr() as u64;
    let at = (start..)
        .step_by(PAGE)
        .take(usize::try_from(count).unwrap());
    at.map(|page| {
        maps.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (low, high) = words[0].split_once('-').unwrap();
            let inside = (hex(low)..hex(high)).contains(&page);
            let file = inside
                && words
                    .get(5)
                    .is_some_and(|name| name.starts_with("/memfd:vmap"));
            file.then(|| hex(words[2]) + page - hex(low))
        })
    })
    .collect()
}

/// What belongs at byte `n` of generation `tag`.
fn pattern(len: usize, tag: u8) -> Vec<u8> {
    (0..len)
        .map(|n| tag ^ u8::try_from(n % 251).unwrap())
        .collect()
}

fn check_empty(arena: &MemfdArena) {
    assert_eq!(arena.areas(), []);
    assert_eq!(arena.frames().taken(), PageCount::new(0), "leaked frames");
}

#[test]
fn scattered_frames_are_one_piece_of_memory() {
    let arena = small();
    let area = arena.vmalloc(pages(16)).unwrap();
    let bytes = pattern(16 * PAGE, 1);
    write(&arena, area, &bytes);
    // SAFETY: the area's bytes, which nobody writes any more.
    let seen = unsafe { std::slice::from_raw_parts(pointer(&arena, area), bytes.len()) };
    assert!(seen == bytes);
    assert_eq!(
        read(&arena, area, bytes.len()),
        (bytes.clone(), Progress::copied(pages(16)))
    );
    let offsets = file_offsets(&arena, area, 17);
    let (inside, guard) = offsets.split_at(16);
    assert_eq!(guard, [None]);
    let inside: Vec<u64> = inside.iter().map(|offset| offset.unwrap()).collect();
    assert!(
        inside.windows(2).all(|two| two[0] + 4096 != two[1]),
        "{inside:x?}"
    );
    // What is written the other way shows, too.
    arena
        .write(area.wrapping_add(ByteLen::new(4090)), b"across a page")
        .unwrap();
    let mut out = [0; 13];
    assert_eq!(
        copy(&arena, area.wrapping_add(ByteLen::new(4090)), &mut out).fault,
        None
    );
    assert_eq!(&out, b"across a page");
    arena.vfree(area).unwrap();
    check_empty(&arena);
}

#[test]
fn a_huge_page_is_one_piece_of_the_file() {
    // V28: aligned in both, so that the processor may map it as one.
    let pmd = pages(PMD_PAGES);
    let arena = arena(pages(WINDOW), PageCount::new(2 * PMD_PAGES)).unwrap();
    let area = arena.vmalloc_huge(pmd).unwrap();
    assert!(area.get().is_multiple_of(pmd.get()));
    let offsets = file_offsets(&arena, area, PMD_PAGES + 1);
    let first = offsets[0].unwrap();
    assert!(first.is_multiple_of(pmd.get()), "{first:x}");
    let expected = (0..PMD_PAGES).map(|page| Some(first + page * 4096));
    assert!(offsets.into_iter().eq(expected.chain([None])));
    let bytes = pattern(3 * PAGE, 5);
    let last = area.wrapping_add(pages(PMD_PAGES - 3));
    write(&arena, last, &bytes);
    assert_eq!(read(&arena, last, bytes.len()).0, bytes);
    arena.vfree(area).unwrap();
    let (zeros, progress) = read(&arena, last, bytes.len());
    assert_eq!(
        (zeros, progress),
        (vec![0; 3 * PAGE], Progress::zeroed(pages(3)))
    );
    check_empty(&arena);
}

#[test]
fn guard_pages_and_gaps_trap_at_the_first_byte() {
    let arena = small();
    let first = arena.vmalloc(pages(2)).unwrap();
    let second = arena.vmalloc(pages(1)).unwrap();
    assert_eq!(second, first.wrapping_add(pages(3)));
    let guard = first.wrapping_add(pages(2));
    let mut out = vec![0; 4 * PAGE];
    assert!(is_trap_at(
        copy(&arena, first, &mut out),
        2 * PAGE,
        &arena,
        guard
    ));
    assert!(is_trap_at(copy(&arena, guard, &mut out), 0, &arena, guard));
    let behind = second.wrapping_add(pages(1));
    assert!(is_trap_at(
        copy(&arena, second, &mut out),
        PAGE,
        &arena,
        behind
    ));
    let window = arena.window();
    assert_eq!(arena.frames().as_ptr(window.end()), None);
    let last = VirtAddr::new(window.end().get() - 1);
    assert!(is_trap_at(copy(&arena, last, &mut [0]), 0, &arena, last));
    // Readers get zeros there.
    let (bytes, progress) = read(&arena, guard, PAGE);
    assert_eq!(
        (bytes, progress),
        (vec![0; PAGE], Progress::zeroed(pages(1)))
    );
    for area in [first, second] {
        arena.vfree(area).unwrap();
    }
    check_empty(&arena);
}

#[test]
fn a_program_that_runs_over_the_end_dies_of_it() {
    const CHILD: &str = "VREAD_TEST_TOUCH";
    if let Ok(offset) = std::env::var(CHILD) {
        let arena = arena(pages(64), PageCount::new(8)).unwrap();
        let area = arena.vmalloc(pages(1)).unwrap();
        let at = area.wrapping_add(ByteLen::new(offset.parse().unwrap()));
        // SAFETY: not so where the test means to die.
        unsafe { pointer(&arena, at).write_volatile(1) };
        return;
    }
    let touch = |offset: &str| {
        let this = std::env::current_exe().unwrap();
        let mut child = Command::new(this);
        child.args(["--exact", "a_program_that_runs_over_the_end_dies_of_it"]);
        child.env(CHILD, offset).output().unwrap().status
    };
    assert!(touch("4095").success());
    assert_eq!(touch("4096").signal(), Some(11), "SIGSEGV");
}

#[test]
fn growth_copies_nothing() {
    let arena = small();
    let area = arena.vmalloc(pages(4)).unwrap();
    let bytes = pattern(4 * PAGE, 7);
    write(&arena, area, &bytes);
    let before = file_offsets(&arena, area, 4);
    let grown = arena.vrealloc(area, pages(9)).unwrap();
    assert_ne!(grown, area);
    assert_eq!(
        file_offsets(&arena, grown, 4),
        before,
        "the same frames in the same order"
    );
    let mut out = vec![1; 9 * PAGE];
    assert_eq!(copy(&arena, grown, &mut out).fault, None);
    assert!(out[..4 * PAGE] == bytes && out[4 * PAGE..].iter().all(|byte| *byte == 0));
    assert!(
        is_trap_at(copy(&arena, area, &mut out), 0, &arena, area),
        "the old pointer"
    );
    // In place, the other way: the tail traps, the rest stays.
    assert_eq!(arena.vrealloc(grown, pages(2)), Ok(grown));
    let tail = grown.wrapping_add(pages(2));
    assert!(is_trap_at(
        copy(&arena, grown, &mut out),
        2 * PAGE,
        &arena,
        tail
    ));
    assert!(out[..2 * PAGE] == bytes[..2 * PAGE]);
    assert_eq!(arena.frames().taken(), PageCount::new(2));
    arena.vfree(grown).unwrap();
    check_empty(&arena);
}

#[test]
fn freed_addresses_trap_and_their_next_pages_are_zeros() {
    let arena = small();
    let area = arena.vmalloc(pages(3)).unwrap();
    write(&arena, area, &pattern(3 * PAGE, 0xee));
    arena.vfree(area).unwrap();
    let mut out = vec![1; 3 * PAGE];
    assert!(is_trap_at(copy(&arena, area, &mut out), 0, &arena, area));
    // The frames come back first, the addresses after a purge.
    let other = arena.vmalloc(pages(3)).unwrap();
    assert_ne!(other, area);
    assert_eq!(copy(&arena, other, &mut out).fault, None);
    assert!(out.iter().all(|byte| *byte == 0));
    arena.vfree(other).unwrap();
    arena.purge_vmap_area_lazy();
    assert_eq!(arena.vmalloc(pages(3)), Ok(area));
    assert_eq!(read(&arena, area, 3 * PAGE).0, vec![0; 3 * PAGE]);
    arena.vfree(area).unwrap();
    check_empty(&arena);
}

#[test]
fn the_same_frames_in_two_places_are_the_same_memory() {
    let arena = small();
    let frames: Vec<_> = {
        use vread_vmalloc::FrameProvider as _;
        (0..70)
            .map(|_| arena.frames().alloc_frame().unwrap())
            .collect()
    };
    let mapped = arena.vmap(&frames[..3]).unwrap();
    let short = arena.vm_map_ram(&frames[..3]).unwrap();
    let long = arena.vm_map_ram(&frames).unwrap();
    let bytes = pattern(3 * PAGE, 3);
    write(&arena, mapped, &bytes);
    for place in [short, long] {
        let mut out = vec![0; 3 * PAGE];
        assert_eq!(copy(&arena, place, &mut out).fault, None);
        assert!(out == bytes);
    }
    arena.vunmap(mapped).unwrap();
    arena.vm_unmap_ram(short, PageCount::new(3)).unwrap();
    arena.vm_unmap_ram(long, PageCount::new(70)).unwrap();
    for place in [mapped, short, long] {
        assert!(is_trap_at(
            copy(&arena, place, &mut [0; 8]),
            0,
            &arena,
            place
        ));
    }
    for frame in frames {
        vread_vmalloc::FrameProvider::free_frame(arena.frames(), frame);
    }
    arena.purge_vmap_area_lazy();
    check_empty(&arena);
}

#[test]
fn more_pieces_than_a_process_may_map_are_refused_and_leak_nothing() {
    let limit: u64 = fs::read_to_string("/proc/sys/vm/max_map_count")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let too_many = limit / 2 + 1;
    let arena = arena(pages(2 * too_many), PageCount::new(too_many)).unwrap();
    let refused = arena.vmalloc(pages(too_many)).unwrap_err();
    let ArenaError::Map {
        addr,
        failure: SourceFailure::Os(12),
    } = refused
    else {
        panic!("{refused}");
    };
    assert_eq!(addr, arena.window().start());
    check_empty(&arena);
    // The count is given back with the area.
    for _ in 0..3 {
        let area = arena.vmalloc(pages(limit / 4)).unwrap();
        arena.vfree(area).unwrap();
    }
    check_empty(&arena);
}

#[test]
fn a_window_or_a_file_that_cannot_be_is_refused() {
    let huge = ByteLen::new(1 << 60);
    assert!(
        matches!(arena(huge, PageCount::new(1)), Err(MemfdError::Window { len, .. }) if len == huge)
    );
    assert!(matches!(
        arena(ByteLen::new(0), PageCount::new(1)),
        Err(MemfdError::Window { .. })
    ));
    let huge = PageCount::new(1 << 51);
    assert!(
        matches!(arena(pages(1), huge), Err(MemfdError::Frames { frames, .. }) if frames == huge)
    );
}

/// The word that belongs at `addr` in a round: another address's or another round's gives itself away.
fn word(addr: u64, round: u64) -> u64 {
    addr << 32 | round
}

#[test]
fn pointers_show_old_bytes_or_trap_while_areas_come_and_go() {
    const COPIES: u64 = 20_000;
    let arena = small();
    let stop = AtomicBool::new(false);
    // Per page of the window: the round that wrote it last.
    let owners: Vec<AtomicU64> = (0..WINDOW).map(|_| AtomicU64::new(0)).collect();
    let base = arena.window().start();
    let page_of = |addr: VirtAddr| {
        usize::try_from(addr.checked_offset_from(base).unwrap().get() >> 12).unwrap()
    };
    let (seen, trapped) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = 1;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let count = 1 + round % 5;
                let mut area = arena.vmalloc(pages(count)).unwrap();
                if round % 3 == 0 {
                    area = arena.vrealloc(area, pages(count + 3)).unwrap();
                }
                for page in 0..count {
                    let at = area.wrapping_add(pages(page));
                    owners[page_of(at)].store(round, Ordering::SeqCst);
                    let words = (at.get()..at.get() + 4096).step_by(8);
                    let bytes: Vec<u8> =
                        words.flat_map(|at| word(at, round).to_le_bytes()).collect();
                    write(&arena, at, &bytes);
                }
                arena.vfree(area).unwrap();
                if round % 8 == 0 {
                    arena.purge_vmap_area_lazy();
                }
            }
        });
        let mut random = 1_u64;
        let (mut seen, mut trapped) = (0_u64, 0_u64);
        let mut out = [0; 512];
        for _ in 0..COPIES {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = base.wrapping_add(ByteLen::new(((random >> 33) % (64 * 4096 - 512)) & !7));
            let before = owners[page_of(at)].load(Ordering::SeqCst);
            let outcome = copy(&arena, at, &mut out);
            trapped += u64::from(outcome.fault.is_some());
            for (n, bytes) in out[..outcome.done].chunks_exact(8).enumerate() {
                let found = u64::from_le_bytes(bytes.try_into().unwrap());
                let addr = at.get() + 8 * n as u64;
                seen += u64::from(found != 0);
                // Of this address, and not of a round that had ended before we looked.
                let page = page_of(VirtAddr::new(addr));
                let owner = if page == page_of(at) { before } else { 0 };
                let fits = found >> 32 == addr & 0xffff_ffff && found & 0xffff_ffff >= owner;
                assert!(
                    found == 0 || fits,
                    "{found:#x} at {addr:#x}, owned by {owner}"
                );
            }
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        (seen, trapped)
    });
    println!("{seen} words seen, {trapped} of {COPIES} copies trapped");
    assert!(seen > 0 && trapped > 0, "the test saw nothing");
    check_empty(&arena);
}
