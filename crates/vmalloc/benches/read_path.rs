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
fn medians<const N: usize>(count: u64, mut runs: [&mut dyn FnMut(u64); N]) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..TURNS {
        for (run, times) in runs.iter_mut().zip(&mut times) {
            let start = Instant::now();
            run(count);
            times.push(start.elapsed().as_nanos() as f64 / count as f64);
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[TURNS / 2]
    })
}

fn scattered_pages() {
    println!(
        "vread_iter over scattered 4 KiB pages into one buffer, by the plain loop of 4 KiB copies"
    );
    for pages in [16_u64, 256, 4096] {
        let arena: Arena<Frozen> = Arena::new(window(1 << 30), Frozen::new(pages)).unwrap();
        let len = ByteLen::new(pages * PAGE);
        let area = arena.vmalloc(len).unwrap();
        let frames = arena.frames();
        let order: Vec<&[u8; 4096]> = (0..pages)
            .map(|n| &*frames.frames[frames.scattered(n) as usize])
            .collect();
        // Each way has a buffer of its own, and each the same copies.
        let mut buffers =
            [const { Vec::new() }; 3].map(|_: Vec<u8>| vec![1_u8; len.to_usize_clamped()]);
        let [plain, ours, bounced] = &mut buffers;
        let mut bounce = [0_u8; 4096];
        let count = (1024 / pages).max(1);
        let [plain, ours, bounced] = medians(
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
        );
        println!(
            "  {:5} KiB: plain {plain:9.0} ns, ours {ours:9.0} ns: {:.2} of the plain loop's speed \
             (at least 0.9); through a bounce buffer {bounced:9.0} ns: ours is {:.2} times as fast",
            pages * 4,
            plain / ours,
            bounced / ours,
        );
    }
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
    let find = |arena: &Arena<HeapFrames>, live: &[VirtAddr], state: &mut u64, count| {
        let mut sum = 0_u64;
        for _ in 0..count {
            // Areas of two pages each, one after another: their starts need no table, whose lines would
            // be measured, too.
            let addr =
                live[0].wrapping_add(ByteLen::new(random(state, live.len() as u64) * 2 * PAGE));
            let found = arena.find_vmap_area_exceed_addr_lock(addr, ByteLen::new(1));
            sum = sum.wrapping_add(found.unwrap().unwrap().range.start().get());
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
    let renew = |arena: &Arena<HeapFrames>, live: &mut [VirtAddr], state: &mut u64, count| {
        for _ in 0..count {
            let which = random(state, live.len() as u64) as usize;
            arena.free_vm_area(live[which]).unwrap();
            live[which] = arena.get_vm_area_sparse(ByteLen::new(1)).unwrap();
        }
    };
    let [short, long] = medians(
        2_000,
        [
            &mut |count| renew(&few, &mut few_live, &mut a, count),
            &mut |count| renew(&many, &mut many_live, &mut b, count),
        ],
    );
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

/// Bytes a second that `readers` threads get while another allocates and frees, 2000 times a second.
fn read_beside_a_writer(arena: &Arena<Frozen>, area: VirtAddr, pages: u64, readers: u64) -> f64 {
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let len = ByteLen::new(pages * PAGE);
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
                    let mut buffer = vec![0; len.to_usize_clamped()];
                    let mut done = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let mut segment = Plain::new(&mut buffer);
                        let mut iter = IovIter::ubuf(&mut segment);
                        done += vread_iter(arena, &mut iter, area, len).copied.get();
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

fn two_readers() {
    const PAGES: u64 = 16;
    let arena: Arena<Frozen> = Arena::new(window(1 << 30), Frozen::new(PAGES)).unwrap();
    let area = arena.vmalloc(ByteLen::new(PAGES * PAGE)).unwrap();
    let mut ones = Vec::new();
    let mut twos = Vec::new();
    for _ in 0..15 {
        ones.push(read_beside_a_writer(&arena, area, PAGES, 1));
        twos.push(read_beside_a_writer(&arena, area, PAGES, 2));
    }
    ones.sort_by(f64::total_cmp);
    twos.sort_by(f64::total_cmp);
    let (one, two) = (ones[ones.len() / 2], twos[twos.len() / 2]);
    println!(
        "two readers of one area against one, while a third thread allocates and frees (at least 1.7, \
         where two processors are idle)\n  one {:.1} GB/s, two {:.1} GB/s: {:.2}",
        one / 1e9,
        two / 1e9,
        two / one,
    );
}
