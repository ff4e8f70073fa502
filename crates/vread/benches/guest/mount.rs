//! Sequential reads through the mount, against a server of the same library that returns zeros.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vread_addr::PhysAddr;
use vread_guests::Guest;
use vread_targets::View;

use crate::direct_map::{populated, position_of};
use crate::rounds::{Side, medians, print_throughput};
use crate::zeros;

const STEP: usize = 1 << 20;
const ROUNDS: usize = 15;

pub(crate) fn bench(guest: &Guest) {
    let (start, len) = populated(guest);
    let (ours, rival) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _rival = zeros::serve(rival.path(), len);
    let mounted = Mount::new(guest, ours.path());
    let image = crate::open(guest).image(View::Vmcore).unwrap();
    let first = position_of(&image, PhysAddr::new(start));

    let mut vread = || read_all(&ours.path().join("vmcore"), first, len);
    let mut zeros = || read_all(&rival.path().join("kcore"), 0, len);
    println!(
        "sequential read of {} MiB through the mount, 1 MiB at a time",
        len >> 20
    );
    let names = ["vread mount", "zeros, same library"];
    let mut sides = [
        Side {
            name: names[0],
            round: &mut vread,
        },
        Side {
            name: names[1],
            round: &mut zeros,
        },
    ];
    let medians = medians(ROUNDS, &mut sides);
    print_throughput(ROUNDS, len, &names, &medians);
    drop(mounted);
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

/// `vread mount`, running.
struct Mount<'a> {
    vread: Child,
    folder: &'a Path,
}

impl<'a> Mount<'a> {
    fn new(guest: &Guest, folder: &'a Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vread"));
        command
            .arg("mount")
            .arg(format!("qemu:{}", guest.qmp_path().display()))
            .arg(folder);
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mount = Self {
            vread: quiet.spawn().unwrap(),
            folder,
        };
        let until = Instant::now() + Duration::from_secs(30);
        while File::open(folder.join("vmcore")).is_err() {
            assert!(Instant::now() < until, "vread mount did not mount");
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
            let _ = self.vread.kill();
        }
        let _ = self.vread.wait();
    }
}
