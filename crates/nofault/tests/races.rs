//! Files that are cut while they are copied: the copy stops, exact to the byte, and never dies.
#![expect(unsafe_code, reason = "maps files")]
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a failure or a wrap fails the test"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::mm::{self, MapFlags, ProtFlags};
use vread_nofault::{Backend, Fault, copy_foreign, select, zero_foreign};

const PAGE: usize = 4096;
const PAGES: usize = 64;
const LEN: usize = PAGES * PAGE;
/// How many faults each side has to survive.
const FAULTS: usize = 5_000;
/// How long that may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(120);

/// What the file holds, unless it was cut and grew again: then zeros.
const CONTENT: u8 = 0x5a;
/// What the buffer holds before a copy.
const UNTOUCHED: u8 = 0xee;

fn map(file: &File, rights: ProtFlags) -> *mut u8 {
    // SAFETY: a new mapping, which lives as long as the test program.
    unsafe { mm::mmap(ptr::null_mut(), LEN, rights, MapFlags::SHARED, file, 0) }
        .unwrap()
        .cast()
}

/// Cuts the file at one page after the other, and lets it grow again, until it is told to stop.
fn cut_and_grow(file: &File, stop: &AtomicBool) {
    let whole = u64::try_from(LEN).unwrap();
    let content = vec![CONTENT; LEN];
    let mut page = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        page = (page + 7) % 64;
        file.set_len(page * 4096).unwrap();
        thread::yield_now();
        file.set_len(whole).unwrap();
        if page.is_multiple_of(3) {
            file.write_all_at(&content, 0).unwrap();
        }
    }
}

/// Runs `copy` in two threads, with a start and a length, while the file is cut under it, until it has
/// told of enough faults.
fn under_cuts(file: &File, copy: impl Fn(usize, usize) -> bool + Sync) {
    file.set_len(u64::try_from(LEN).unwrap()).unwrap();
    let (stop, faults, whole) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let started = Instant::now();
    let work = |seed: usize| {
        let _even_on_a_panic = StopOnDrop(&stop);
        let mut at = seed;
        while !stop.load(Ordering::Relaxed) {
            // Starts and lengths with nothing round about them.
            at = (at * 31 + 4_097 + seed) % (LEN - 1);
            let len = (at * 17 + 1) % (LEN - at) + 1;
            if copy(at, len) {
                faults.fetch_add(1, Ordering::Relaxed);
            } else {
                whole.fetch_add(1, Ordering::Relaxed);
            }
            let enough =
                faults.load(Ordering::Relaxed) >= FAULTS && whole.load(Ordering::Relaxed) > 0;
            if enough || started.elapsed() > DEADLINE {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| cut_and_grow(file, &stop));
        scope.spawn(|| work(3));
        scope.spawn(|| work(500));
    });
    let (faults, whole) = (faults.into_inner(), whole.into_inner());
    assert!(
        faults >= FAULTS && whole > 0,
        "{faults} faults, {whole} whole copies"
    );
}

/// Lets the other threads end with the one that has it.
struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// All in one test, so that nobody else changes the backend meanwhile.
#[test]
fn copies_survive_a_file_that_is_cut_under_them() {
    for (dir, backend) in [
        ("/dev/shm", Backend::SignalHandler),
        ("/tmp", Backend::SignalHandler),
        ("/dev/shm", Backend::ProcessVm),
    ] {
        select(backend).unwrap();
        let file = tempfile::tempfile_in(dir).unwrap();
        cut_source(&file);
        cut_destination(&file);
    }
}

fn cut_source(file: &File) {
    let src = map(file, ProtFlags::READ);
    let src = src.expose_provenance();
    under_cuts(file, |at, len| {
        let mut dst = vec![UNTOUCHED; len];
        let from = src + at;
        // SAFETY: 1. `dst` is ours; 2. a mapping of this test.
        let outcome =
            unsafe { copy_foreign(dst.as_mut_ptr(), ptr::with_exposed_provenance(from), len) };
        // What was done is written, and nothing was written that was not read.
        let written = dst.get(..outcome.done).unwrap();
        assert!(written.iter().all(|byte| [CONTENT, 0].contains(byte)));
        match outcome.fault {
            None => assert_eq!(outcome.done, len),
            Some(fault) => {
                let stopped = from + outcome.done;
                assert_eq!(fault, Fault::Source(stopped));
                assert!(outcome.done < len);
                if vread_nofault::backend() == Backend::SignalHandler {
                    assert!(dst.iter().skip(outcome.done).all(|byte| *byte == UNTOUCHED));
                }
            }
        }
        outcome.fault.is_some()
    });
}

fn cut_destination(file: &File) {
    let dst = map(file, ProtFlags::READ | ProtFlags::WRITE);
    let dst = dst.expose_provenance();
    let src = vec![CONTENT; LEN];
    under_cuts(file, |at, len| {
        let to = dst + at;
        let start = ptr::with_exposed_provenance_mut(to);
        let outcome = if at.is_multiple_of(2) {
            // SAFETY: 1. a mapping of this test, to which no reference exists; 2. `src` is ours.
            unsafe { copy_foreign(start, src.as_ptr(), len) }
        } else {
            // SAFETY: a mapping of this test, to which no reference exists.
            unsafe { zero_foreign(start, len) }
        };
        match outcome.fault {
            None => assert_eq!(outcome.done, len),
            Some(fault) => {
                let stopped = to + outcome.done;
                assert_eq!(fault, Fault::Destination(stopped));
                assert!(outcome.done < len);
            }
        }
        outcome.fault.is_some()
    });
}
