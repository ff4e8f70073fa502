//! Reads of a running guest through the whole read path, against plain copies of as many bytes, and the
//! price of attaching to it.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a failure ends the bench"
)]

use std::cell::Cell;
use std::sync::OnceLock;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use vread_addr::{ByteLen, FileOffset, PhysAddr, PhysRange, VirtAddr};
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease};
use vread_iov_iter::IovIter;
use vread_kcore::{KcoreImage, ReadOptions, SegmentKind, read_kcore_iter};
use vread_linux::Kernel;
use vread_nofault::UserBuf;
use vread_physmem::PhysMem;
use vread_vmalloc::AreaContent;

/// Places for small reads; a power of two.
const PLACES: usize = 4096;
/// A large read.
const CHUNK: usize = 1 << 20;
/// How much is read by large reads in one turn.
const LARGE: usize = 256 << 20;

fn main() {
    vread_nofault::install().unwrap();
    divan::main();
    // Statics are not dropped, and the guest is to end with us.
    if let Some(bench) = BENCH.get() {
        let _ = bench.guest.run(&["/bin/busybox", "poweroff", "-f"]);
    }
}

static BENCH: OnceLock<Bench> = OnceLock::new();

struct Bench {
    guest: Guest,
    kernel: Kernel,
    image: KcoreImage,
}

fn bench() -> &'static Bench {
    BENCH.get_or_init(|| {
        let config = GuestConfig::new(KernelRelease::V6_12).backend(Backend::File);
        let guest = Guest::boot(&config).unwrap();
        // The guest fills its memory, so that reads find content and not pages that do not exist.
        let fill = "dd if=/dev/urandom of=/dev/shm/fill bs=1M count=300; rm /dev/shm/fill";
        let mount = "mkdir -p /dev/shm; mount -t tmpfs -o size=400m none /dev/shm";
        let script = format!("{mount}; {fill}");
        guest.run(&["/bin/busybox", "sh", "-c", &script]).unwrap();
        let kernel = Kernel::attach(open(&guest)).unwrap();
        let image = kernel.kcore_image().unwrap();
        Bench {
            guest,
            kernel,
            image,
        }
    })
}

fn open(guest: &Guest) -> PhysMem {
    let file = guest.memory_file().unwrap();
    let len = ByteLen::new(std::fs::metadata(file).unwrap().len());
    let ram = PhysRange::from_len(PhysAddr::new(0), len).unwrap();
    PhysMem::from_file(file, &[(ram, FileOffset::new(0))]).unwrap()
}

impl Bench {
    fn read(&self, at: FileOffset, bytes: &mut [u8]) {
        let mut segment = UserBuf::new(bytes);
        let mut iter = IovIter::ubuf(&mut segment);
        let options = ReadOptions::default();
        let progress = read_kcore_iter(&self.image, &self.kernel, &mut iter, at, options).unwrap();
        assert_eq!(progress.stopped, None);
    }

    /// Reads 8 bytes at addresses that `pick` makes of random numbers.
    fn small(&self, bencher: Bencher<'_, '_>, pick: impl Fn(u64) -> VirtAddr) {
        let mut random = 0x1234_5678_9abc_def1_u64;
        let places: Vec<FileOffset> = (0..PLACES)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                self.image.offset_of(pick(random)).unwrap()
            })
            .collect();
        let turn = Cell::new(0_usize);
        bencher.bench_local(|| {
            turn.set(turn.get() + 1);
            let mut bytes = [0; 8];
            self.read(places[turn.get() % PLACES], &mut bytes);
            black_box(bytes)
        });
    }
}

/// The longest segment of a kind.
fn longest(kind: SegmentKind) -> (VirtAddr, u64) {
    let segments = bench().image.segments().iter().map(|placed| placed.segment);
    let longest = segments
        .filter(|segment| segment.kind == kind)
        .max_by_key(|segment| segment.len);
    let longest = longest.unwrap();
    (longest.start, longest.len.get())
}

fn inside((start, len): (VirtAddr, u64), random: u64) -> VirtAddr {
    start
        .checked_add(ByteLen::new((random % (len - 8)) & !7))
        .unwrap()
}

#[divan::bench]
fn attach(bencher: Bencher<'_, '_>) {
    let guest = &bench().guest;
    bencher
        .with_inputs(|| open(guest))
        .bench_local_values(|mem| Kernel::attach(mem).unwrap());
}

#[divan::bench(sample_size = 4096, sample_count = 300)]
fn eight_bytes_of_text(bencher: Bencher<'_, '_>) {
    // The first 8 MiB, which are mapped in every build.
    let (start, _) = longest(SegmentKind::Text);
    bench().small(bencher, |random| inside((start, 8 << 20), random));
}

#[divan::bench(sample_size = 4096, sample_count = 300)]
fn eight_bytes_of_ram(bencher: Bencher<'_, '_>) {
    let ram = longest(SegmentKind::Ram);
    bench().small(bencher, |random| inside(ram, random));
}

#[divan::bench(sample_size = 4096, sample_count = 300)]
fn eight_bytes_of_vmalloc_space(bencher: Bencher<'_, '_>) {
    let areas = bench().kernel.walk_areas().unwrap();
    let readable: Vec<(VirtAddr, u64)> = areas
        .iter()
        .filter_map(|known| match known.area.content() {
            AreaContent::Pages { len } => Some((known.area.range.start(), len.get())),
            _ => None,
        })
        .collect();
    bench().small(bencher, |random| {
        let area = readable[(random >> 32) as usize % readable.len()];
        inside(area, random)
    });
}

/// 256 MiB of the direct map in reads of 1 MiB.
#[divan::bench]
fn ram_in_large_reads(bencher: Bencher<'_, '_>) {
    let bench = bench();
    let (start, len) = longest(SegmentKind::Ram);
    let first = bench.image.offset_of(start).unwrap();
    let mut bytes = vec![0; CHUNK];
    let total = LARGE.min(len as usize);
    bencher.counter(BytesCount::new(total)).bench_local(|| {
        for at in (0..total).step_by(CHUNK) {
            bench.read(
                first.checked_add(ByteLen::from_usize(at)).unwrap(),
                &mut bytes,
            );
        }
    });
}

/// The rival: as many bytes of our own memory.
#[divan::bench]
fn own_memory_in_large_copies(bencher: Bencher<'_, '_>) {
    let source: Vec<u8> = (0..LARGE).map(|at| (at >> 12) as u8).collect();
    let mut bytes = vec![0; CHUNK];
    bencher.counter(BytesCount::new(LARGE)).bench_local(|| {
        for chunk in source.chunks(CHUNK) {
            bytes.copy_from_slice(black_box(chunk));
            black_box(&mut bytes);
        }
    });
}

/// The whole log.
#[divan::bench]
fn read_the_log(bencher: Bencher<'_, '_>) {
    let kernel = &bench().kernel;
    bencher.bench_local(|| kernel.log().unwrap().records.len());
}
