//! A file's pages in our own address space, only ever read, and only through copies that survive their
//! going away.
#![expect(
    unsafe_code,
    reason = "maps memory that another process writes, and copies out of it"
)]

use std::ptr::{self, NonNull};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use vread_addr::FileOffset;
use vread_iov_iter::IovIter;
use vread_nofault::{Fault, Handlers, UserBuf};

use crate::backing_file::BackingFile;
use crate::pages::PAGE;

/// A shared, read-only mapping.
///
/// # Invariants
///
/// `words + 7 <= len` unless `words` is 0. `[base, base + mapped)`, which is no shorter than `len`, is a mapping of our own with `PROT_READ`, which nobody else knows; no reference
/// to it is ever made, since another process may write its bytes or take them away.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    /// `len`, rounded up to whole pages of the file.
    mapped: usize,
    /// At how many positions, from 0 on, 8 bytes begin.
    words: usize,
}

// SAFETY: reading the bytes is sound from any thread, the mapping stays until the last owner drops it.
unsafe impl Send for Mapping {}
// SAFETY: likewise; there is no access but raw copies out of it.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of the file from `offset` on, a multiple of `unit`, the size of the file's pages.
    pub(crate) fn shared(
        file: &BackingFile,
        offset: FileOffset,
        len: usize,
        unit: usize,
    ) -> rustix::io::Result<Self> {
        let mapped = len
            .checked_next_multiple_of(unit)
            .ok_or(rustix::io::Errno::NOMEM)?;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let base = unsafe {
            mm::mmap(
                ptr::null_mut(),
                mapped,
                ProtFlags::READ,
                flags,
                file.file(),
                offset.get(),
            )
        }?;
        // The memory of another machine has no place in our own core dump. Advice may be refused.
        // SAFETY: our own new mapping; the advice changes no content.
        let _advice_only = unsafe { mm::madvise(base, mapped, Advice::LinuxDontDump) };
        let base = NonNull::new(base.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        // INVARIANT: mapped just now, for reading.
        Ok(Self {
            base,
            len,
            mapped,
            words: len.saturating_sub(7),
        })
    }

    /// The 8 bytes at `at`, or `None` if they cannot be read or reach beyond the mapping.
    #[inline]
    pub(crate) fn load_u64(&self, at: usize) -> Option<u64> {
        let word = self.word(at)?;
        // SAFETY: inside our own mapping of ordinary memory.
        unsafe { vread_nofault::load_u64(word) }
    }

    /// As [`load_u64`](Self::load_u64), for one of many.
    #[inline]
    pub(crate) fn load_u64_with(&self, handlers: Handlers, at: usize) -> Option<u64> {
        let word = self.word(at)?;
        // SAFETY: inside our own mapping of ordinary memory.
        unsafe { vread_nofault::load_u64_with(handlers, word) }
    }

    /// Where the 8 bytes at `at` lie, if all of them are in the mapping.
    #[inline]
    fn word(&self, at: usize) -> Option<*const u64> {
        // WRAP: inside the mapping.
        (at < self.words).then(|| self.base.as_ptr().wrapping_add(at).cast_const().cast())
    }

    /// Tells the processor that the byte at `at` will be read soon. Never faults and populates nothing.
    #[inline]
    pub(crate) fn prefetch(&self, at: usize) {
        #[cfg(target_arch = "x86_64")]
        if at < self.len {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let byte = self.base.as_ptr().wrapping_add(at).cast_const().cast();
            // SAFETY: a hint, which no address makes fault; this one is in our own mapping of ordinary
            //         memory.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(byte) };
        }
    }

    /// Copies `dst.len()` bytes from `at` on; tells whether all of them arrived.
    #[inline]
    pub(crate) fn read(&self, at: usize, dst: &mut [u8]) -> bool {
        if self.len.checked_sub(dst.len()).is_none_or(|last| at > last) {
            return false;
        }
        let src = self.base.as_ptr().wrapping_add(at);
        // SAFETY: 1. an exclusive slice; 2. by the check above inside our own mapping of ordinary memory.
        let outcome = unsafe { vread_nofault::copy_foreign(dst.as_mut_ptr(), src, dst.len()) };
        outcome.fault.is_none()
    }

    /// Which of the pages from byte `at` on (a multiple of the page size) are in memory now, one byte each, its
    /// lowest bit set if so. Touches none of them. Returns how many pages were told: fewer than asked
    /// for at the end of the mapping, none if the system refuses.
    ///
    /// A page that is not in memory may be swapped out, or not read from the disk yet. See mincore(2) for
    /// who gets the truth; the others are told that everything is.
    pub(crate) fn residency<'o>(&self, at: usize, out: &'o mut [u8]) -> &'o [u8] {
        let inside = self.len.saturating_sub(at).div_ceil(PAGE);
        let out = out.get_mut(..inside.min(out.len())).unwrap_or_default();
        let start = self.base.as_ptr().wrapping_add(at);
        let len = out.len().saturating_mul(PAGE);
        // SAFETY: our own mapping; the kernel writes one byte for each of its pages, which are so many.
        let status = unsafe { libc::mincore(start.cast(), len, out.as_mut_ptr()) };
        if status == 0 { out } else { &[] }
    }

    /// Copies up to `len` bytes from `at` on into `iter`. Returns the bytes done, and what stopped it if
    /// that is fewer than `len` and not the end of `iter`.
    #[inline]
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

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and nobody can read it any more.
        let _cannot_fail = unsafe { mm::munmap(self.base.as_ptr().cast(), self.mapped) };
    }
}
