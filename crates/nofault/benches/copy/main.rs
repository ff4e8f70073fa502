//! Copies of this crate against `memcpy`, and a load that may fault against one that may not.
#![expect(unsafe_code, reason = "calls the raw copies")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a failure ends the bench"
)]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/evicted/memory.rs"]
mod memory;
mod ratios;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use vread_nofault::{Backend, copy_foreign, load_u64, select, zero_foreign};

const LENGTHS: [usize; 10] = [
    8,
    16,
    64,
    120,
    256,
    512,
    1 << 10,
    4 << 10,
    64 << 10,
    1 << 20,
];

fn main() {
    // Cargo says that to a bench and not to a test.
    if std::env::args().any(|word| word == "--bench") {
        ratios::print();
    }
    divan::main();
}

/// How the reader's buffer and the page lie to each other.
const SKEWS: [usize; 2] = [0, 3];

fn buffers(len: usize) -> (Vec<u8>, Vec<u8>) {
    (vec![0x5a; len + 64], vec![0; len + 64])
}

fn args() -> impl Iterator<Item = (usize, usize)> {
    LENGTHS
        .into_iter()
        .flat_map(|len| SKEWS.into_iter().map(move |skew| (len, skew)))
}

#[divan::bench(args = args())]
fn memcpy(bencher: Bencher<'_, '_>, (len, skew): (usize, usize)) {
    let (src, mut dst) = buffers(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        let (dst, src) = black_box((&mut dst[skew..skew + len], &src[..len]));
        dst.copy_from_slice(src);
    });
}

#[divan::bench(args = args())]
fn nofault(bencher: Bencher<'_, '_>, (len, skew): (usize, usize)) {
    select(Backend::SignalHandler).unwrap();
    let (src, mut dst) = buffers(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        let (dst, src) = black_box((&mut dst[skew..skew + len], &src[..len]));
        // SAFETY: two slices of `len` bytes.
        unsafe { copy_foreign(dst.as_mut_ptr(), src.as_ptr(), len) }
    });
}

#[divan::bench(args = [8, 4 << 10, 1 << 20])]
fn nofault_process_vm(bencher: Bencher<'_, '_>, len: usize) {
    select(Backend::ProcessVm).unwrap();
    let (src, mut dst) = buffers(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        let (dst, src) = black_box((&mut dst[..len], &src[..len]));
        // SAFETY: two slices of `len` bytes.
        unsafe { copy_foreign(dst.as_mut_ptr(), src.as_ptr(), len) }
    });
}

#[divan::bench(args = [8, 64, 4 << 10, 1 << 20])]
fn memset(bencher: Bencher<'_, '_>, len: usize) {
    let (_, mut dst) = buffers(len);
    bencher
        .counter(BytesCount::new(len))
        .bench_local(|| black_box(&mut dst[..len]).fill(black_box(0)));
}

#[divan::bench(args = [8, 64, 4 << 10, 1 << 20])]
fn nofault_zero(bencher: Bencher<'_, '_>, len: usize) {
    select(Backend::SignalHandler).unwrap();
    let (_, mut dst) = buffers(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        let dst = black_box(&mut dst[..len]);
        // SAFETY: a slice of `len` bytes.
        unsafe { zero_foreign(dst.as_mut_ptr(), len) }
    });
}

/// A chain of loads, each of which needs the one before: what a page walk is.
const CHAIN: usize = 512;

fn chain() -> Vec<u64> {
    (0..CHAIN)
        .map(|at| u64::try_from((at * 7 + 1) % CHAIN).unwrap())
        .collect()
}

#[divan::bench]
fn chain_of_512_plain_loads(bencher: Bencher<'_, '_>) {
    let words = chain();
    bencher.bench_local(|| {
        let base = black_box(words.as_ptr());
        let mut at = 0;
        for _ in 0..CHAIN {
            // SAFETY: every word is an index into the words.
            at = usize::try_from(unsafe { base.wrapping_add(at).read_volatile() }).unwrap();
        }
        at
    });
}

#[divan::bench]
fn chain_of_512_nofault_loads(bencher: Bencher<'_, '_>) {
    select(Backend::SignalHandler).unwrap();
    let words = chain();
    bencher.bench_local(|| {
        let base = black_box(words.as_ptr());
        let mut at = 0;
        for _ in 0..CHAIN {
            // SAFETY: every word is an index into the words.
            let word = unsafe { load_u64(base.wrapping_add(at)) };
            at = usize::try_from(word.unwrap()).unwrap();
        }
        at
    });
}
