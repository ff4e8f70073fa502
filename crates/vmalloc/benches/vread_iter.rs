//! `vread_iter` over an area of scattered pages, beside the plain loop of copies that it cannot beat,
//! and beside the way through a bounce buffer that it replaces.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "small numbers of the bench's own"
)]

use divan::Bencher;
use divan::counter::BytesCount;
use vread_addr::{ByteLen, PageCount, Pfn, VirtAddr, VirtRange};
use vread_iov_iter::{IovIter, Plain};
use vread_vmalloc::{Arena, FrameProvider, HeapFrames, vread_iter};

const PAGE: u64 = 4096;
const SIZES: [u64; 3] = [16, 256, 4096];

fn main() {
    divan::main();
}

/// Page numbers in an order without neighbours: a stride that shares no factor with a power of two.
fn scattered(pages: u64) -> impl Iterator<Item = u64> {
    (0..pages).map(move |n| (n * 1657) % pages)
}

/// An arena with one area of `pages` pages, whose frames are scattered.
fn arena(pages: u64) -> (Arena<HeapFrames>, VirtAddr) {
    let start = VirtAddr::new(0xffff_c900_0000_0000);
    let window = VirtRange::from_len(start, ByteLen::new(1 << 30)).unwrap();
    let frames = HeapFrames::new(PageCount::new(pages));
    // Frames are handed out in the order in which they were freed last.
    let all: Vec<Pfn> = (0..pages).map(|_| frames.alloc_frame().unwrap()).collect();
    for n in scattered(pages) {
        frames.free_frame(all[usize::try_from(n).unwrap()]);
    }
    let arena: Arena<HeapFrames> = Arena::new(window, frames).unwrap();
    let area = arena.vmalloc(ByteLen::new(pages * PAGE)).unwrap();
    for page in 0..pages {
        let at = area.wrapping_add(ByteLen::new(page * PAGE));
        arena
            .write(at, &[u8::try_from(page % 251).unwrap(); 4096])
            .unwrap();
    }
    (arena, area)
}

fn buffer(pages: u64) -> Vec<u8> {
    vec![1; usize::try_from(pages * PAGE).unwrap()]
}

/// The rival: nothing but the copies, a page each, from pages allocated in the same way.
#[divan::bench(args = SIZES)]
fn plain_page_copies(bencher: Bencher<'_, '_>, pages: u64) {
    let mut memory: Vec<Box<[u8; 4096]>> = (0..pages)
        .map(|n| Box::new([u8::try_from(n % 251).unwrap(); 4096]))
        .collect();
    let order: Vec<u64> = scattered(pages).collect();
    for (n, other) in (0..).zip(order) {
        memory.swap(n, usize::try_from(other).unwrap());
    }
    let mut buffer = buffer(pages);
    bencher
        .counter(BytesCount::new(pages * PAGE))
        .bench_local(|| {
            for (page, target) in memory.iter().zip(buffer.chunks_exact_mut(4096)) {
                target.copy_from_slice(page.as_slice());
            }
            divan::black_box(&mut buffer);
        });
}

/// Ours: one copy from the page into the reader's buffer.
#[divan::bench(args = SIZES)]
fn vread_iter_into_a_buffer(bencher: Bencher<'_, '_>, pages: u64) {
    let (arena, area) = arena(pages);
    let mut buffer = buffer(pages);
    let len = ByteLen::new(pages * PAGE);
    bencher.counter(BytesCount::new(len.get())).bench_local(|| {
        let mut segment = Plain::new(&mut buffer);
        let mut iter = IovIter::ubuf(&mut segment);
        let progress = vread_iter(&arena, &mut iter, area, len);
        assert_eq!(progress.copied, len);
    });
}

/// The way before: a page into a bounce buffer, and from there to the reader.
#[divan::bench(args = SIZES)]
fn vread_iter_through_a_bounce_buffer(bencher: Bencher<'_, '_>, pages: u64) {
    let (arena, area) = arena(pages);
    let mut buffer = buffer(pages);
    let mut bounce = [0_u8; 4096];
    bencher
        .counter(BytesCount::new(pages * PAGE))
        .bench_local(|| {
            let mut at = area;
            for target in buffer.chunks_exact_mut(4096) {
                let mut segment = Plain::new(&mut bounce);
                let mut iter = IovIter::ubuf(&mut segment);
                let progress = vread_iter(&arena, &mut iter, at, ByteLen::new(PAGE));
                at = at.wrapping_add(progress.advanced());
                target.copy_from_slice(&bounce);
            }
            divan::black_box(&mut buffer);
        });
}

/// Finding an area among many.
#[divan::bench(args = [1_000, 1_000_000])]
fn find_among(bencher: Bencher<'_, '_>, areas: u64) {
    let arena = crowd(areas);
    let starts: Vec<VirtAddr> = arena
        .areas()
        .iter()
        .map(|area| area.range.start())
        .collect();
    let mut n = 0;
    bencher.bench_local(|| {
        n = (n + 7919) % starts.len();
        let mut iter: IovIter<'_, Plain<'_>> = IovIter::discard(1);
        vread_iter(&arena, &mut iter, starts[n], ByteLen::new(1))
    });
}

/// Allocating and freeing an area among many.
#[divan::bench(args = [1_000, 1_000_000])]
fn vmalloc_and_vfree_among(bencher: Bencher<'_, '_>, areas: u64) {
    let arena = crowd(areas);
    bencher.bench_local(|| {
        let area = arena.vmalloc(ByteLen::new(1)).unwrap();
        arena.vfree(area).unwrap();
    });
}

/// An arena with so many areas, all without pages.
fn crowd(areas: u64) -> Arena<HeapFrames> {
    let start = VirtAddr::new(0xffff_c900_0000_0000);
    let window = VirtRange::from_len(start, ByteLen::new(1 << 40)).unwrap();
    let arena: Arena<HeapFrames> = Arena::new(window, HeapFrames::new(PageCount::new(8))).unwrap();
    for _ in 0..areas {
        arena.get_vm_area_sparse(ByteLen::new(1)).unwrap();
    }
    arena
}
