//! The writer's buffer: the other direction of the reader's.
#![expect(unsafe_code, reason = "a buffer given as pointer and length")]

use core::fmt;
use core::marker::PhantomData;

use vread_iov_iter::Source;

use crate::{fault_in, raw};

/// A writer's buffer in our own address space, which may not be resident: Linux's user segment, out of
/// which bytes come.
///
/// Every read of it stops at a fault instead of dying.
///
/// # Invariants
///
/// Every byte of `[ptr, ptr + len)` that is mapped may be read for `'a`, and nobody writes it meanwhile but
/// through atomics or raw copies.
pub struct UserSource<'a> {
    ptr: *const u8,
    len: usize,
    shared: PhantomData<&'a [u8]>,
}

// SAFETY: it stands for a shared reference to bytes, which may go to another thread.
unsafe impl Send for UserSource<'_> {}
// SAFETY: likewise; every access only reads.
unsafe impl Sync for UserSource<'_> {}

impl<'a> UserSource<'a> {
    /// A buffer of ordinary memory.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        // INVARIANT: a shared reference for `'a`.
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
            shared: PhantomData,
        }
    }

    /// A buffer that may not be mapped, or not be readable.
    ///
    /// # Safety
    ///
    /// For all of `'a`, every byte of `[ptr, ptr + len)` that is or becomes mapped may be read without an
    /// effect on anybody, and nobody writes it meanwhile but through atomics or raw copies.
    #[must_use]
    pub unsafe fn from_raw(ptr: *const u8, len: usize) -> Self {
        // INVARIANT: the caller's promise.
        Self {
            ptr,
            len,
            shared: PhantomData,
        }
    }

    /// The address of byte `at` and the bytes from there on, cut at `len`.
    fn part(&self, at: usize, len: usize) -> (*const u8, usize) {
        let at = at.min(self.len);
        let len = len.min(self.len.wrapping_sub(at));
        (self.ptr.wrapping_add(at), len)
    }
}

impl Source for UserSource<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn offset_in_page(&self) -> usize {
        self.ptr.addr() & rustix::param::page_size().wrapping_sub(1)
    }

    fn copy_from_nofault(&mut self, at: usize, dst: &mut [u8]) -> usize {
        #[cfg(feature = "fail-usercopy")]
        if crate::fail_usercopy::should_fail() {
            return 0;
        }
        let (src, len) = self.part(at, dst.len());
        // SAFETY: 1. an exclusive slice of at least `len` bytes; 2. the type's invariant.
        let outcome = unsafe { raw::copy_foreign(dst.as_mut_ptr(), src, len) };
        outcome.done
    }

    fn fault_in_readable(&mut self, at: usize, len: usize) -> usize {
        let (src, inside) = self.part(at, len);
        // SAFETY: the type's invariant.
        let missing = unsafe { fault_in::fault_in_readable(src, inside) };
        missing.saturating_add(len.saturating_sub(inside))
    }
}

impl fmt::Debug for UserSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSource")
            .field("ptr", &self.ptr)
            .field("len", &self.len)
            .finish()
    }
}
