//! Sequential reads through the mount, against a server of the same library that returns zeros: each in a
//! process of its own, as mounts are, with as many threads.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vread_addr::PhysAddr;
use vread_guests::Guest;
use vread_targets::View;

use crate::direct_map::{populated, position_of};
use crate::rounds::{Side, medians};
use crate::throughput::print_throughput;
use crate::zeros;

const STEP: usize = 1 << 20;
const ROUNDS: usize = 15;

pub(crate) fn bench(guest: &Guest) {
    let (start, len) = populated(guest);
    let [ours, rival, limit] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let zeros = Mount::of_zeros(rival.path(), len, ONE_BUFFER);
    let all_memory = Mount::of_zeros(limit.path(), len, ALL_MEMORY);
    let mounted = Mount::of_guest(guest, ours.path());
    let image = crate::opened::open(guest).image(View::Vmcore).unwrap();
    let first = position_of(&image, PhysAddr::new(start));

    let mut vread = || read_all(&ours.path().join("vmcore"), first, len);
    let mut rival_round = || read_all(&rival.path().join("kcore"), 0, len);
    let mut limit_round = || read_all(&limit.path().join("kcore"), 0, len);
    println!(
        "sequential read of {} MiB through the mount, 1 MiB at a time",
        len >> 20
    );
    let names = [
        "vread mount",
        "zeros, same library",
        "zeros from as much memory (limit)",
    ];
    let mut sides = [
        Side {
            name: names[0],
            round: &mut vread,
        },
        Side {
            name: names[1],
            round: &mut rival_round,
        },
        Side {
            name: names[2],
            round: &mut limit_round,
        },
    ];
    let medians = medians(ROUNDS, &mut sides);
    print_throughput(ROUNDS, len, &names, &medians);
    drop((mounted, zeros, all_memory));
}

fn read_all(path: &Path, first: u64, len: u64) -> Duration {
    let file = File::open(path).unwrap();
    let mut buffer = vec![0; STEP];
    let begin = Instant::now();
    for at in (0..len).step_by(STEP) {
        file.read_exact_at(&mut buffer, first + at).unwrap();
    }
    begin.elapsed()
}

/// A program that serves a mount.
struct Mount<'a> {
    server: Child,
    folder: &'a Path,
}

/// The word that makes this program the server of zeros, before a folder, a size, and where they come from.
const SERVE_ZEROS: &str = "serve-zeros";
const ONE_BUFFER: &str = "one-buffer";
const ALL_MEMORY: &str = "all-memory";

/// Does what [`Mount::of_zeros`] started this process for, if it did.
pub(crate) fn is_server_of_zeros() -> bool {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [SERVE_ZEROS, folder, size, from] = words[..] else {
        return false;
    };
    let from = match from {
        ALL_MEMORY => zeros::From::AllMemory,
        _ => zeros::From::OneBuffer,
    };
    let session = zeros::serve(Path::new(folder), size.parse().unwrap(), from);
    session.join().unwrap();
    true
}

impl<'a> Mount<'a> {
    fn of_guest(guest: &Guest, folder: &'a Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vread"));
        command
            .arg("mount")
            .arg(format!("qemu:{}", guest.qmp_path().display()))
            .arg(folder);
        Self::start(command, folder, "vmcore")
    }

    fn of_zeros(folder: &'a Path, size: u64, from: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(SERVE_ZEROS).arg(folder);
        command.arg(size.to_string()).arg(from);
        Self::start(command, folder, "kcore")
    }

    fn start(mut command: Command, folder: &'a Path, file: &str) -> Self {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mount = Self {
            server: quiet.spawn().unwrap(),
            folder,
        };
        let until = Instant::now() + Duration::from_secs(30);
        while File::open(folder.join(file)).is_err() {
            assert!(Instant::now() < until, "{command:?} did not mount");
            std::thread::sleep(Duration::from_millis(5));
        }
        mount
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("fusermount3")
            .arg("-u")
            .arg(self.folder)
            .status();
        if !unmounted.is_ok_and(|status| status.success()) {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}
