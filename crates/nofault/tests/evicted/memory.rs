//! Memory whose pages can be taken away without their content, and whose owner says when they come back: a true
//! 'not resident, do not wait', as the destination of a kernel's nofault copy is.
//!
//! It is a memfd, mapped and registered with a `userfaultfd` that turns faults into SIGBUS. Evicting drops a
//! page from our page table; its bytes stay in the file. From then on a copy to it stops, and only
//! `UFFDIO_CONTINUE` (for pages that the file has) brings it back.
//!
//! Numbers and layouts are those of the manual page `ioctl_userfaultfd(2)` and of `linux/userfaultfd.h`.
#![expect(
    unsafe_code,
    reason = "maps memory, takes its pages away, and speaks to userfaultfd by ioctl"
)]

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr;

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::mm::{self, Advice, MapFlags, ProtFlags, UserfaultfdFlags};
use vread_nofault::UserBuf;

pub(crate) const PAGE: usize = 4096;

/// The version that `UFFDIO_API` agrees on, `UFFD_API`.
const API: u64 = 0xaa;
/// Faults are signals, and nobody waits: `UFFD_FEATURE_SIGBUS`.
const FEATURE_SIGBUS: u64 = 1 << 7;
/// Pages that the file has and the table has not: `UFFD_FEATURE_MINOR_SHMEM`.
const FEATURE_MINOR_SHMEM: u64 = 1 << 10;

const UFFDIO_API: u64 = 0xc018_aa3f;
const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const UFFDIO_CONTINUE: u64 = 0xc020_aa07;

/// Which pages are kept away: `UFFDIO_REGISTER_MODE_*`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kept {
    /// Those that nobody has written yet.
    Missing = 1,
    /// Those that the file has and our table has not.
    Minor = 4,
}

#[repr(C)]
struct ApiCall {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// The start and the length of a range, and two words whose meaning depends on the call.
#[repr(C)]
struct RangeCall {
    start: u64,
    len: u64,
    mode: u64,
    told: i64,
}

/// # Invariants
///
/// `[base, base + pages * PAGE)` is a shared mapping of `file`, as long as it, that lives as long as the program;
/// nobody has a reference to it.
pub(crate) struct Memory {
    file: File,
    base: *mut u8,
    pages: usize,
    uffd: OwnedFd,
}

// SAFETY: the mapping is only ever written by raw copies, and lives for ever.
unsafe impl Send for Memory {}
// SAFETY: likewise.
unsafe impl Sync for Memory {}

impl Memory {
    /// So many pages, none of them in our table.
    pub(crate) fn new(pages: usize, kept: Kept) -> Self {
        let len = pages * PAGE;
        let file = rustix::fs::memfd_create("evicted", MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(file);
        file.set_len(word(len)).unwrap();
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, which lives as long as the test program.
        let base = unsafe { mm::mmap(ptr::null_mut(), len, rights, MapFlags::SHARED, &file, 0) };
        let base: *mut u8 = base.unwrap().cast();
        // Those whom the system does not let see the kernel's faults may see their own.
        let user_only = UserfaultfdFlags::from_bits_retain(1);
        // SAFETY: a new descriptor, which gets its own memory below.
        let uffd = unsafe { mm::userfaultfd(UserfaultfdFlags::CLOEXEC | user_only) };
        // It is there for every user from Linux 5.11 on.
        let uffd = uffd.unwrap();
        let mut call = ApiCall {
            api: API,
            features: FEATURE_SIGBUS | FEATURE_MINOR_SHMEM,
            ioctls: 0,
        };
        // SAFETY: a live structure of the form that the call takes.
        let done = unsafe { libc::ioctl(uffd.as_raw_fd(), UFFDIO_API, &raw mut call) };
        assert_eq!(
            done, 0,
            "userfaultfd with SIGBUS and minor faults is there from Linux 5.14 on"
        );
        let memory = Self {
            file,
            base,
            pages,
            uffd,
        };
        memory
            .call(UFFDIO_REGISTER, 0, len, u64::from(kept as u8))
            .unwrap();
        memory
    }

    /// What the file holds from byte `at` on, whether our table has it or not.
    pub(crate) fn content(&self, at: usize, into: &mut [u8]) {
        self.file.read_exact_at(into, word(at)).unwrap();
    }

    /// Writes the file's bytes from `at` on.
    pub(crate) fn fill(&self, at: usize, with: &[u8]) {
        self.file.write_all_at(with, word(at)).unwrap();
    }

    /// The `len` bytes from `at` on as a reader's buffer.
    pub(crate) fn buffer(&self, at: usize, len: usize) -> UserBuf<'_> {
        assert!(at + len <= self.pages * PAGE);
        // SAFETY: inside our mapping, to which nobody has a reference, by the type's invariant.
        unsafe { UserBuf::from_raw(self.base.wrapping_add(at), len) }
    }

    /// Takes these pages out of our table by this advice; their bytes stay.
    pub(crate) fn evict(&self, pages: Range<usize>, how: Advice) {
        assert!(pages.end <= self.pages);
        let start = self.base.wrapping_add(pages.start * PAGE);
        // SAFETY: pages of our own shared mapping: their content is the file's.
        unsafe { mm::madvise(start.cast(), pages.len() * PAGE, how) }.unwrap();
    }

    /// Brings the pages of `[at, at + len)` back into our table.
    pub(crate) fn bring_back(&self, at: usize, len: usize) {
        for page in at / PAGE..(at + len).div_ceil(PAGE) {
            // Somebody may change the mapping just now.
            let again = || self.call(UFFDIO_CONTINUE, page * PAGE, PAGE, 0);
            let back = std::iter::repeat_with(again).find(|done| *done != Err(Errno::AGAIN));
            // And it may be there.
            assert!(
                matches!(back, Some(Ok(()) | Err(Errno::EXIST))),
                "page {page}: {back:?}"
            );
        }
    }

    fn call(&self, call: u64, at: usize, len: usize, mode: u64) -> Result<(), Errno> {
        let mut range = RangeCall {
            start: word(self.base.addr() + at),
            len: word(len),
            mode,
            told: 0,
        };
        // SAFETY: a live structure of the form that these calls take; the range is our own mapping.
        let done = unsafe { libc::ioctl(self.uffd.as_raw_fd(), call, &raw mut range) };
        match done {
            0 => Ok(()),
            _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap()),
        }
    }
}

fn word(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}
