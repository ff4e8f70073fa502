//! The public copies: each chooses the backend once, then copies in a straight line.
#![expect(
    unsafe_code,
    reason = "raw copies of foreign memory; callers promise what it is"
)]

use vread_iov_iter::IovIter;

use crate::{CopyOutcome, Fault, Handlers, UserBuf, self_vm};
#[cfg(target_arch = "x86_64")]
use crate::{backend, x86_64};

/// Copies `len` bytes from `src` to `dst`, and stops at the first byte that cannot be read or written.
///
/// Neither side needs to be mapped. Bytes of the source may change meanwhile; each is read once. If
/// the sides overlap, the destination's bytes are unspecified.
///
/// # Safety
///
/// 1. Every byte of `[dst, dst + len)` that is mapped and writeable is the caller's to overwrite, and no
///    live Rust reference but the caller's exclusive one covers it.
/// 2. Every byte of `[src, src + len)` that is mapped may be read without an effect on anybody: it is not
///    device memory. If it is memory of this program, nobody writes it meanwhile but through atomics
///    or raw copies.
#[inline]
pub unsafe fn copy_foreign(dst: *mut u8, src: *const u8, len: usize) -> CopyOutcome {
    #[cfg(target_arch = "x86_64")]
    if backend::has_handler() {
        // SAFETY: 1. and 2. are the caller's; 3. the handlers are installed.
        return unsafe { x86_64::copy(dst, src, len) };
    }
    // SAFETY: as promised by the caller.
    unsafe { self_vm::copy(dst, src, len) }
}

/// Copies up to `len` bytes from `src` into `iter`. Returns the bytes done, and what stopped it if that is
/// fewer than `len` and not the end of `iter`.
///
/// # Safety
///
/// As for the source of [`copy_foreign`]; the destination is the reader's buffer, by the contract of
/// [`UserBuf`].
#[inline]
pub unsafe fn copy_foreign_to_iter(
    src: *const u8,
    len: usize,
    iter: &mut IovIter<'_, UserBuf<'_>>,
) -> (usize, Option<Fault>) {
    let mut fault = None;
    let copied = iter.walk(len, |piece| {
        let (dst, room) = piece.segment.part_mut(piece.at, piece.len);
        // SAFETY: 1. a part of the reader's buffer, by the contract of `UserBuf`;
        //         2. `done + room <= len`, which the caller allows.
        let outcome = unsafe { copy_foreign(dst, src.wrapping_add(piece.done), room) };
        fault = outcome.fault;
        outcome.done
    });
    (copied, fault)
}

/// Writes `len` zeros to `dst`, and stops at the first byte that cannot be written.
///
/// # Safety
///
/// Every byte of `[dst, dst + len)` that is mapped and writeable is the caller's to overwrite, and no
/// live Rust reference but the caller's exclusive one covers it.
#[inline]
pub unsafe fn zero_foreign(dst: *mut u8, len: usize) -> CopyOutcome {
    #[cfg(target_arch = "x86_64")]
    if backend::has_handler() {
        // SAFETY: 1. is the caller's; 2. the handlers are installed.
        return unsafe { x86_64::zero(dst, len) };
    }
    // SAFETY: as promised by the caller.
    unsafe { self_vm::zero(dst, len) }
}

/// Reads the 8 bytes at `src` as a number of this machine's byte order, or `None` if one of them cannot
/// be read. Where `src` is a multiple of 8 they are read in one piece.
///
/// With [`Backend::SignalHandler`](crate::Backend::SignalHandler) this is one load instruction.
///
/// # Safety
///
/// Every byte of `[src, src + 8)` that is mapped may be read without an effect on anybody: it is not
/// device memory. If it is memory of this program, nobody writes it meanwhile but through atomics or
/// raw copies.
#[inline]
#[must_use]
pub unsafe fn load_u64(src: *const u64) -> Option<u64> {
    match Handlers::installed() {
        // SAFETY: as promised by the caller.
        Some(handlers) => unsafe { load_u64_with(handlers, src) },
        // SAFETY: as promised by the caller.
        None => unsafe { self_vm::load_u64(src) },
    }
}

/// [`load_u64`] by one load instruction, for many in a row.
///
/// # Safety
///
/// As for [`load_u64`].
#[inline]
#[must_use]
pub unsafe fn load_u64_with(_handlers: Handlers, src: *const u64) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: 1. is the caller's; 2. the handlers are installed, as the proof says.
    return unsafe { x86_64::load_u64(src) };
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as promised by the caller.
    return unsafe { self_vm::load_u64(src) };
}

/// Whether the byte at `dst` can be written, found out by writing it without changing it; makes its page
/// resident and writeable where that is possible.
///
/// # Safety
///
/// As for [`zero_foreign`] with a length of 1.
pub(crate) unsafe fn probe_write(dst: *mut u8) -> bool {
    #[cfg(target_arch = "x86_64")]
    if backend::has_handler() {
        // SAFETY: 1. is the caller's; 2. the handlers are installed.
        return unsafe { x86_64::probe_write(dst) };
    }
    // SAFETY: as promised by the caller.
    unsafe { self_vm::probe_write(dst) }
}
