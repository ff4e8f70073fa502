//! The reader's buffer.
#![expect(unsafe_code, reason = "a buffer given as pointer and length")]

use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

use vread_iov_iter::Destination;

use crate::{fault_in, raw};

/// An address that no process has, on any of our architectures.
#[cfg(feature = "fail-usercopy")]
const NOBODYS: usize = usize::MAX << 46;

/// A reader's buffer in our own address space, which may not be resident: Linux's user segment.
///
/// Every write to it stops at a fault instead of dying.
///
/// # Invariants
///
/// Every byte of `[ptr, ptr + len)` that is mapped and writeable may be overwritten for `'a`, and
/// nobody else has a reference to it meanwhile.
pub struct UserBuf<'a> {
    ptr: *mut u8,
    len: usize,
    exclusive: PhantomData<&'a mut [MaybeUninit<u8>]>,
}

// SAFETY: it stands for an exclusive reference to bytes, which may go to another thread.
unsafe impl Send for UserBuf<'_> {}
// SAFETY: a shared reference to it gives no access to the bytes.
unsafe impl Sync for UserBuf<'_> {}

impl<'a> UserBuf<'a> {
    /// A buffer of ordinary memory.
    #[must_use]
    pub fn new(bytes: &'a mut [u8]) -> Self {
        // INVARIANT: an exclusive reference for `'a`. Only initialised bytes are ever written through it.
        Self {
            ptr: bytes.as_mut_ptr(),
            len: bytes.len(),
            exclusive: PhantomData,
        }
    }

    /// A buffer that need not be initialised: what the copy's progress counts, it has initialised.
    #[must_use]
    pub fn from_uninit(bytes: &'a mut [MaybeUninit<u8>]) -> Self {
        // INVARIANT: an exclusive reference for `'a`.
        Self {
            ptr: bytes.as_mut_ptr().cast(),
            len: bytes.len(),
            exclusive: PhantomData,
        }
    }

    /// A buffer that may not be mapped, or not be writeable.
    ///
    /// # Safety
    ///
    /// For all of `'a`, every byte of `[ptr, ptr + len)` that is or becomes mapped and writeable may be
    /// overwritten, and nobody else has a reference to it.
    #[must_use]
    pub unsafe fn from_raw(ptr: *mut u8, len: usize) -> Self {
        // INVARIANT: the caller's promise.
        Self {
            ptr,
            len,
            exclusive: PhantomData,
        }
    }

    /// The first byte, for a source that writes the buffer itself through
    /// [`copy_foreign`](crate::copy_foreign) or a system call.
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.ptr
    }

    /// The address of byte `at` and the bytes from there on, cut at `len`, for whoever writes them itself.
    ///
    /// With the feature `fail-usercopy` the address may be one that nobody can write: a fault on purpose.
    #[must_use]
    pub fn part_mut(&mut self, at: usize, len: usize) -> (*mut u8, usize) {
        let (ptr, len) = self.part(at, len);
        #[cfg(feature = "fail-usercopy")]
        if crate::fail_usercopy::should_fail() {
            return (ptr.with_addr(NOBODYS), len);
        }
        (ptr, len)
    }

    fn part(&self, at: usize, len: usize) -> (*mut u8, usize) {
        let at = at.min(self.len);
        let len = len.min(self.len.wrapping_sub(at));
        (self.ptr.wrapping_add(at), len)
    }
}

impl Destination for UserBuf<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn offset_in_page(&self) -> usize {
        self.ptr.addr() & rustix::param::page_size().wrapping_sub(1)
    }

    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize {
        let (dst, len) = self.part_mut(at, src.len());
        // SAFETY: 1. the type's invariant; 2. the source is a slice of at least `len` bytes.
        let outcome = unsafe { raw::copy_foreign(dst, src.as_ptr(), len) };
        outcome.done
    }

    fn zero_nofault(&mut self, at: usize, len: usize) -> usize {
        let (dst, len) = self.part_mut(at, len);
        // SAFETY: the type's invariant.
        let outcome = unsafe { raw::zero_foreign(dst, len) };
        outcome.done
    }

    fn fault_in_writeable(&mut self, at: usize, len: usize) -> usize {
        let (dst, inside) = self.part(at, len);
        // SAFETY: the type's invariant.
        let missing = unsafe { fault_in::fault_in_writeable(dst, inside) };
        missing.saturating_add(len.saturating_sub(inside))
    }
}

impl fmt::Debug for UserBuf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserBuf")
            .field("ptr", &self.ptr)
            .field("len", &self.len)
            .finish()
    }
}
