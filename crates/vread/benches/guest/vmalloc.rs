//! 8-byte reads at random addresses of vmalloc space: what a debugger does all day.

use std::io::IoSliceMut;
use std::ops::Range;
use std::time::Duration;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use vread_addr::{FileOffset, VirtAddr};
use vread_guests::{Guest, Random, pattern};
use vread_iov_iter::IovIter;
use vread_kcore::EndOfFile;
use vread_nofault::UserBuf;
use vread_targets::{QemuGuest, View};

use crate::direct_map::populated;
use crate::mapped_file::MappedFile;
use crate::qmp::Qmp;
use crate::rounds::{Side, medians};
use crate::throughput::per_call;

const ROUNDS: usize = 15;
const READS: u32 = 200_000;
const SLOW_READS: u32 = 200;
/// How many words a call for many asks for: `process_vm_readv` takes up to 1024.
const TOGETHER: usize = 1000;

/// Where reads go.
pub(crate) struct Place {
    name: String,
    /// Whole words of mapped vmalloc memory, ascending.
    ranges: Vec<Range<u64>>,
    bytes: u64,
}

impl Place {
    /// All areas that the guest has of its own and that own pages.
    pub(crate) fn own_areas(guest: &Guest) -> Self {
        const GUARD: u64 = 4096;
        let lines = crate::opened::open(guest).vmallocinfo().unwrap();
        let owned = lines
            .iter()
            .filter(|line| line.description().contains("pages="));
        let ranges = owned.map(|line| line.range().start().get()..line.range().end().get() - GUARD);
        Self::new("all of the guest's own areas", ranges.collect())
    }

    /// One area of known content.
    pub(crate) fn one_area(data: &Range<u64>) -> Self {
        Self::new("one area", vec![data.clone()])
    }

    fn new(name: &str, ranges: Vec<Range<u64>>) -> Self {
        let bytes = ranges.iter().map(|range| range.end - range.start).sum();
        let name = format!("{name}, {:.1} MiB", bytes as f64 / f64::from(1 << 20));
        Self {
            name,
            ranges,
            bytes,
        }
    }

    fn word(&self, random: &mut Random) -> u64 {
        let mut at = 8 * random.below(self.bytes / 8);
        for range in &self.ranges {
            let len = range.end - range.start;
            if at < len {
                return range.start + at;
            }
            at -= len;
        }
        panic!("{at:#x} is past the last range");
    }
}

