//! Readers beside threads that allocate, write, resize and free: what is read of an address was once
//! true of it.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "small numbers of the test's own"
)]

mod own;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use own::{BASE, PAGE, bytes, pages};
use vread_addr::{ByteLen, PageCount, Pfn, PhysAddr, VirtAddr};
use vread_iov_iter::{Destination, IovIter, PageSource, Plain, Progress, SourceFailure};
use vread_vmalloc::{Arena, FrameProvider, HeapFrames, vread_iter};

/// Frames that let other threads go first at every turn, so that what could happen between two steps
/// does happen.
struct Hesitant(HeapFrames);

impl FrameProvider for Hesitant {
    fn total(&self) -> PageCount {
        self.0.total()
    }
    fn alloc_frame(&self) -> Option<Pfn> {
        thread::yield_now();
        self.0.alloc_frame()
    }
    fn free_frame(&self, frame: Pfn) {
        thread::yield_now();
        self.0.free_frame(frame);
    }
    fn write_frame(&self, frame: Pfn, offset: ByteLen, bytes: &[u8]) -> Result<(), SourceFailure> {
        self.0.write_frame(frame, offset, bytes)
    }
}

impl<D: Destination> PageSource<D> for Hesitant {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        thread::yield_now();
        self.0.copy_run_to_iter_nofault(start, len, iter)
    }
}

const WINDOW_PAGES: u64 = 512;

/// The word that belongs at `addr`: it names its own address and who wrote it, so that a word from
/// another place or another allocation's page gives itself away.
fn word(addr: u64, writer: u64) -> u64 {
    (addr & 0x00ff_ffff_ffff) << 8 | writer
}

fn page(addr: u64, writer: u64) -> Vec<u8> {
    (addr..addr + PAGE)
        .step_by(8)
        .flat_map(|at| word(at, writer).to_le_bytes())
        .collect()
}

/// Allocates, fills, resizes and frees areas until told to stop. Returns the rounds.
fn churn(arena: &Arena<Hesitant>, writer: u64, stop: &AtomicBool) -> u64 {
    let mut rounds = 0;
    let mut live: Vec<VirtAddr> = Vec::new();
    let mut state = writer * 0x9e37_79b9 + 1;
    while !stop.load(Ordering::Relaxed) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let count = 1 + (state >> 33) % 6;
        if live.len() > 6 {
            let oldest = live.remove(0);
            arena.vfree(oldest).unwrap();
        }
        let Ok(area) = arena.vmalloc(bytes(count)) else {
            continue;
        };
        let mut area = area;
        for n in 0..count {
            let at = area.checked_add(bytes(n)).unwrap();
            arena.write(at, &page(at.get(), writer)).unwrap();
        }
        match (state >> 40) % 4 {
            // Shrinking keeps every word at its address.
            0 => area = arena.vrealloc(area, bytes(1)).unwrap(),
            1 => arena.purge_vmap_area_lazy(),
            _ => {}
        }
        live.push(area);
        rounds += 1;
    }
    for area in live {
        arena.vfree(area).unwrap();
    }
    rounds
}

/// Maps frames of its own for a short time, and overwrites them as soon as nobody may see them.
fn map_and_poison(arena: &Arena<Hesitant>, writer: u64, stop: &AtomicBool) -> u64 {
    let frames: Vec<Pfn> = (0..4)
        .map(|_| arena.frames().alloc_frame().unwrap())
        .collect();
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        for frame in &frames {
            arena
                .frames()
                .write_frame(*frame, ByteLen::ZERO, &[0; 4096])
                .unwrap();
        }
        let area = arena.vmap(&frames);
        let Ok(area) = area else { continue };
        for (n, frame) in (0..).zip(&frames) {
            let at = area.checked_add(bytes(n)).unwrap();
            let content = page(at.get(), writer);
            arena
                .frames()
                .write_frame(*frame, ByteLen::ZERO, &content)
                .unwrap();
        }
        arena.vunmap(area).unwrap();
        // From here on the frames are ours alone: a reader that still saw them would see this.
        for frame in &frames {
            arena
                .frames()
                .write_frame(*frame, ByteLen::ZERO, &[0xee; 4096])
                .unwrap();
        }
        rounds += 1;
    }
    for frame in frames {
        arena.frames().free_frame(frame);
    }
    rounds
}

#[test]
fn readers_see_what_was_once_true() {
    // R28, R29, V9, V16: bytes or zeros, never another allocation's or another address's.
    const READS: u64 = 1_500;
    // How long the readers go on instead, where somebody wants it longer: under a sanitizer, say.
    let seconds = std::env::var("VREAD_STRESS_SECONDS").ok();
    let longer = seconds.map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
    let started = Instant::now();
    let goes_on = |n: u64| match longer {
        None => n < READS,
        Some(longer) => started.elapsed() < longer,
    };
    let frames = Hesitant(HeapFrames::new(PageCount::new(128)));
    let arena: Arena<Hesitant> = Arena::new(pages(0, WINDOW_PAGES), frames).unwrap();
    let stop = AtomicBool::new(false);
    let seen = AtomicU64::new(0);
    let rounds = thread::scope(|scope| {
        let (arena, stop, seen, goes_on) = (&arena, &stop, &seen, &goes_on);
        let writers = [1, 2].map(|writer| scope.spawn(move || churn(arena, writer, stop)));
        let mapper = scope.spawn(move || map_and_poison(arena, 3, stop));
        let readers = [0_u64, 7].map(|skew| {
            scope.spawn(move || {
                let mut buffer = vec![0xa5; 65_536];
                for n in (0..).take_while(|n| goes_on(*n)) {
                    let start = BASE + (n * 8 + skew) % (WINDOW_PAGES - 16) * PAGE;
                    let mut segment = Plain::new(&mut buffer);
                    let mut iter = IovIter::ubuf(&mut segment);
                    let len = bytes(16);
                    let progress = vread_iter(arena, &mut iter, VirtAddr::new(start), len);
                    assert_eq!(progress.advanced(), len);
                    seen.fetch_add(progress.copied.get(), Ordering::Relaxed);
                    for (at, bytes) in (start..).step_by(8).zip(buffer.chunks_exact(8)) {
                        let found = u64::from_le_bytes(bytes.try_into().unwrap());
                        let fits = found == 0 || (1..=3).any(|w| found == word(at, w));
                        assert!(fits, "{found:#x} at {at:#x}");
                    }
                }
            })
        });
        let results = readers.map(thread::ScopedJoinHandle::join);
        stop.store(true, Ordering::Relaxed);
        let rounds = writers.map(|writer| writer.join().unwrap());
        let mapped = mapper.join().unwrap();
        results.into_iter().for_each(|result| result.unwrap());
        rounds.into_iter().sum::<u64>() + mapped
    });
    println!(
        "{rounds} areas came and went; {} bytes of content read",
        seen.load(Ordering::Relaxed)
    );
    assert!(
        rounds > 0 && seen.load(Ordering::Relaxed) > 0,
        "the test saw nothing"
    );
    assert_eq!(arena.areas(), []);
    assert_eq!(arena.frames().0.taken(), PageCount::new(0), "leaked frames");
}
