//! A reader's buffer whose pages are evicted while it is written: K38, K40, K43, I38, under the real copy and the
//! real signals.
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "small numbers of the test's own; a failure or a wrap fails the test"
)]

mod memory;
mod reader;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use memory::{Kept, Memory, PAGE};
use reader::{Kcore, Seen, evict, read};
use rustix::mm::Advice;
use vread_guests::{Guest, GuestConfig, KernelRelease, Storm};
use vread_iov_iter::{Destination, IovIter};
use vread_nofault::Backend;

/// How often the race of K40 is provoked.
const RACES: u64 = 100_000;

/// The storm's reads.
const CALLS: u64 = 100_000;

/// Before these tests fail.
const DEADLINE: Duration = Duration::from_secs(400);

/// The race's buffer: so many segments of so many bytes, each on a page of its own.
const RACE: (usize, usize) = (8, 512);

/// The storm's. The page of the segment in the middle is the one that is evicted: what lies before it makes
/// the progress that a loop may lose count of.
const STORM: (usize, usize) = (4, 1024);

/// The backend belongs to the process, so the tests take turns.
fn under(backend: Backend) -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
    assert_eq!(vread_nofault::select(backend).unwrap(), backend);
    turn
}

#[test]
fn page_that_is_not_resident_is_not_waited_for() {
    // I23, I33, K43: userfaultfd with SIGBUS, on memory that nobody has written yet.
    for backend in [Backend::SignalHandler, Backend::ProcessVm] {
        let _turn = under(backend);
        let memory = Memory::new(3, Kept::Missing);
        memory.fill(0, &[1; PAGE]);
        let mut segment = memory.buffer(100, 2 * PAGE);
        let mut iter = IovIter::ubuf(&mut segment);
        assert_eq!(
            iter.copy_to_iter_nofault(&[7; 2 * PAGE]),
            PAGE - 100,
            "{backend:?}"
        );
        assert_eq!(iter.count(), PAGE + 100);
        assert_eq!(
            iter.fault_in_writeable(PAGE + 100),
            PAGE + 100,
            "nobody brings it"
        );
        assert_eq!(iter.copy_to_iter(&[7; 50]), 0);
        assert_eq!(iter.zero(50), 0);
        // Its owner does.
        memory.fill(PAGE, &[2; PAGE]);
        assert_eq!(iter.fault_in_writeable(PAGE + 100), 100);
        assert_eq!(iter.copy_to_iter(&[8; 2 * PAGE]), PAGE);
        let mut got = vec![0; 2 * PAGE];
        memory.content(0, &mut got);
        let want = [[1; 100].as_slice(), &[7; PAGE - 100], &[8; PAGE]].concat();
        assert!(got == want, "{backend:?}");
    }
}

#[test]
fn evicted_page_keeps_its_bytes_and_refuses_until_it_is_back() {
    // I38: what the tests below rely on.
    for backend in [Backend::SignalHandler, Backend::ProcessVm] {
        let _turn = under(backend);
        let memory = Memory::new(1, Kept::Minor);
        memory.fill(0, &[5; PAGE]);
        let mut buffer = memory.buffer(0, PAGE);
        for _ in 0..3 {
            assert_eq!(buffer.copy_nofault(0, &[6; 10]), 0);
            memory.bring_back(0, PAGE);
            assert_eq!(buffer.copy_nofault(0, &[6; 10]), 10);
            memory.evict(0..1, Advice::LinuxDontNeed);
        }
        let mut got = [0; 20];
        memory.content(0, &mut got);
        assert_eq!(got, [[6; 10], [5; 10]].concat()[..]);
    }
}

