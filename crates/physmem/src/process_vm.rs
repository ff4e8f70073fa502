//! Reading another process's memory straight into a reader's segments.
#![expect(
    unsafe_code,
    reason = "process_vm_readv writes through raw pointers into the reader's segments"
)]

use std::io;

use libc::{c_ulong, iovec};
use rustix::process::Pid;
use vread_addr::VirtAddr;
use vread_iov_iter::IovIter;
use vread_nofault::UserBuf;

/// The most segments filled in one call. Linux allows 1024; the table lies on our stack.
const SEGMENTS_LIMIT: usize = 64;

/// The most bytes asked for in one call; Linux does at most 2^31 - 4096.
const CALL_LIMIT: usize = 1 << 30;

/// The memory of a process, through `process_vm_readv`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessVm {
    pid: Pid,
}

/// A call that was made, and that the iterator does not know of yet.
#[must_use = "the iterator has not moved"]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// So many bytes arrived: more than none, unless none were wanted.
    Arrived(usize),
    /// Not one byte could be moved, with this error number.
    Refused(i32),
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
        let mut segments = [segment(std::ptr::null_mut(), 0); SEGMENTS_LIMIT];
        let mut used = 0_usize;
        let start = iter.save();
        let wanted = iter.walk(len.min(CALL_LIMIT), |piece| {
            let Some(slot) = segments.get_mut(used) else {
                return 0;
            };
            used = used.saturating_add(1);
            let (dst, room) = piece.dest.part_mut(piece.at, piece.len);
            *slot = segment(dst, room);
            room
        });
        iter.restore(start);
        if used == 0 {
            // Nothing wanted, or an iterator that only counts.
            return Step::Arrived(wanted);
        }
        let segments = segments.get(..used).unwrap_or_default();
        // SAFETY: each is a part of the reader's buffer, which by the contract of `UserBuf` may be
        //         overwritten; `iter` is still borrowed, so nobody else does.
        unsafe { self.read_segments(addr, wanted, segments) }
    }

    /// The byte at `addr`, or the error number.
    pub(crate) fn read_byte(self, addr: VirtAddr) -> Result<u8, i32> {
        let mut byte = 0_u8;
        let segments = [segment(&raw mut byte, 1)];
        // SAFETY: the byte is our own.
        match unsafe { self.read_segments(addr, 1, &segments) } {
            Step::Arrived(_) => Ok(byte),
            Step::Refused(errno) => Err(errno),
        }
    }

    /// Copies `len` bytes from `addr` of the process into the segments, which hold so many.
    ///
    /// # Safety
    ///
    /// Every byte of the segments that is mapped and writeable is the caller's to overwrite.
    unsafe fn read_segments(self, addr: VirtAddr, len: usize, segments: &[iovec]) -> Step {
        let Ok(base) = usize::try_from(addr.get()) else {
            return Step::Refused(libc::EFAULT);
        };
        let remote = segment(std::ptr::without_provenance_mut(base), len);
        let count = c_ulong::try_from(segments.len()).unwrap_or(0);
        // SAFETY: both tables are valid for their lengths; the kernel checks every address in them, and
        //         writes only to the segments, which the caller gave us to write.
        let arrived = unsafe {
            libc::process_vm_readv(
                self.pid.as_raw_pid(),
                segments.as_ptr(),
                count,
                &raw const remote,
                1,
                0,
            )
        };
        match usize::try_from(arrived) {
            Ok(0) => Step::Refused(libc::EFAULT),
            Ok(arrived) => Step::Arrived(arrived),
            Err(_) => Step::Refused(
                io::Error::last_os_error()
                    .raw_os_error()
                    .unwrap_or(libc::EFAULT),
            ),
        }
    }
}

fn segment(base: *mut u8, len: usize) -> iovec {
    iovec {
        iov_base: base.cast(),
        iov_len: len,
    }
}
