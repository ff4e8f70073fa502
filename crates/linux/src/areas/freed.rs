//! Areas that were freed and wait for reuse (V11, V16).

use vread_addr::{ByteLen, VirtAddr};
use vread_physmem::PhysMem;

use super::walk::AreaIndex;
use super::{AreaLayout, AreaReader, KnownArea};
use crate::LinuxError;
use crate::virt_mem::VirtMem;

/// The most areas that wait for reuse in one stack: the kernel frees them for good after 32 MiB for each
/// doubling of its CPUs.
const MAX_FREED: usize = 1 << 17;

/// Where a kernel without nodes keeps areas that were freed (V11).
#[derive(Debug, Clone, Copy)]
pub(super) enum FreedIndex {
    /// One sorted list (6.1).
    List { head: VirtAddr },
    /// A singly linked list in no order, whose links are at `link` in an area (5.10).
    Stack { head: VirtAddr, link: usize },
    /// Not found.
    Unknown,
}

impl FreedIndex {
    /// Where the symbols that `find` knows lead to.
    pub(super) fn new(
        layout: &AreaLayout,
        find: impl Fn(&'static str) -> Option<VirtAddr>,
    ) -> Self {
        let stack = find("vmap_purge_list").zip(layout.purge_list);
        match (find("purge_vmap_area_list"), stack) {
            (Some(head), _) => Self::List { head },
            (None, Some((head, link))) => Self::Stack { head, link },
            (None, None) => Self::Unknown,
        }
    }
}

/// Areas that were freed and are not yet reused, in the order of the kernel's lists (V16).
pub(crate) fn lazily_freed(
    reader: &AreaReader,
    virt: VirtMem<'_>,
) -> Result<Vec<KnownArea>, LinuxError> {
    let without_descriptors = AreaReader {
        layout: reader.layout.without_descriptors(),
        ..*reader
    };
    let heads = match (reader.index, reader.freed) {
        (AreaIndex::Nodes { .. }, _) => reader.node_heads(virt, |node| node.lazy)?,
        (AreaIndex::List { .. }, FreedIndex::List { head }) => vec![head],
        (AreaIndex::List { .. }, FreedIndex::Stack { head, link }) => {
            return without_descriptors.read_stack(virt.mem, head, link);
        }
        (AreaIndex::List { .. }, FreedIndex::Unknown) => Vec::new(),
    };
    let mut areas = Vec::new();
    for head in heads {
        without_descriptors.read_list(virt.mem, head, &mut areas)?;
    }
    Ok(areas)
}

impl AreaReader {
    /// The areas of a singly linked list. It is emptied as a whole, so one that changes is read anew.
    fn read_stack(
        &self,
        mem: &PhysMem,
        head: VirtAddr,
        link: usize,
    ) -> Result<Vec<KnownArea>, LinuxError> {
        let not_mapped = |addr| LinuxError::NotMapped { addr };
        let link = ByteLen::from_usize(link);
        let mut areas = Vec::new();
        let (mut steps, mut remembered) = (0_usize, VirtAddr::new(0));
        let mut node = self
            .linear
            .read_pointer(mem, head)
            .ok_or(not_mapped(head))?;
        while node.get() != 0 {
            // Brent's way to notice a circle: every second power of two the place is remembered anew.
            steps = steps.saturating_add(1);
            if node == remembered || steps > MAX_FREED {
                return Err(LinuxError::TooMany {
                    what: "the list of freed vmap areas",
                    at: node,
                    limit: steps,
                });
            }
            if steps.is_power_of_two() {
                remembered = node;
            }
            let at = node.checked_sub(link).ok_or(not_mapped(node))?;
            if let Some(record) = self.read_area(mem, at)? {
                areas.push(self.complete(mem, at, record)?);
            }
            node = self
                .linear
                .read_pointer(mem, node)
                .ok_or(not_mapped(node))?;
        }
        Ok(areas)
    }
}
