//! System calls that fill a reader's segments, out of another process or out of a file; and one that tells
//! what a file has in memory.
#![expect(
    unsafe_code,
    reason = "process_vm_readv and preadv write through raw pointers into the reader's segments; \
              cachestat has no safe wrapper anywhere yet"
)]

use std::fs::File;
use std::os::fd::AsRawFd;

use libc::{c_int, c_long, c_ulong, iovec};
use rustix::process::Pid;
use vread_addr::{ByteLen, FileOffset, VirtAddr};
use vread_iov_iter::IovIter;
use vread_nofault::UserBuf;

use crate::segments::{self, Segments, Step};

/// The memory of a process, through `process_vm_readv`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessVm {
    pid: Pid,
}

impl ProcessVm {
    pub(crate) fn new(pid: Pid) -> Self {
        Self { pid }
    }

    /// Copies up to `len` bytes from `addr` of the process into the next segments of `iter`, in one call,
    /// and does not move `iter`: who the bytes are from must be known first.
    pub(crate) fn copy_to_iter(
        self,
        addr: VirtAddr,
        len: usize,
        iter: &mut IovIter<'_, UserBuf<'_>>,
    ) -> Step {
        let segments = Segments::next_of(iter, len);
        if segments.table().is_empty() {
            return Step::Arrived(segments.len());
        }
        // SAFETY: each is a part of the reader's buffer, which by the contract of `UserBuf` may be
        //         overwritten; `iter` is still borrowed, so nobody else does.
        unsafe { self.read_segments(addr, segments.len(), segments.table()) }
    }

    /// The byte at `addr`, or the error number.
    pub(crate) fn read_byte(self, addr: VirtAddr) -> Result<u8, i32> {
        let mut byte = 0_u8;
        let table = [segments::segment(&raw mut byte, 1)];
        // SAFETY: the byte is our own.
        match unsafe { self.read_segments(addr, 1, &table) } {
            Step::Arrived(_) => Ok(byte),
            Step::Refused(errno) => Err(errno),
        }
    }

    /// Copies `len` bytes from `addr` of the process into the segments, which hold so many.
    ///
    /// # Safety
    ///
    /// Every byte of the segments that is mapped and writeable is the caller's to overwrite.
    unsafe fn read_segments(self, addr: VirtAddr, len: usize, table: &[iovec]) -> Step {
        let Ok(base) = usize::try_from(addr.get()) else {
            return Step::Refused(libc::EFAULT);
        };
        let remote = segments::segment(std::ptr::without_provenance_mut(base), len);
        let count = c_ulong::try_from(table.len()).unwrap_or(0);
        // SAFETY: both tables are valid for their lengths; the kernel checks every address in them, and
        //         writes only to the segments, which the caller gave us to write.
        let returned = unsafe {
            libc::process_vm_readv(
                self.pid.as_raw_pid(),
                table.as_ptr(),
                count,
                &raw const remote,
                1,
                0,
            )
        };
        segments::step_of(returned)
    }
}

/// Reads up to `len` bytes of a file from `at` on into the next segments of `iter`, in one call, and does not
/// move `iter`. The end of the file is `EFAULT`, as any byte that is not there.
pub(crate) fn read_file_to_iter(
    file: &File,
    at: FileOffset,
    len: usize,
    iter: &mut IovIter<'_, UserBuf<'_>>,
) -> Step {
    let segments = Segments::next_of(iter, len);
    if segments.table().is_empty() {
        return Step::Arrived(segments.len());
    }
    let Ok(at) = i64::try_from(at.get()) else {
        return Step::Refused(libc::EINVAL);
    };
    let table = segments.table();
    let count = c_int::try_from(table.len()).unwrap_or(0);
    // SAFETY: a valid table, each entry of which is a part of the reader's buffer, which by the contract of
    //         `UserBuf` may be overwritten; `iter` is still borrowed, so nobody else does.
    let returned = unsafe { libc::preadv(file.as_raw_fd(), table.as_ptr(), count, at) };
    segments::step_of(returned)
}

/// How many pages of a memory file's range exist, in memory or swapped out; `None` where the system does not
/// tell (before Linux 6.5, or for a file that is somebody else's).
///
/// mincore(2) tells the same page by page, and takes several times as long for pages that we have not
/// mapped yet.
pub(crate) fn count_pages(file: &File, at: FileOffset, len: ByteLen) -> Option<u64> {
    /// The same number for every architecture.
    const CACHESTAT: c_long = 451;
    /// `struct cachestat_range` of `linux/mman.h`.
    #[repr(C)]
    struct Range {
        offset: u64,
        len: u64,
    }
    /// `struct cachestat` of `linux/mman.h`.
    #[repr(C)]
    #[derive(Default)]
    struct Counts {
        cache: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    // A length of 0 would mean: to the end.
    if len.is_zero() {
        return None;
    }
    let range = Range {
        offset: at.get(),
        len: len.get(),
    };
    let mut counts = Counts::default();
    // SAFETY: both point to values of the form that the call expects; no flags.
    let status = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_raw_fd(),
            &raw const range,
            &raw mut counts,
            0,
        )
    };
    (status == 0).then(|| counts.cache.saturating_add(counts.evicted))
}
