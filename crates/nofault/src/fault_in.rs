//! Making a destination resident before the copy goes on.
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
    // A range that wraps fails as a whole (I37).
    let Some(end) = dst.addr().checked_add(len) else {
        return len;
    };
    if len == 0 {
        return 0;
    }
    let page = param::page_size();
    let first = page_start(dst.addr(), page);
    let whole = end.wrapping_sub(first);
    let start = dst.with_addr(first).cast();
    // SAFETY: populating changes no content, only residency.
    let populated = unsafe { mm::madvise(start, whole, Advice::LinuxPopulateWrite) };
    if populated.is_ok() {
        return 0;
    }
    // Kernels before 5.14 do not know the advice; and where a page cannot be had, the call does not tell
    // which. The probe does.
    let mut at = dst.addr();
    while at < end {
        // SAFETY: a byte of the caller's range, under the caller's promise.
        if !unsafe { raw::probe_write(dst.with_addr(at)) } {
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
