//! Copies without a signal handler: the kernel does them, and says where it could not.
#![expect(
    unsafe_code,
    reason = "process_vm_readv and process_vm_writev on ourselves"
)]

use std::io;

use libc::{c_ulong, iovec};

use crate::{CopyOutcome, Fault};

/// The most bytes asked for in one call; Linux does at most 2^31 - 4096.
const CALL_LIMIT: usize = 1 << 30;

/// What zeros are copied from.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// Copies, stopping at the first byte that faults.
///
/// # Safety
///
/// 1. The destination is the caller's to overwrite.
/// 2. The source may be read.
#[cold]
pub(crate) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) -> CopyOutcome {
    let mut done = 0_usize;
    while done < len {
        let (to, from) = (dst.wrapping_add(done), src.wrapping_add(done));
        let left = len.wrapping_sub(done);
        // SAFETY: a part of the caller's ranges, under the caller's promises.
        let step = unsafe { read_own(to, from, left) };
        match step {
            // The call does not say which side it was, nor promise to have done what it could.
            Ok(0) | Err(libc::EFAULT) => {
                // SAFETY: a byte of the caller's ranges, under the caller's promises.
                if let Err(fault) = unsafe { copy_byte(to, from) } {
                    return CopyOutcome {
                        done,
                        fault: Some(fault),
                    };
                }
                done = done.saturating_add(1);
            }
            Ok(step) => done = done.saturating_add(step).min(len),
            Err(errno) => {
                return CopyOutcome {
                    done,
                    fault: Some(Fault::System(errno)),
                };
            }
        }
    }
    CopyOutcome::complete(len)
}

/// Copies a byte in two steps, of which only one side each can be at fault.
///
/// # Safety
///
/// 1. The destination is the caller's to overwrite.
/// 2. The source may be read.
unsafe fn copy_byte(dst: *mut u8, src: *const u8) -> Result<(), Fault> {
    let mut byte = 0_u8;
    // SAFETY: 1. the byte is ours; 2. the caller's promise.
    if unsafe { read_own(&raw mut byte, src, 1) } != Ok(1) {
        return Err(Fault::Source(src.addr()));
    }
    // SAFETY: 1. the caller's promise; 2. the byte is ours.
    if unsafe { read_own(dst, &raw const byte, 1) } != Ok(1) {
        return Err(Fault::Destination(dst.addr()));
    }
    Ok(())
}

/// Writes zeros, stopping at the first byte that faults.
///
/// # Safety
///
/// The destination is the caller's to overwrite.
#[cold]
pub(crate) unsafe fn zero(dst: *mut u8, len: usize) -> CopyOutcome {
    let mut done = 0_usize;
    while done < len {
        let step = len.wrapping_sub(done).min(ZEROS.len());
        // SAFETY: 1. a part of the caller's range; 2. the source is our own constant.
        let outcome = unsafe { copy(dst.wrapping_add(done), ZEROS.as_ptr(), step) };
        done = done.saturating_add(outcome.done);
        if outcome.fault.is_some() {
            return CopyOutcome { done, ..outcome };
        }
    }
    CopyOutcome::complete(len)
}

/// Loads 8 bytes, or `None` at a fault.
///
/// # Safety
///
/// The source may be read.
#[cold]
pub(crate) unsafe fn load_u64(src: *const u64) -> Option<u64> {
    let mut value = 0_u64;
    // SAFETY: 1. the value is ours; 2. the source may be read.
    let outcome = unsafe { copy((&raw mut value).cast(), src.cast(), size_of::<u64>()) };
    outcome.fault.is_none().then_some(value)
}

/// Whether the byte can be written; writes the value it has. Unlike the handler's probe this is not
/// atomic, but nobody else may write the byte.
///
/// # Safety
///
/// The byte is the caller's to overwrite.
#[cold]
pub(crate) unsafe fn probe_write(dst: *mut u8) -> bool {
    let mut byte = 0_u8;
    // SAFETY: 1. the byte is ours; 2. the caller's byte may be read.
    if unsafe { read_own(&raw mut byte, dst, 1) } != Ok(1) {
        return false;
    }
    let (local, remote) = (part(&raw mut byte, 1), part(dst, 1));
    // SAFETY: one valid segment on either side; the kernel checks both addresses; the caller's byte is
    //         the caller's to overwrite.
    let step =
        unsafe { libc::process_vm_writev(own_pid(), &raw const local, 1, &raw const remote, 1, 0) };
    step == 1
}

/// One `process_vm_readv` on ourselves: the bytes done, or an error number.
///
/// # Safety
///
/// 1. The destination is the caller's to overwrite.
/// 2. The source may be read.
unsafe fn read_own(dst: *mut u8, src: *const u8, len: usize) -> Result<usize, i32> {
    const ONE: c_ulong = 1;
    let len = len.min(CALL_LIMIT);
    let (local, remote) = (part(dst, len), part(src.cast_mut(), len));
    let pid = own_pid();
    // SAFETY: one valid segment on either side; the kernel checks both addresses; what it writes and
    //         reads there is the caller's promise.
    let step =
        unsafe { libc::process_vm_readv(pid, &raw const local, ONE, &raw const remote, ONE, 0) };
    usize::try_from(step).map_err(|_| last_errno())
}

/// Asked for every time: a fork changes it.
fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

fn part(base: *mut u8, len: usize) -> iovec {
    iovec {
        iov_base: base.cast(),
        iov_len: len,
    }
}

fn last_errno() -> i32 {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EFAULT)
}
