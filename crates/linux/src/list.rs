use vread_addr::VirtAddr;

use crate::LinuxError;
use crate::virt_mem::VirtMem;

/// Walks a circular `list_head` list of the target: calls `visit` with the address of each entry's
/// `list_head`, in order, until it comes back to `head`.
///
/// Ends with an error after `limit` entries, and where an entry does not point back to the one it was
/// reached from: then the list changed under us, or somebody made it up (G73).
pub(crate) fn walk_list(
    virt: VirtMem<'_>,
    what: &'static str,
    head: VirtAddr,
    limit: usize,
    mut visit: impl FnMut(VirtAddr) -> Result<(), LinuxError>,
) -> Result<(), LinuxError> {
    let mut from = head;
    let mut at = virt.read_pointer(head)?;
    for _ in 0..limit {
        // A head that was never used is all zeros before the kernel gets to it.
        if at == head || (from == head && at.get() == 0) {
            return Ok(());
        }
        let node: [u8; 16] = virt.read_array(at)?;
        let word = |n| crate::fields::u64_at(&node, n).map(VirtAddr::new);
        let (Some(next), Some(prev)) = (word(0), word(8)) else {
            return Ok(());
        };
        if prev != from {
            return Err(LinuxError::Malformed {
                what,
                at,
                why: "a list entry does not point back to the one before it",
            });
        }
        visit(at)?;
        from = at;
        at = next;
    }
    Err(LinuxError::TooMany { what, at, limit })
}
