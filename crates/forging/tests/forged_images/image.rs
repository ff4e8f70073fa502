//! A guest's RAM in a file, and changes to it that are taken back.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use vread_guests::{Backend, Guest, GuestConfig, KernelRelease, QmpClient};

/// The guest's RAM, all of it below what QEMU keeps free for devices, so that a place in the file is a
/// physical address.
const MEMORY_MIB: u32 = 512;
const PAGE: usize = 4096;

/// A guest with this kernel that has something to list, stopped, with its RAM in the file `path`.
pub(crate) fn stopped_guest(kernel: KernelRelease, path: &Path) -> Guest {
    let config = GuestConfig::new(kernel)
        .memory_mib(MEMORY_MIB)
        .cpus(2)
        .backend(Backend::FileAt(path.to_owned()))
        // A module that uses others.
        .module("nf_nat");
    let guest = Guest::boot(&config).expect("the guest boots");
    guest.spawn_processes(20).expect("processes");
    guest.spawn_threads(20).expect("threads");
    guest
        .write("/dev/kmsg", "forging: a line of the log\n")
        .expect("a line in the log");
    let mut qmp = QmpClient::connect(guest.qmp_path()).expect("a QMP socket");
    qmp.human("stop").expect("the guest stops");
    guest
}

/// Makes `to` the same as `from`, pages of zeros left out.
pub(crate) fn copy(from: &Path, to: &Path) {
    let from = File::open(from).expect("the clean image");
    let len = from.metadata().expect("its length").len();
    let to = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .read(true)
        .open(to);
    let to = to.expect("a copy");
    to.set_len(len).expect("its length");
    let mut block = vec![0; 256 * PAGE];
    let mut old = vec![0; PAGE];
    for start in (0..len).step_by(block.len()) {
        let block = &mut block[..(len - start).min(256 * PAGE as u64) as usize];
        from.read_exact_at(block, start).expect("a read");
        for (page, at) in block.chunks(PAGE).zip((start..).step_by(PAGE)) {
            // What QEMU has mapped must stay the same file.
            to.read_exact_at(&mut old[..page.len()], at)
                .expect("a read");
            if old[..page.len()] != *page {
                to.write_all_at(page, at).expect("a write");
            }
        }
    }
}

/// The image that is forged, with what was there before.
pub(crate) struct Image {
    file: File,
    pub(crate) len: u64,
    journal: Vec<(u64, Vec<u8>)>,
}

impl Image {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let len = file.metadata()?.len();
        Ok(Self {
            file,
            len,
            journal: Vec::new(),
        })
    }

    /// The `len` bytes at `at`; fewer at the end of RAM.
    pub(crate) fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let left = self.len.saturating_sub(at).min(len as u64);
        let mut bytes = vec![0; left as usize];
        self.file.read_exact_at(&mut bytes, at).expect("a read");
        bytes
    }

    pub(crate) fn word(&self, at: u64) -> u64 {
        let bytes = self.read(at, 8);
        bytes.try_into().map_or(0, u64::from_le_bytes)
    }

    /// Overwrites what is at `at`, until [`undo`](Self::undo).
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        let before = self.read(at, bytes.len());
        self.file
            .write_all_at(&bytes[..before.len()], at)
            .expect("a write");
        self.journal.push((at, before));
    }

    /// Takes every change back.
    pub(crate) fn undo(&mut self) {
        while let Some((at, bytes)) = self.journal.pop() {
            self.file.write_all_at(&bytes, at).expect("a write");
        }
    }
}
