//! The arena's part of the read path, each figure as a ratio to its rival in the same run.
//!
//! Ours and the rival take turns, a few hundred times; what is printed is the median of each, so that a
//! busy machine slows both. `cargo xtask bench read-path` runs it.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "small numbers of the bench's own"
)]

mod frozen;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vread_addr::{ByteLen, PageCount, VirtAddr};
use vread_iov_iter::{IovIter, Plain};
use vread_vmalloc::{Arena, HeapFrames, VmapSpace, vread_iter};

use crate::frozen::{Frozen, window};

const PAGE: u64 = 4096;
const TURNS: usize = 201;

fn main() {
    scattered_pages();
    among_many();
    two_readers();
}

/// The medians, in nanoseconds a unit, of `count` units of each of `runs`, which take turns.
fn medians<const N: usize>(count: u64, runs: [&mut dyn FnMut(u64); N]) -> [f64; N] {
    let mut timed = runs.map(|run| {
        move || {
            let start = Instant::now();
            run(count);
            start.elapsed().as_nanos() as f64 / count as f64
        }
    });
    medians_of(
        timed
            .each_mut()
            .map(|run| -> &mut dyn FnMut() -> f64 { run }),
    )
}

/// The medians of what each of `runs`, which take turns, says.
fn medians_of<const N: usize>(mut runs: [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..TURNS {
        for (run, times) in runs.iter_mut().zip(&mut times) {
            times.push(run());
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[TURNS / 2]
    })
}

/// How often buffers and frames are allocated anew: how fast copies are depends on which pages of the machine they
/// lie in.
const ROUNDS: usize = 5;

fn scattered_pages() {
    println!(
        "vread_iter over scattered 4 KiB pages into one buffer, by the plain loop of 4 KiB copies"
    );
    for pages in [16_u64, 256, 4096] {
        let mut rounds: Vec<[f64; 3]> = (0..ROUNDS).map(|_| scattered(pages)).collect();
        rounds.sort_by(|a, b| (a[0] / a[1]).total_cmp(&(b[0] / b[1])));
        let [low, high] = [rounds[0], rounds[ROUNDS - 1]].map(|[plain, ours, _]| plain / ours);
        let [plain, ours, bounced] = rounds[ROUNDS / 2];
        println!(
            "  {:5} KiB: plain {plain:9.0} ns, ours {ours:9.0} ns: {:.2} ({low:.2} to {high:.2}) of the plain \
             loop's speed (at least 0.9); through a bounce buffer {bounced:9.0} ns: ours is {:.2} times as fast",
            pages * 4,
            plain / ours,
            bounced / ours,
        );
    }
}

/// The plain loop, ours, and through a bounce buffer.
fn scattered(pages: u64) -> [f64; 3] {
    let arena: Arena<Frozen> = Arena::new(window(1 << 30), Frozen::new(pages)).unwrap();
    let len = ByteLen::new(pages * PAGE);
    let area = arena.vmalloc(len).unwrap();
    let frames = arena.frames();
    let order: Vec<&[u8; 4096]> = (0..pages)
        .map(|n| &frames.frames[frames.scattered(n) as usize].0)
        .collect();
    // Each way has a buffer of its own, and each the same copies: how fast one is depends on where in a
    // page it goes.
    let bytes = len.to_usize_clamped();
    let mut buffers = [const { Vec::new() }; 3].map(|_: Vec<u8>| vec![1_u8; bytes + 4096]);
    let [plain, ours, bounced] = buffers.each_mut().map(|buffer| {
        let skip = buffer.as_ptr().align_offset(4096);
        &mut buffer[skip..skip + bytes]
    });
    let mut bounce = [0_u8; 4096];
    let count = (1024 / pages).max(1);
    medians(
        count,
        [
            &mut |count| {
                for _ in 0..count {
                    for (page, target) in order.iter().zip(plain.chunks_exact_mut(4096)) {
                        target.copy_from_slice(page.as_slice());
                    }
                    black_box(&mut *plain);
                }
            },
            &mut |count| {
                for _ in 0..count {
                    let mut segment = Plain::new(ours);
                    let mut iter = IovIter::ubuf(&mut segment);
                    assert_eq!(vread_iter(&arena, &mut iter, area, len).copied, len);
                }
            },
            &mut |count| {
                for _ in 0..count {
                    let mut at = area;
                    for target in bounced.chunks_exact_mut(4096) {
                        let mut segment = Plain::new(&mut bounce);
                        let mut iter = IovIter::ubuf(&mut segment);
                        at = at.wrapping_add(
                            vread_iter(&arena, &mut iter, at, ByteLen::new(PAGE)).advanced(),
                        );
                        target.copy_from_slice(&bounce);
                    }
                    black_box(&mut *bounced);
                }
            },
        ],
    )
}

/// A sequence without pattern.
fn random(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) * below) >> 31
}

