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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forged::{ForgedRam, virt};

    const AT: u64 = 0xffff_8880_0000_0000;

    /// Nodes of 16 bytes at `AT`, each with its next and previous one.
    fn walk(nodes: &[(u64, u64)], limit: usize) -> Result<Vec<u64>, LinuxError> {
        let mut ram = ForgedRam::new(16);
        ram.map(AT, 0x8000);
        for (index, (next, prev)) in nodes.iter().enumerate() {
            let at = 0x8000 + 16 * u64::try_from(index).unwrap();
            ram.put_u64(at, *next);
            ram.put_u64(at + 8, *prev);
        }
        let mem = ram.open();
        let mut seen = Vec::new();
        walk_list(virt(&mem), "a list", VirtAddr::new(AT), limit, |node| {
            seen.push((node.get() - AT) / 16);
            Ok(())
        })?;
        Ok(seen)
    }

    fn node(index: u64) -> u64 {
        AT + 16 * index
    }

    #[test]
    fn comes_back_to_the_head() {
        assert_eq!(
            walk(&[(node(0), node(0))], 0),
            Err(LinuxError::TooMany {
                what: "a list",
                at: VirtAddr::new(AT),
                limit: 0,
            })
        );
        assert_eq!(walk(&[(node(0), node(0))], 1), Ok(vec![]));
        let ring = [(node(2), node(1)), (node(0), node(2)), (node(1), node(0))];
        assert_eq!(walk(&ring, 3), Ok(vec![2, 1]));
    }

    #[test]
    fn takes_a_head_of_zeros_for_an_empty_list() {
        assert_eq!(walk(&[(0, 0)], 4), Ok(vec![]));
    }

    #[test]
    fn refuses_a_list_that_never_comes_back() {
        // G73: 1 and 2 lead to each other, and 1's previous one can only be one of them.
        let rho = [(node(1), node(0)), (node(2), node(0)), (node(1), node(1))];
        assert!(matches!(walk(&rho, 100), Err(LinuxError::Malformed { .. })));
    }

    #[test]
    fn refuses_a_list_that_leads_out_of_memory() {
        let lost = [(0x1234, 0)];
        assert!(matches!(
            walk(&lost, 100),
            Err(LinuxError::NotMapped { .. })
        ));
    }

    #[test]
    fn stops_at_the_limit() {
        let ring = [(node(1), node(2)), (node(2), node(0)), (node(0), node(1))];
        assert!(matches!(walk(&ring, 2), Err(LinuxError::TooMany { .. })));
    }
}
