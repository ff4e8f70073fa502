//! Reads of mapped RAM against plain loads and copies of the same mapping, and against the system calls
//! that would do the same.
#![expect(unsafe_code, reason = "the rivals read a mapping directly")]
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a failure ends the bench"
)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use rustix::fs::MemfdFlags;
use rustix::mm::{self, MapFlags, ProtFlags};
use vread_addr::{ByteLen, FileOffset, PhysAddr, PhysRange};
use vread_iov_iter::{IovIter, PageSource};
use vread_nofault::UserBuf;
use vread_physmem::PhysMem;

/// As of a small guest: more than any cache.
const LEN: usize = 256 << 20;
/// What fits the second-level cache, so that the price of the read itself shows.
const NEAR: usize = 256 << 10;

fn main() {
    vread_nofault::install().unwrap();
    divan::main();
}

struct Ram {
    file: File,
    mem: PhysMem,
    plain: *const u8,
}

fn ram() -> Ram {
    let file = File::from(rustix::fs::memfd_create("ram", MemfdFlags::CLOEXEC).unwrap());
    let block: Vec<u8> = (0..1 << 20).map(|at: u32| (at >> 3) as u8).collect();
    for at in (0..LEN).step_by(block.len()) {
        file.write_all_at(&block, at as u64).unwrap();
    }
    let ram = Ram {
        mem: open(&file),
        plain: map_plain(&file),
        file,
    };
    // Everything is mapped and known on both sides.
    let mut sink = vec![0; 1 << 20];
    for at in (0..LEN).step_by(1 << 20) {
        copy_plain(&ram, at, &mut sink);
        copy_nofault(&ram, at, &mut sink);
    }
    ram
}

fn open(file: &File) -> PhysMem {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Two ranges, as below and above the hole of a PC.
    let half = LEN as u64 / 2;
    let range = |start| PhysRange::from_len(PhysAddr::new(start), ByteLen::new(half)).unwrap();
    let ranges = [
        (range(0), FileOffset::new(0)),
        (range(1 << 32), FileOffset::new(half)),
    ];
    PhysMem::from_file(path, &ranges).unwrap()
}

/// A plain mapping, which lives as long as the bench unless it is undone.
fn map_plain(file: &File) -> *const u8 {
    // SAFETY: a new mapping.
    let base = unsafe {
        mm::mmap(
            ptr::null_mut(),
            LEN,
            ProtFlags::READ,
            MapFlags::SHARED,
            file,
            0,
        )
    };
    base.unwrap().cast_const().cast()
}

/// All of it once, through a new mapping: what a dump does.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn first_scan_memcpy(bencher: Bencher<'_, '_>) {
    let ram = ram();
    let mut bytes = vec![0; 1 << 20];
    bencher.counter(BytesCount::new(LEN)).bench_local(|| {
        let fresh = Ram {
            plain: map_plain(&ram.file),
            file: ram.file.try_clone().unwrap(),
            mem: open(&ram.file),
        };
        for at in (0..LEN).step_by(1 << 20) {
            copy_plain(&fresh, at, &mut bytes);
        }
        // SAFETY: the mapping of this turn.
        unsafe { mm::munmap(fresh.plain.cast_mut().cast(), LEN) }.unwrap();
    });
}

/// The same through a new `PhysMem`.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn first_scan_copy_run(bencher: Bencher<'_, '_>) {
    let ram = ram();
    let mut bytes = vec![0; 1 << 20];
    bencher.counter(BytesCount::new(LEN)).bench_local(|| {
        let fresh = Ram {
            plain: ram.plain,
            file: ram.file.try_clone().unwrap(),
            mem: open(&ram.file),
        };
        for at in (0..LEN).step_by(1 << 20) {
            copy_nofault(&fresh, at, &mut bytes);
        }
    });
}

fn phys(at: usize) -> PhysAddr {
    let half = LEN / 2;
    PhysAddr::new(if at < half { at } else { at - half + (1 << 32) } as u64)
}

fn copy_plain(ram: &Ram, at: usize, into: &mut [u8]) {
    let src = ram.plain.wrapping_add(at % (LEN - into.len() + 1));
    // SAFETY: inside the mapping, which nobody writes here.
    unsafe { ptr::copy_nonoverlapping(src, into.as_mut_ptr(), into.len()) };
}

fn copy_nofault(ram: &Ram, at: usize, into: &mut [u8]) {
    let len = ByteLen::from_usize(into.len());
    let mut segment = UserBuf::new(into);
    let mut iter = IovIter::ubuf(&mut segment);
    let progress = ram.mem.copy_run_to_iter_nofault(phys(at), len, &mut iter);
    assert_eq!(progress.copied, len);
}

