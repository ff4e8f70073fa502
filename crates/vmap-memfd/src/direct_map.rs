//! All frames one after another, as physical memory lies: what reads go through.
#![expect(
    unsafe_code,
    reason = "maps memory that others write through their pointers, and copies out of it"
)]

use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::io::{Errno, Result};
use rustix::mm::{self, MapFlags, ProtFlags};
use vread_iov_iter::IovIter;
use vread_nofault::{Fault, UserBuf};

/// A shared mapping of a whole file, only to read.
///
/// # Invariants
///
/// `[base, base + len)` is a mapping of our own with `PROT_READ`, which nobody else knows; no reference to it
/// is ever made, since others write its bytes meanwhile.
#[derive(Debug)]
pub(crate) struct DirectMap {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: reading the bytes is sound from any thread, the mapping stays until the last owner drops it.
unsafe impl Send for DirectMap {}
// SAFETY: likewise; there is no access but raw copies out of it.
unsafe impl Sync for DirectMap {}

impl DirectMap {
    /// Maps the first `len` bytes of `file`, which has so many.
    pub(crate) fn new(file: BorrowedFd<'_>, len: usize) -> Result<Self> {
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let base = unsafe { mm::mmap(ptr::null_mut(), len, ProtFlags::READ, flags, file, 0) }?;
        let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { base, len })
    }

    /// Copies up to `len` bytes from `at` on into `iter`. Returns the bytes done, and what stopped it if
    /// that is fewer than `len` and not the end of `iter` or of the file.
    pub(crate) fn copy_to_iter(
        &self,
        at: usize,
        len: usize,
        iter: &mut IovIter<'_, UserBuf<'_>>,
    ) -> (usize, Option<Fault>) {
        let len = len.min(self.len.saturating_sub(at));
        let src = self.base.as_ptr().wrapping_add(at);
        // SAFETY: `at + len` lies inside our own mapping of ordinary memory.
        unsafe { vread_nofault::copy_foreign_to_iter(src, len, iter) }
    }
}

impl Drop for DirectMap {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and nobody can read it any more.
        let _cannot_fail = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
