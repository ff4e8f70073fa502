//! Reading must not make a sparse guest resident.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease};

use crate::mounted::{KcoreFile, Mounted};

/// A guest of 2 GiB of which most was never touched: after a scan of all its RAM, its memory file has
/// as many blocks, and QEMU's private memory and page tables are as large, as before. QEMU is stopped
/// meanwhile, so that nobody else changes them.
pub(crate) fn a_full_scan_populates_nothing(release: KernelRelease) {
    let config = GuestConfig::new(release).memory_mib(2048);
    let guest = Guest::boot(&config.clone().backend(Backend::File)).unwrap();
    let file = guest.memory_file().unwrap().to_owned();
    scan(&guest, "mapped", || {
        let file = File::open(&file).unwrap();
        // What the guest wrote takes its blocks when it is written back, and the list of them may take
        // one more: all of that is to be over before anything is compared.
        file.sync_all().unwrap();
        file.metadata().unwrap().blocks()
    });
    drop(guest);
    let guest = Guest::boot(&config.backend(Backend::Anonymous)).unwrap();
    let status = format!("/proc/{}/status", guest.pid());
    scan(&guest, "vm-readv", || {
        ["RssAnon", "RssShmem", "VmPTE"].map(|key| kibibytes(Path::new(&status), key))
    });
}

fn scan<T: PartialEq + std::fmt::Debug>(guest: &Guest, access: &str, size: impl Fn() -> T) {
    const STEP: usize = 1 << 20;
    let mounted = Mounted::with_access(guest, access);
    let vmcore = KcoreFile::open(&mounted.vmcore());
    let stopped = Stopped::new(guest.pid());
    let before = size();
    let (mut read, mut content) = (0_u64, 0_u64);
    for load in vmcore.loads() {
        for at in (0..load.size).step_by(STEP) {
            let len = STEP.min((load.size - at) as usize);
            let bytes = vmcore.read_at(load.offset + at, len);
            read += len as u64;
            content += bytes
                .chunks(4096)
                .filter(|page| page.iter().any(|byte| *byte != 0))
                .count() as u64;
        }
    }
    let after = size();
    drop(stopped);
    println!(
        "{access}: {} MiB read, {content} pages of content, size {after:?}",
        read >> 20
    );
    assert_eq!(before, after, "reading changed the guest's memory");
    assert!(
        read > 1 << 30 && content > 1000,
        "the scan saw the guest's memory"
    );
}

fn kibibytes(status: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(status).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A process of ours that does nothing while this value lives.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: u32) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
        crate::program::wait_for("QEMU to stop", || {
            let stat = fs::read_to_string(&stat).unwrap();
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.trim_start().starts_with('T'))
        });
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}