/// Random places of words, the same for everyone; how many bytes they are spread over is the argument.
fn places(spread: usize) -> Vec<usize> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % (spread / 8) * 8
    };
    (0..1024).map(|_| next()).collect()
}

#[divan::bench(args = [NEAR, LEN])]
fn words_1024_plain(bencher: Bencher<'_, '_>, spread: usize) {
    let (ram, places) = (ram(), places(spread));
    bencher.bench_local(|| {
        let base = black_box(ram.plain);
        let words = places.iter().map(|at| {
            // SAFETY: inside the mapping.
            unsafe { base.wrapping_add(*at).cast::<u64>().read_volatile() }
        });
        words.fold(0, u64::wrapping_add)
    });
}

#[divan::bench(args = [NEAR, LEN])]
fn words_1024_read_u64(bencher: Bencher<'_, '_>, spread: usize) {
    let ram = ram();
    let places: Vec<_> = places(spread).into_iter().map(phys).collect();
    bencher.bench_local(|| {
        let mem = black_box(&ram.mem);
        let words = places.iter().map(|at| mem.read_u64(*at).unwrap());
        words.fold(0, u64::wrapping_add)
    });
}

#[divan::bench(args = [NEAR, LEN])]
fn words_1024_read(bencher: Bencher<'_, '_>, spread: usize) {
    let ram = ram();
    let places: Vec<_> = places(spread).into_iter().map(phys).collect();
    bencher.bench_local(|| {
        let mem = black_box(&ram.mem);
        let words = places.iter().map(|at| {
            let mut bytes = [0; 8];
            mem.read(*at, &mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        });
        words.fold(0, u64::wrapping_add)
    });
}

#[divan::bench(args = [NEAR, LEN])]
fn words_1024_copy_run(bencher: Bencher<'_, '_>, spread: usize) {
    let (ram, places) = (ram(), places(spread));
    bencher.bench_local(|| {
        let words = places.iter().map(|at| {
            let mut bytes = [0; 8];
            copy_nofault(black_box(&ram), *at, &mut bytes);
            u64::from_le_bytes(bytes)
        });
        words.fold(0, u64::wrapping_add)
    });
}

#[divan::bench(args = [NEAR])]
fn words_1024_pread(bencher: Bencher<'_, '_>, spread: usize) {
    let (ram, places) = (ram(), places(spread));
    bencher.bench_local(|| {
        let words = places.iter().map(|at| {
            let mut bytes = [0; 8];
            ram.file.read_exact_at(&mut bytes, *at as u64).unwrap();
            u64::from_le_bytes(bytes)
        });
        words.fold(0, u64::wrapping_add)
    });
}

#[divan::bench(args = [NEAR])]
fn words_1024_process_vm_readv(bencher: Bencher<'_, '_>, spread: usize) {
    let (ram, places) = (ram(), places(spread));
    bencher.bench_local(|| {
        let words = places.iter().map(|at| {
            let mut word = 0_u64;
            let local = libc::iovec {
                iov_base: (&raw mut word).cast(),
                iov_len: 8,
            };
            let remote = libc::iovec {
                iov_base: ram.plain.wrapping_add(*at).cast_mut().cast(),
                iov_len: 8,
            };
            let pid = std::process::id() as i32;
            // SAFETY: one valid segment on either side.
            let got = unsafe {
                libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0)
            };
            assert_eq!(got, 8);
            word
        });
        words.fold(0, u64::wrapping_add)
    });
}

const COPIES: [usize; 4] = [4 << 10, 64 << 10, 128 << 10, 1 << 20];

#[divan::bench(args = COPIES)]
fn sequential_memcpy(bencher: Bencher<'_, '_>, len: usize) {
    let ram = ram();
    let (mut at, mut bytes) = (0, vec![0; len]);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        copy_plain(&ram, at, &mut bytes);
        at = (at + len) % LEN;
    });
}

#[divan::bench(args = COPIES)]
fn sequential_copy_run(bencher: Bencher<'_, '_>, len: usize) {
    let ram = ram();
    let (mut at, mut bytes) = (0, vec![0; len]);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        copy_nofault(&ram, at, &mut bytes);
        at = (at + len) % LEN;
    });
}

#[divan::bench(args = COPIES)]
fn sequential_pread(bencher: Bencher<'_, '_>, len: usize) {
    let ram = ram();
    let (mut at, mut bytes) = (0, vec![0; len]);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        ram.file.read_exact_at(&mut bytes[..], at as u64).unwrap();
        at = (at + len) % LEN;
    });
}