pub(crate) fn bench(guest: &Guest, place: &Place) {
    let target = crate::opened::open(guest);
    let image = target.image(View::Kcore).unwrap();
    // Chosen beforehand: what is measured is the reading.
    let mut random = Random::new(1);
    let words: Vec<FileOffset> = (0..READS)
        .map(|_| VirtAddr::new(place.word(&mut random)))
        .map(|addr| target.position_of(&image, addr).unwrap())
        .collect();
    let mut next = words.iter().cycle();
    let mut library = || {
        per_call(READS, || {
            let mut bytes = [0; 8];
            let mut segment = UserBuf::new(&mut bytes);
            let mut iter = IovIter::ubuf(&mut segment);
            let at = *next.next().unwrap();
            let progress = target
                .read_at(&image, at, &mut iter, EndOfFile::Never)
                .unwrap();
            assert_eq!(progress.copied.get(), 8);
            std::hint::black_box(bytes);
        })
    };

    let mut calls = words.chunks(TOGETHER).cycle();
    let mut together = || {
        per_call(READS / TOGETHER as u32, || {
            let mut found = [0; TOGETHER];
            let at = calls.next().unwrap();
            let progress = target.read_words(&image, at, &mut found).unwrap();
            assert_eq!(progress.copied.get(), 8 * TOGETHER as u64);
            std::hint::black_box(found);
        }) / TOGETHER as u32
    };

    let qemu = QemuGuest::of_socket(&guest.qmp_paths()[1]).unwrap();
    let (start, len) = populated(guest);
    // The rivals get physical memory of the same size, in one piece.
    let len = len.min(place.bytes);
    let ram = qemu
        .ram
        .iter()
        .find(|ram| ram.range.start().get() <= start && start < ram.range.end().get());
    let ram = ram.unwrap();
    let hva = ram.hva.get() + (start - ram.range.start().get());
    let pid = Pid::from_raw(i32::try_from(qemu.pid).unwrap());
    let mut random = Random::new(2);
    let mut readv = || {
        per_call(READS, || {
            let base = usize::try_from(hva + 8 * random.below(len / 8)).unwrap();
            let mut bytes = [0; 8];
            let mut local = [IoSliceMut::new(&mut bytes)];
            let read = process_vm_readv(pid, &mut local, &[RemoteIoVec { base, len: 8 }]);
            assert_eq!(read.unwrap(), 8);
        })
    };

    let mut random = Random::new(5);
    let mut readv_together = || {
        per_call(READS / TOGETHER as u32, || {
            let mut bytes = [0; 8 * TOGETHER];
            let remote = [(); TOGETHER].map(|()| RemoteIoVec {
                base: usize::try_from(hva + 8 * random.below(len / 8)).unwrap(),
                len: 8,
            });
            let read = process_vm_readv(pid, &mut [IoSliceMut::new(&mut bytes)], &remote);
            assert_eq!(read.unwrap(), bytes.len());
            std::hint::black_box(bytes);
        }) / TOGETHER as u32
    };

    let mut monitor = Qmp::connect(&guest.qmp_paths()[1]);
    let mut random = Random::new(3);
    let mut xp = || {
        per_call(SLOW_READS, || {
            let addr = start + 8 * random.below(len / 8);
            let answer = monitor.human(&format!("xp /1gx {addr:#x}"));
            assert!(answer.contains(": 0x"), "{answer}");
        })
    };

    let file = MappedFile::new(guest.memory_file().unwrap());
    let mut random = Random::new(4);
    let mut load = || {
        per_call(READS, || {
            let at = usize::try_from(start + 8 * random.below(len / 8)).unwrap();
            let mut bytes = [0; 8];
            file.copy(at, &mut bytes);
            std::hint::black_box(bytes);
        })
    };

    let mut index = 0_u64;
    let mut latency = || {
        per_call(READS, || {
            let word = pattern::word(5, index) % (len / 8);
            let mut bytes = [0; 8];
            file.copy(usize::try_from(start + 8 * word).unwrap(), &mut bytes);
            // The next address waits for these bytes, as those of a page walk do.
            let waited = u64::from_le_bytes(bytes) & std::hint::black_box(0);
            index = index.wrapping_add(1) ^ waited;
        })
    };

    println!("8-byte reads at random addresses: {}", place.name);
    let mut sides = [
        Side {
            name: "vread library, page walk included",
            round: &mut library,
        },
        Side {
            name: "process_vm_readv of 8 bytes, no walk",
            round: &mut readv,
        },
        Side {
            name: "vread library, 1000 words a call",
            round: &mut together,
        },
        Side {
            name: "process_vm_readv of 1000 words a call",
            round: &mut readv_together,
        },
        Side {
            name: "one load from a mapping, overlapping (limit)",
            round: &mut load,
        },
        Side {
            name: "one load from a mapping, one at a time",
            round: &mut latency,
        },
        Side {
            name: "QMP xp of 8 bytes, no walk",
            round: &mut xp,
        },
    ];
    let times = medians(ROUNDS, &mut sides);
    for (side, time) in sides.iter().zip(&times) {
        println!("  {:<44} {:>8.0} ns", side.name, nanoseconds(*time));
    }
    for (side, time) in sides.iter().zip(&times).skip(1) {
        let ratio = nanoseconds(*time) / nanoseconds(times[0]);
        println!(
            "  {} takes {ratio:.2} times as long (medians of {ROUNDS})",
            side.name
        );
    }
    let of_many = |time: Duration| nanoseconds(time) / nanoseconds(times[2]);
    println!(
        "  beside vread's {TOGETHER} words a call, process_vm_readv takes {:.2} times as long for a word, and {:.2} \
         times for {TOGETHER} a call",
        of_many(times[1]),
        of_many(times[3]),
    );
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}