/// An arena with so many areas, all without pages.
fn crowd(areas: u64) -> (Arena<HeapFrames>, Vec<VirtAddr>) {
    let frames = HeapFrames::new(PageCount::new(8));
    let arena: Arena<HeapFrames> = Arena::new(window(1 << 40), frames).unwrap();
    let live = (0..areas).map(|_| arena.get_vm_area_sparse(ByteLen::new(1)).unwrap());
    let live = live.collect();
    (arena, live)
}

fn among_many() {
    println!("among 10^3 and among 10^6 areas (at most 3 times the time)");
    let (few, mut few_live) = crowd(1_000);
    let (many, mut many_live) = crowd(1_000_000);
    // Areas of two pages each, one after another: their starts need no table, whose lines would be
    // measured, too.
    let somewhere = |live: &[VirtAddr], state: &mut u64| {
        live[0].wrapping_add(ByteLen::new(random(state, live.len() as u64) * 2 * PAGE))
    };
    let find = |arena: &Arena<HeapFrames>, live: &[VirtAddr], state: &mut u64, count| {
        let mut sum = 0_u64;
        for _ in 0..count {
            let found = arena.find_vmap_area(somewhere(live, state));
            sum = sum.wrapping_add(found.unwrap().end().get());
        }
        black_box(sum);
    };
    let (mut a, mut b) = (1, 1);
    let [short, long] = medians(
        2_000,
        [
            &mut |count| find(&few, &few_live, &mut a, count),
            &mut |count| find(&many, &many_live, &mut b, count),
        ],
    );
    println!(
        "  find, in random order:            {short:6.1} and {long:6.1} ns: {:.2}",
        long / short
    );
    let hold = |arena: &Arena<HeapFrames>, live: &[VirtAddr], state: &mut u64, count| {
        let mut sum = 0_u64;
        for _ in 0..count {
            let addr = somewhere(live, state);
            let found = arena.find_vmap_area_exceed_addr_lock(addr, ByteLen::new(1));
            sum = sum.wrapping_add(found.unwrap().unwrap().range.start().get());
        }
        black_box(sum);
    };
    let [short, long] = medians(
        2_000,
        [
            &mut |count| hold(&few, &few_live, &mut a, count),
            &mut |count| hold(&many, &many_live, &mut b, count),
        ],
    );
    let [short_lock, long_lock] = one_lock_of_many();
    println!(
        "  find and hold, likewise:          {short:6.1} and {long:6.1} ns: {:.2}; one lock of as many in an \
         array, without a search: {short_lock:.1} and {long_lock:.1} ns: {:.2}",
        long / short,
        long_lock / short_lock,
    );
    let [short, long] = medians_of([&mut || renew(&few, &mut few_live, &mut a), &mut || {
        renew(&many, &mut many_live, &mut b)
    }]);
    println!(
        "  free one at random, and allocate: {short:6.1} and {long:6.1} ns: {:.2}",
        long / short
    );
    let again = |arena: &Arena<HeapFrames>, count| {
        for _ in 0..count {
            let area = arena.vmalloc(ByteLen::new(1)).unwrap();
            arena.vfree(area).unwrap();
        }
    };
    let [short, long] = medians(
        1_000,
        [&mut |count| again(&few, count), &mut |count| {
            again(&many, count)
        }],
    );
    println!(
        "  vmalloc and vfree of a page:      {short:6.1} and {long:6.1} ns: {:.2}",
        long / short
    );
}

