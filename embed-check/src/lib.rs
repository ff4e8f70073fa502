//! A kernel's worth of surroundings without std: its own answer to a panic, its own memory, and the system call
//! that its users read their `kcore` with.
//!
//! Were there std anywhere below, there would be two answers to a panic, and this would not build.
#![no_std]
#![forbid(unsafe_code)]

use core::panic::PanicInfo;

use linked_list_allocator::LockedHeap;
use tiny_kernel::{TinyKernel, UserRange};
use vread_addr::FileOffset;
use vread_kcore::KcoreError;

/// A kernel gives it its memory when it starts.
#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

#[panic_handler]
fn halt(_panic: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// `pread(2)` on the file: the bytes that arrived.
///
/// # Errors
///
/// [`KcoreError`], as the kernel's own.
pub fn sys_pread(
    kernel: &TinyKernel,
    buffer: &mut [UserRange<'_>],
    at: FileOffset,
) -> Result<u64, KcoreError> {
    let image = kernel.kcore()?;
    Ok(kernel.read(&image, buffer, at)?.advanced().get())
}
