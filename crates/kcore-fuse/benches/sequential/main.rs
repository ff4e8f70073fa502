//! Sequential reading through the mount, beside a server of the same library that returns zeros.
//!
//! The rival does nothing but answer: what it reaches is what the kernel and the library allow. Ours
//! copies each byte out of 256 MiB of memory first. Both are read by the same loop, in turns, and the
//! medians and their ratio are printed. Run with `cargo bench -p vread-kcore-fuse`.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench fails loudly and computes with numbers of its own"
)]

mod zeros;

use std::{
    error::Error,
    fs::File,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use vread_addr::{ByteLen, FileOffset};
use vread_iov_iter::{IovIter, Progress};
use vread_kcore_fuse::{MountOptions, Mounted, OpenFile, ServedFile};
use vread_nofault::UserBuf;

const SIZE: usize = 256 << 20;
const ROUNDS: usize = 15;

/// Memory as a file.
#[derive(Debug, Clone)]
struct Memory(Arc<Vec<u8>>);

impl ServedFile for Memory {
    fn name(&self) -> &str {
        "kcore"
    }

    fn size(&self) -> ByteLen {
        ByteLen::from_usize(self.0.len())
    }

    fn open(&self) -> Result<Box<dyn OpenFile>, Box<dyn Error + Send + Sync>> {
        Ok(Box::new(self.clone()))
    }
}

impl OpenFile for Memory {
    fn read_at(&self, at: FileOffset, iter: &mut IovIter<'_, UserBuf<'_>>) -> Progress {
        let from = (at.get() as usize).min(self.0.len());
        Progress::copied(ByteLen::from_usize(
            iter.copy_to_iter_nofault(&self.0[from..]),
        ))
    }
}

/// The time to read the whole file, 1 MiB at a time.
fn read_all(path: &Path, flags: i32) -> Duration {
    let file = File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .unwrap();
    let mut buffer = vec![0_u8; (1 << 20) + 4096];
    let start = buffer.as_ptr().align_offset(4096);
    let buffer = &mut buffer[start..start + (1 << 20)];
    let begin = Instant::now();
    let mut at = 0;
    while at < SIZE as u64 {
        at += file.read_at(buffer, at).unwrap() as u64;
    }
    begin.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn main() {
    vread_nofault::install().unwrap();
    let [zeros, limit, ours] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let _zeros = zeros::serve(zeros.path(), SIZE as u64, zeros::From::OneBuffer);
    let _limit = zeros::serve(limit.path(), SIZE as u64, zeros::From::AllMemory);
    let memory = Memory(Arc::new(vec![7; SIZE]));
    let options = MountOptions {
        on_failure: Box::new(|words| eprintln!("{words}")),
    };
    let _ours = Mounted::mount(vec![Box::new(memory)], ours.path(), options).unwrap();

    for (name, flags) in [("buffered", 0), ("O_DIRECT", libc::O_DIRECT)] {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for (folder, times) in [&zeros, &limit, &ours].into_iter().zip(&mut times) {
                times.push(read_all(&folder.path().join("kcore"), flags));
            }
        }
        let [zeros, limit, ours] = times.map(median);
        let rate = |seconds: f64| SIZE as f64 / seconds / 1e9;
        println!(
            "{name:9} ours {:.2} GB/s; zeros of the same library {:.2} GB/s, ratio {:.2}; zeros from as much memory \
             {:.2} GB/s, ratio {:.2}",
            rate(ours),
            rate(zeros),
            zeros / ours,
            rate(limit),
            limit / ours,
        );
    }
}
