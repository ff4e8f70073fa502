//! A mount made by `vread mount`, for as long as a test needs it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::{fs, io};

use vread_guests::{Guest, ensure_packages};

use crate::program::{succeed, target, vread, wait_for};

/// `vread mount TARGET DIR`, running. Dropping it unmounts.
pub(crate) struct Mounted {
    vread: Child,
    dir: tempfile::TempDir,
}

impl Mounted {
    /// Mounts a guest and waits until the files are there.
    pub(crate) fn new(guest: &Guest) -> Self {
        Self::with_access(guest, "auto")
    }

    /// As [`new`](Self::new), reading the guest's memory in the given way.
    pub(crate) fn with_access(guest: &Guest, access: &str) -> Self {
        Self::try_with_access(guest, access).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// As [`with_access`](Self::with_access), or what `vread` said when it did not mount.
    pub(crate) fn try_with_access(guest: &Guest, access: &str) -> Result<Self, String> {
        ensure_packages(&["fuse3"]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let stderr = File::create(dir.path().with_extension("stderr")).unwrap();
        let mut vread = vread()
            .args(["mount", "--access", access, &target(guest)])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let kcore = dir.path().join("kcore");
        let stderr = dir.path().with_extension("stderr");
        let mut ended = None;
        wait_for("the mounted kcore", || {
            ended = vread.try_wait().unwrap();
            ended.is_some() || kcore.exists()
        });
        if let Some(status) = ended {
            let words = fs::read_to_string(&stderr).unwrap();
            return Err(format!("vread mount: {status}\n{words}"));
        }
        Ok(Self { vread, dir })
    }

    /// The virtual view.
    pub(crate) fn kcore(&self) -> PathBuf {
        self.dir.path().join("kcore")
    }

    /// The physical view.
    pub(crate) fn vmcore(&self) -> PathBuf {
        self.dir.path().join("vmcore")
    }

    /// All that `vread` said on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.dir.path().with_extension("stderr")).unwrap()
    }

    /// Unmounts as a user would and waits for `vread` to end.
    pub(crate) fn unmount(&mut self) -> ExitStatus {
        succeed(Command::new("fusermount3").arg("-u").arg(self.dir.path()));
        let mut status = None;
        wait_for("vread mount to end", || {
            status = self.vread.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.vread.try_wait().ok().flatten().is_none() {
            // A test that failed half-way: what matters now is that nothing stays behind.
            let unmount = ["-u", "-z"].map(OsStr::new);
            let _ = Command::new("fusermount3")
                .args(unmount)
                .arg(self.dir.path())
                .output();
            let _ = self.vread.kill();
            let _ = self.vread.wait();
        }
        let _ = fs::remove_file(self.dir.path().with_extension("stderr"));
    }
}

/// A kcore file on this side, opened once.
pub(crate) struct KcoreFile {
    file: File,
}

/// A `PT_LOAD` program header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) vaddr: u64,
    pub(crate) paddr: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) align: u64,
}

impl KcoreFile {
    pub(crate) fn open(path: &Path) -> Self {
        Self {
            file: File::open(path).unwrap(),
        }
    }

    /// Exactly `len` bytes: a live core never reads short inside of it.
    pub(crate) fn read_at(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0xa5; len];
        self.try_read_at(offset, &mut bytes)
            .unwrap_or_else(|error| {
                panic!("reading {len} bytes at file offset {offset:#x}: {error}")
            });
        bytes
    }

    pub(crate) fn try_read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// The bytes of the ELF header and of all program headers.
    pub(crate) fn headers(&self) -> Vec<u8> {
        let ehdr = self.read_at(0, 64);
        let phnum = usize::from(u16::from_le_bytes(ehdr[56..58].try_into().unwrap()));
        self.read_at(0, 64 + 56 * phnum)
    }

    pub(crate) fn loads(&self) -> Vec<Load> {
        loads(&self.headers())
    }

    /// Memory at a virtual address, through the file's own program headers.
    pub(crate) fn read_virt(&self, addr: u64, len: usize) -> Vec<u8> {
        let loads = self.loads();
        let load = loads
            .iter()
            .find(|load| addr.wrapping_sub(load.vaddr) < load.size);
        let load = load.unwrap_or_else(|| panic!("{addr:#x} is in no segment"));
        self.read_at(load.offset + (addr - load.vaddr), len)
    }
}

/// The `PT_LOAD`s among program headers that begin behind a 64-byte ELF header.
pub(crate) fn loads(headers: &[u8]) -> Vec<Load> {
    let word = |phdr: &[u8], at: usize| u64::from_le_bytes(phdr[at..at + 8].try_into().unwrap());
    let phdrs = headers[64..].chunks_exact(56);
    let loads = phdrs.filter(|phdr| phdr[..4] == [1, 0, 0, 0]);
    let load = |phdr: &[u8]| Load {
        offset: word(phdr, 8),
        vaddr: word(phdr, 16),
        paddr: word(phdr, 24),
        size: word(phdr, 32),
        align: word(phdr, 48),
    };
    loads.map(load).collect()
}
