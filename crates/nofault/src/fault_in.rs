//! Making one side of a copy resident before the copy goes on.
#![expect(unsafe_code, reason = "madvise on memory that the caller names")]

use rustix::mm::{self, Advice};
use rustix::param;

use crate::raw;

/// Makes `[dst, dst + len)` resident and writeable without changing it; may sleep. Returns the bytes
/// *not* faulted in: 0 is full success; all before the first page that cannot be had counts as faulted
/// in (I33, I37). Nothing is pinned (I38).
///
/// # Safety
///
/// Every byte of `[dst, dst + len)` that is mapped and writeable is the caller's to overwrite, and no
/// live Rust reference but the caller's exclusive one covers it.
#[doc(alias = "fault_in_safe_writeable")]
pub unsafe fn fault_in_writeable(dst: *mut u8, len: usize) -> usize {
    by_page(dst, len, Advice::LinuxPopulateWrite, |byte| {
        // SAFETY: a byte of the caller's range, under the caller's promise.
        unsafe { raw::probe_write(byte) }
    })
}

/// Makes `[src, src + len)` resident and readable; may sleep. Returns the bytes *not* faulted in, counted
/// as in [`fault_in_writeable`].
///
/// # Safety
///
/// Every byte of `[src, src + len)` that is mapped may be read without an effect on anybody: it is not
/// device memory. If it is memory of this program, nobody writes it meanwhile but through atomics or
/// raw copies.
pub unsafe fn fault_in_readable(src: *const u8, len: usize) -> usize {
    by_page(src.cast_mut(), len, Advice::LinuxPopulateRead, |byte| {
        let mut read = 0_u8;
        // SAFETY: 1. our own byte; 2. a byte of the caller's range, under the caller's promise.
        let outcome = unsafe { raw::copy_foreign(&raw mut read, byte, 1) };
        outcome.done == 1
    })
}

/// Populates the pages of `[start, start + len)`, all at once where that goes, and otherwise one by one by
/// `probe`, up to the first that cannot be had. Returns the bytes from there on.
fn by_page(start: *mut u8, len: usize, populate: Advice, probe: impl Fn(*mut u8) -> bool) -> usize {
    // A range that wraps fails as a whole (I37).
    let Some(end) = start.addr().checked_add(len) else {
        return len;
    };
    if len == 0 {
        return 0;
    }
    let page = param::page_size();
    let first = page_start(start.addr(), page);
    let whole = end.wrapping_sub(first);
    let pages = start.with_addr(first).cast();
    // SAFETY: populating changes no content, only residency.
    let populated = unsafe { mm::madvise(pages, whole, populate) };
    if populated.is_ok() {
        return 0;
    }
    // Kernels before 5.14 do not know the advice; and where a page cannot be had, the call does not tell
    // which. The probe does.
    let mut at = start.addr();
    while at < end {
        if !probe(start.with_addr(at)) {
            return end.wrapping_sub(at);
        }
        let Some(next) = page_start(at, page).checked_add(page) else {
            break;
        };
        at = next;
    }
    0
}

fn page_start(addr: usize, page: usize) -> usize {
    addr & !page.wrapping_sub(1)
}
