//! `vread_iter` over an area of scattered pages, beside the plain loop of copies that it cannot beat,
//! and beside the way through a bounce buffer that it replaces.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "small numbers of the bench's own"
)]

mod frozen;

use divan::Bencher;
use divan::counter::BytesCount;
use vread_addr::{ByteLen, PageCount, Pfn, VirtAddr};
use vread_iov_iter::{IovIter, PageSource, Plain};
use vread_vmalloc::{Arena, FrameProvider, HeapFrames, vread_iter};

use crate::frozen::{Frozen, window};

const PAGE: u64 = 4096;
const SIZES: [u64; 3] = [16, 256, 4096];

fn main() {
    divan::main();
}

/// An arena with one area of `pages` pages, whose frames are scattered.
fn arena(pages: u64) -> (Arena<Frozen>, VirtAddr) {
    let arena: Arena<Frozen> = Arena::new(window(1 << 30), Frozen::new(pages)).unwrap();
    let area = arena.vmalloc(ByteLen::new(pages * PAGE)).unwrap();
    (arena, area)
}

fn buffer(pages: u64) -> Vec<u8> {
    vec![1; usize::try_from(pages * PAGE).unwrap()]
}

/// The rival: nothing but the copies of the same pages, a page each, in the same order.
#[divan::bench(args = SIZES)]
fn plain_page_copies(bencher: Bencher<'_, '_>, pages: u64) {
    let frames = Frozen::new(pages);
    let order: Vec<&[u8; 4096]> = (0..pages)
        .map(|n| &frames.frames[usize::try_from(frames.scattered(n)).unwrap()].0)
        .collect();
    let mut buffer = buffer(pages);
    bencher
        .counter(BytesCount::new(pages * PAGE))
        .bench_local(|| {
            for (page, target) in order.iter().zip(buffer.chunks_exact_mut(4096)) {
                target.copy_from_slice(page.as_slice());
            }
            divan::black_box(&mut buffer);
        });
}

/// Ours: one copy from the page into the reader's buffer.
#[divan::bench(args = SIZES)]
fn vread_iter_into_a_buffer(bencher: Bencher<'_, '_>, pages: u64) {
    let (arena, area) = arena(pages);
    read_into_a_buffer(bencher, &arena, area, pages);
}

/// Ours, over frames that can be written and freed meanwhile: a lock a page on top.
#[divan::bench(args = SIZES)]
fn vread_iter_over_heap_frames(bencher: Bencher<'_, '_>, pages: u64) {
    let frames = HeapFrames::new(PageCount::new(pages));
    // Frames are handed out in the order in which they were freed last.
    let all: Vec<Pfn> = (0..pages).map(|_| frames.alloc_frame().unwrap()).collect();
    for n in 0..pages {
        frames.free_frame(all[usize::try_from(n * 1657 % pages).unwrap()]);
    }
    let arena: Arena<HeapFrames> = Arena::new(window(1 << 30), frames).unwrap();
    let area = arena.vmalloc(ByteLen::new(pages * PAGE)).unwrap();
    for page in 0..pages {
        let at = area.wrapping_add(ByteLen::new(page * PAGE));
        arena
            .write(at, &[u8::try_from(page % 251).unwrap(); 4096])
            .unwrap();
    }
    read_into_a_buffer(bencher, &arena, area, pages);
}

fn read_into_a_buffer<P>(bencher: Bencher<'_, '_>, arena: &Arena<P>, area: VirtAddr, pages: u64)
where
    P: FrameProvider + for<'a> PageSource<Plain<'a>>,
{
    let mut buffer = buffer(pages);
    let len = ByteLen::new(pages * PAGE);
    bencher.counter(BytesCount::new(len.get())).bench_local(|| {
        let mut segment = Plain::new(&mut buffer);
        let mut iter = IovIter::ubuf(&mut segment);
        let progress = vread_iter(arena, &mut iter, area, len);
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
