use vread_addr::ByteLen;
use vread_iov_iter::{IovIter, Progress};
use vread_nofault::UserBuf;

use crate::pages::PAGE;

/// Zeros in place of `len` bytes, as many as `iter` has room for.
pub(crate) fn put(len: usize, iter: &mut IovIter<'_, UserBuf<'_>>) -> Progress {
    let want = len.min(iter.count());
    let zeroed = iter.zero_nofault(want);
    Progress::zeroed(ByteLen::from_usize(zeroed)).or_dest_fault(ByteLen::from_usize(want))
}

/// Zeros in place of the rest of the page at `position`, which cannot be read, at most `limit`.
pub(crate) fn rest_of_page(
    position: usize,
    limit: usize,
    iter: &mut IovIter<'_, UserBuf<'_>>,
) -> Progress {
    put(PAGE.wrapping_sub(position % PAGE).min(limit), iter)
}