#[test]
fn race_between_fault_in_and_copy_loses_no_byte() {
    // K40, K36: after every fault-in pages are taken away again before the copy comes.
    let _turn = under(Backend::SignalHandler);
    let (kcore, seen) = (Kcore::new(1), Seen::default());
    let memory = Memory::new(RACE.0, Kept::Minor);
    let random = Cell::new(0x9e37_79b9_7f4a_7c15_u64);
    let next = || {
        let mut value = random.get();
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
        random.set(value);
        value
    };
    let started = Instant::now();
    let mut reads = 0_u64;
    while seen.lost() < RACES {
        assert!(started.elapsed() < DEADLINE, "{reads} reads, {seen:?}");
        read(&kcore, &memory, RACE, &seen, &|memory| {
            let chance = next();
            for page in 0..RACE.0 {
                // A third of the pages, each time others.
                if (chance >> (4 * page)).is_multiple_of(3) {
                    evict(memory, page, chance >> 60);
                }
            }
        });
        reads += 1;
    }
    let (lost, refused) = (seen.lost(), seen.refused());
    println!(
        "{lost} pages were evicted between their fault-in and the copy, in {reads} reads with {refused} refused \
         copies: no wrong byte, no failure"
    );
}

#[test]
fn storm_of_evictions_that_fails_the_kernels_own_reads() {
    // K38, K31, K32: the same storm against our read path and against the /proc/kcore of 6.12.
    let (ours, evictions) = our_storm();
    let guest = Guest::boot(
        &GuestConfig::new(KernelRelease::V6_12)
            .memory_mib(512)
            .cpus(2),
    )
    .unwrap();
    let seed = 38;
    let map = guest.create_bpf_map(PAGE as u64, seed).unwrap();
    let theirs = guest
        .storm(
            map.data.start,
            &Storm {
                seed,
                segments: u32::try_from(STORM.0).unwrap(),
                calls: u32::try_from(CALLS).unwrap(),
                seconds: 20,
            },
        )
        .unwrap();
    let (segments, len) = STORM;
    println!(
        "preadv into {segments} segments of {len} bytes on as many pages, one of which is evicted again and again:"
    );
    println!(
        "  ours:  {CALLS} calls, 0 failed, 0 with a misplaced byte ({ours:?}, {evictions} evictions)"
    );
    println!(
        "  {}: {} calls, {} failed, {} with a misplaced byte ({} evictions)",
        guest.kernel().uname(),
        theirs.calls,
        theirs.failed,
        theirs.misplaced,
        theirs.evictions,
    );
    // The kernel's loop fails, but never says that all is well when it is not (K34). Whether it still fails is
    // for the kernel to say; that the storm was one is not.
    assert_eq!(theirs.wrong, 0);
    assert!(theirs.calls > 0 && theirs.evictions > 0, "{theirs:?}");
    guest.close_bpf_map(map).unwrap();
}

fn our_storm() -> (Seen, u64) {
    let _turn = under(Backend::SignalHandler);
    let (kcore, seen) = (Kcore::new(1), Seen::default());
    let memory = Memory::new(STORM.0, Kept::Minor);
    let (stop, evictions) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    let mut calls = 0_u64;
    thread::scope(|scope| {
        let _even_on_a_panic = StopOnDrop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let turn = evictions.fetch_add(1, Ordering::Relaxed);
                evict(&memory, STORM.0 / 2, turn);
                // One that never rests wins every turn on an idle machine, and no reader gets through.
                for _ in 0..turn.wrapping_mul(0x9e37_79b9) % 2048 {
                    std::hint::spin_loop();
                }
            }
        });
        // Not one call without a page that is away, also where the other thread gets little time; and not
        // without it.
        while calls < CALLS || seen.lost() == 0 {
            assert!(started.elapsed() < DEADLINE, "{calls} calls, {seen:?}");
            evict(&memory, STORM.0 / 2, 1);
            read(&kcore, &memory, STORM, &seen, &|_memory| {});
            calls += 1;
        }
    });
    assert!(seen.refused() >= CALLS, "{seen:?}");
    (seen, evictions.into_inner())
}

/// Ends the other thread with the one that has it.
struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