/// Nanoseconds to free one of the areas and to allocate another. Which ones they are is made out before, and
/// the new ones are noted afterwards: the list of a million areas would be measured, too.
fn renew(arena: &Arena<HeapFrames>, live: &mut [VirtAddr], state: &mut u64) -> f64 {
    const AT_ONCE: usize = 256;
    for n in 0..AT_ONCE {
        let left = live.len() - n;
        live.swap(n, n + random(state, left as u64) as usize);
    }
    let chosen = &mut live[..AT_ONCE];
    let start = Instant::now();
    for area in chosen {
        arena.free_vm_area(*area).unwrap();
        *area = arena.get_vm_area_sparse(ByteLen::new(1)).unwrap();
    }
    start.elapsed().as_nanos() as f64 / AT_ONCE as f64
}

/// Holding one of so many locks of 32 bytes, in random order: what finding and holding an area cannot be below.
fn one_lock_of_many() -> [f64; 2] {
    let locks = |count: u64| -> Vec<spin::RwLock<[u64; 3]>> {
        (0..count).map(|n| spin::RwLock::new([n; 3])).collect()
    };
    let (few, many) = (locks(1_000), locks(1_000_000));
    let hold = |locks: &[spin::RwLock<[u64; 3]>], state: &mut u64, count| {
        let mut sum = 0_u64;
        for _ in 0..count {
            let held = locks[random(state, locks.len() as u64) as usize].read();
            sum = sum.wrapping_add(held[0]);
        }
        black_box(sum);
    };
    let (mut a, mut b) = (1, 1);
    medians(
        2_000,
        [&mut |count| hold(&few, &mut a, count), &mut |count| {
            hold(&many, &mut b, count)
        }],
    )
}

/// Bytes a second that `readers` threads get, each by `read` into a buffer of its own again and again, while
/// another allocates and frees, 2000 times a second.
fn read_beside_a_writer(
    arena: &Arena<Frozen>,
    readers: u64,
    read: &(impl Fn(&mut [u8]) -> u64 + Sync),
) -> f64 {
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let bytes: u64 = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let area = arena.get_vm_area_sparse(ByteLen::new(1)).unwrap();
                arena.free_vm_area(area).unwrap();
                // A writer that never rests takes a processor from the readers.
                thread::sleep(Duration::from_micros(500));
            }
        });
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut buffer = vec![0; (READ_PAGES * PAGE) as usize];
                    let mut done = 0;
                    while !stop.load(Ordering::Relaxed) {
                        done += read(&mut buffer);
                        black_box(&mut buffer);
                    }
                    done
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    bytes as f64 / start.elapsed().as_secs_f64()
}

/// The pages that each reader reads at a time.
const READ_PAGES: u64 = 16;

/// Two readers against one, and beside them the same copies without an arena: what two processors of this
/// machine can do more than one, which is less than twice as much where they are two threads of one core.
fn two_readers() {
    let arena: Arena<Frozen> = Arena::new(window(1 << 30), Frozen::new(READ_PAGES)).unwrap();
    let len = ByteLen::new(READ_PAGES * PAGE);
    let area = arena.vmalloc(len).unwrap();
    let ours = |buffer: &mut [u8]| {
        let mut segment = Plain::new(buffer);
        let mut iter = IovIter::ubuf(&mut segment);
        vread_iter(&arena, &mut iter, area, len).copied.get()
    };
    let plain = |buffer: &mut [u8]| {
        for (page, target) in arena
            .frames()
            .frames
            .iter()
            .zip(buffer.chunks_exact_mut(4096))
        {
            target.copy_from_slice(&page.0);
        }
        len.get()
    };
    let mut rates = [const { Vec::new() }; 4];
    for _ in 0..15 {
        rates[0].push(read_beside_a_writer(&arena, 1, &ours));
        rates[1].push(read_beside_a_writer(&arena, 2, &ours));
        rates[2].push(read_beside_a_writer(&arena, 1, &plain));
        rates[3].push(read_beside_a_writer(&arena, 2, &plain));
    }
    let [one, two, plain_one, plain_two] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2] / 1e9
    });
    println!(
        "two readers of one area against one, while a third thread allocates and frees (at least 1.7, \
         where two processors are idle)\n  one {one:.1} GB/s, two {two:.1} GB/s: {:.2}; plain copies, \
         one thread {plain_one:.1} GB/s, two {plain_two:.1} GB/s: {:.2}",
        two / one,
        plain_two / plain_one,
    );
}
