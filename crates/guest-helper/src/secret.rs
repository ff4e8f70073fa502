//! Memory that the kernel takes out of its own direct map: `memfd_secret(2)`, of Linux 5.14 and later.
#![expect(
    unsafe_code,
    reason = "memfd_secret(2) has no safe wrapper, and its memory can only be mapped"
)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use vread_guest_helper::pattern;

const PAGE_BYTES: u64 = 4096;

/// Fills `bytes` (rounded up to pages) of such memory with the pattern of `seed`. It stays until the guest
/// ends.
pub(crate) fn create(bytes: u64, seed: u64) -> io::Result<()> {
    let len = usize::try_from(bytes.next_multiple_of(PAGE_BYTES)).map_err(io::Error::other)?;
    // SAFETY: the call takes one number and no pointer.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::fs::ftruncate(&fd, len as u64)?;
    // SAFETY: the kernel chooses where the new mapping goes, so nothing else is touched.
    let at = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mut content = vec![0; len];
    pattern::fill(seed, 0, &mut content);
    // SAFETY: 1. `content` has `len` bytes.
    //         2. The mapping has `len` writable bytes, is never unmapped, and only we know it, so the two
    //            do not overlap.
    unsafe { ptr::copy_nonoverlapping(content.as_ptr(), at.cast::<u8>(), len) };
    Ok(())
}
