use vread_addr::{ByteLen, VirtAddr};
use vread_physmem::PhysMem;
use vread_vmalloc::VmapArea;

use super::AreaLayout;
use super::layout::{AreaRecord, DescriptorRecord, MAX_RECORD_LEN};
use crate::linear::LinearMap;
use crate::virt_mem::VirtMem;
use crate::{Kallsyms, LinuxError, VmCoreInfo};

/// The most areas (G73).
const MAX_AREAS: usize = 1 << 20;
/// The most nodes; the kernel has as many as CPUs, up to this (V17).
const MAX_NODES: u32 = 128;
/// How often the areas are read anew when they change under us (G71).
const MAX_TRIES: u32 = 3;
const WHAT: &str = "the list of vmap areas";

/// An area as it was found in a walk of the kernel's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownArea {
    /// What it is.
    pub area: VmapArea,
    /// Where its `vmap_area` lies.
    pub at: VirtAddr,
    /// Where its `vm_struct` lies, if it has one.
    pub vm_at: Option<VirtAddr>,
    /// Where the array of its pages' descriptors lies; 0 where there is none.
    pub pages: VirtAddr,
}

/// Where a kernel keeps its areas.
#[derive(Debug, Clone, Copy)]
enum AreaIndex {
    /// One sorted list (before 6.9, G50).
    List { head: VirtAddr },
    /// One sorted list for each node (G51): the variables that say where they are and how many.
    Nodes { array: VirtAddr, count: VirtAddr },
}

/// Reads areas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AreaReader {
    layout: AreaLayout,
    index: AreaIndex,
    linear: LinearMap,
    /// The list of areas that are freed and not yet reused, where it is one list (6.1).
    purge_list: Option<VirtAddr>,
}

/// What one list is expected to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strictness {
    /// Anything odd means that the list changed under us.
    Consistent,
    /// Odd areas are dropped (G73).
    DropOdd,
}

impl AreaReader {
    pub(crate) fn new(
        layout: AreaLayout,
        linear: LinearMap,
        info: &VmCoreInfo,
        kallsyms: &Kallsyms,
    ) -> Result<Self, LinuxError> {
        let nodes = kallsyms
            .find("vmap_nodes")
            .zip(kallsyms.find("nr_vmap_nodes"));
        let list = info
            .symbol("vmap_area_list")
            .or(kallsyms.find("vmap_area_list"));
        let index = match (nodes, list) {
            (Some((array, count)), _) => AreaIndex::Nodes { array, count },
            (None, Some(head)) => AreaIndex::List { head },
            (None, None) => {
                return Err(LinuxError::NoSymbol { name: "vmap_nodes" });
            }
        };
        Ok(Self {
            layout,
            index,
            linear,
            purge_list: kallsyms.find("purge_vmap_area_list"),
        })
    }

    /// Whether areas have type flags (V2).
    pub(crate) fn has_types(&self) -> bool {
        self.layout.flags.is_some()
    }

    /// All busy areas, in the order of the kernel's lists: one list after another, each sorted.
    pub(crate) fn read_busy(&self, virt: VirtMem<'_>) -> Result<Vec<KnownArea>, LinuxError> {
        let heads = match self.index {
            AreaIndex::List { head } => vec![head],
            AreaIndex::Nodes { .. } => self.node_heads(virt, |node| node.busy)?,
        };
        let mut areas = Vec::new();
        for head in heads {
            self.read_list(virt.mem, head, &mut areas)?;
        }
        Ok(areas)
    }

    /// What `known` is now: its own records read anew, or `None` if it is no longer that area.
    ///
    /// The descriptor is read first and the area after it, so that a descriptor that is given up
    /// meanwhile is noticed. An area that was freed keeps its bytes for a while; but it is then unlinked,
    /// and an unlinked entry points to itself. One that waits for reuse in another list has nothing
    /// mapped, and its range belongs to nobody else until it has left that list.
    pub(crate) fn read_again(&self, mem: &PhysMem, known: &KnownArea) -> Option<VmapArea> {
        let descriptor = match known.vm_at {
            Some(at) => Some(self.read_descriptor(mem, at).ok()?),
            None => None,
        };
        let record = self.read_area(mem, known.at).ok()??;
        let node = known
            .at
            .checked_add(ByteLen::from_usize(self.layout.list))?;
        let same = record.range == known.area.range
            && record.vm == known.vm_at
            && record.prev != node
            && self.linear.read_pointer(mem, record.prev) == Some(node);
        same.then_some(VmapArea {
            range: record.range,
            flags: record.flags,
            vm: descriptor.map(|descriptor| descriptor.vm),
        })
    }

    fn node_heads(
        &self,
        virt: VirtMem<'_>,
        list: impl Fn(super::layout::NodeLayout) -> ByteLen,
    ) -> Result<Vec<VirtAddr>, LinuxError> {
        let (AreaIndex::Nodes { array, count }, Some(node)) = (self.index, self.layout.node) else {
            return Err(LinuxError::NoType { name: "vmap_node" });
        };
        let first = virt.read_pointer(array)?;
        let nodes = virt.read_u32(count)?;
        let malformed = LinuxError::Malformed {
            what: "the array of vmap nodes",
            at: first,
            why: "its length or address is out of range",
        };
        if !(1..=MAX_NODES).contains(&nodes) {
            return Err(malformed);
        }
        let head = |index: u32| {
            let into = node.len.checked_mul(u64::from(index))?;
            first.checked_add(into)?.checked_add(list(node))
        };
        (0..nodes).map(head).collect::<Option<_>>().ok_or(malformed)
    }

    /// Appends the areas of one list, read anew where it changed meanwhile.
    fn read_list(
        &self,
        mem: &PhysMem,
        head: VirtAddr,
        areas: &mut Vec<KnownArea>,
    ) -> Result<(), LinuxError> {
        let before = areas.len();
        for _ in 0..MAX_TRIES {
            match self.try_read_list(mem, head, Strictness::Consistent, areas) {
                Err(LinuxError::Source(failure)) => return Err(failure.into()),
                Err(error) => tracing::debug!(%error, "areas changed while they were read"),
                Ok(()) => return Ok(()),
            }
            areas.truncate(before);
        }
        self.try_read_list(mem, head, Strictness::DropOdd, areas)
    }

    fn try_read_list(
        &self,
        mem: &PhysMem,
        head: VirtAddr,
        strictness: Strictness,
        areas: &mut Vec<KnownArea>,
    ) -> Result<(), LinuxError> {
        let torn = |at| LinuxError::Torn {
            what: WHAT,
            at,
            tries: MAX_TRIES,
        };
        let mut from = head;
        let mut last_end = VirtAddr::new(0);
        let mut node = self
            .linear
            .read_pointer(mem, head)
            .ok_or(LinuxError::NotMapped { addr: head })?;
        for _ in 0..MAX_AREAS {
            // Before the kernel sets its lists up they are all zeros.
            if node == head || (from == head && node.get() == 0) {
                return Ok(());
            }
            let at = node
                .checked_sub(ByteLen::from_usize(self.layout.list))
                .ok_or(torn(node))?;
            let Some(record) = self.read_area(mem, at)? else {
                return Err(torn(at));
            };
            if record.prev != from {
                return Err(torn(at));
            }
            from = node;
            node = record.next;
            match self.complete(mem, at, record) {
                Ok(area) if record.range.start() >= last_end => {
                    last_end = record.range.end();
                    areas.push(area);
                }
                Err(LinuxError::Source(failure)) => return Err(failure.into()),
                _ if strictness == Strictness::Consistent => return Err(torn(at)),
                result => tracing::warn!(?record, ?result, "vmap area dropped"),
            }
        }
        Err(LinuxError::TooMany {
            what: WHAT,
            at: node,
            limit: MAX_AREAS,
        })
    }

    /// Adds the descriptor, if the area is still the same after that was read.
    fn complete(
        &self,
        mem: &PhysMem,
        at: VirtAddr,
        record: AreaRecord,
    ) -> Result<KnownArea, LinuxError> {
        let descriptor = match record.vm {
            Some(vm) => Some(self.read_descriptor(mem, vm)?),
            None => None,
        };
        let again = self.read_area(mem, at)?;
        let same = again.is_some_and(|again| again.range == record.range && again.vm == record.vm);
        if !same {
            return Err(LinuxError::Torn {
                what: "a vmap area",
                at,
                tries: 1,
            });
        }
        Ok(KnownArea {
            area: VmapArea {
                range: record.range,
                flags: record.flags,
                vm: descriptor.map(|descriptor| descriptor.vm),
            },
            at,
            vm_at: record.vm,
            pages: descriptor.map_or(VirtAddr::new(0), |descriptor| descriptor.pages),
        })
    }

    #[inline]
    fn read_area(&self, mem: &PhysMem, at: VirtAddr) -> Result<Option<AreaRecord>, LinuxError> {
        let mut bytes = [0_u8; MAX_RECORD_LEN];
        let bytes = bytes.get_mut(..self.layout.area_len).unwrap_or_default();
        self.linear.read(mem, at, bytes)?;
        Ok(self.layout.area(bytes))
    }

    #[inline]
    fn read_descriptor(&self, mem: &PhysMem, at: VirtAddr) -> Result<DescriptorRecord, LinuxError> {
        let mut bytes = [0_u8; MAX_RECORD_LEN];
        let bytes = bytes.get_mut(..self.layout.vm_len).unwrap_or_default();
        self.linear.read(mem, at, bytes)?;
        self.layout.descriptor(bytes).ok_or(LinuxError::Malformed {
            what: "a vm_struct",
            at,
            why: "it is shorter than its members",
        })
    }
}

/// The ranges of areas that were freed and are not yet reused, in the order of the kernel's lists (V16).
/// Releases before 6.1 keep them in no order and are not looked at.
pub(crate) fn lazily_freed(
    reader: &AreaReader,
    virt: VirtMem<'_>,
) -> Result<Vec<KnownArea>, LinuxError> {
    let heads = match reader.index {
        AreaIndex::List { .. } => reader.purge_list.into_iter().collect(),
        AreaIndex::Nodes { .. } => reader.node_heads(virt, |node| node.lazy)?,
    };
    let without_descriptors = AreaReader {
        layout: reader.layout.without_descriptors(),
        ..*reader
    };
    let mut areas = Vec::new();
    for head in heads {
        without_descriptors.read_list(virt.mem, head, &mut areas)?;
    }
    Ok(areas)
}

#[cfg(test)]
mod tests {
    use super::super::layout::forge;
    use super::*;
    use crate::Bases;
    use crate::forged::{ForgedRam, virt};
    use vread_addr::VirtRange;
    use vread_vmalloc::VmFlags;

    const DIRECT: u64 = 0xffff_8880_0000_0000;
    const VMALLOC: u64 = 0xffff_c900_0000_0000;
    /// The head of the list, and where records lie: one each 128 bytes.
    const HEAD: u64 = 0x8000;
    const RECORDS: u64 = 0x9000;

    struct Forged {
        ram: ForgedRam,
        areas: u64,
    }

    fn at(area: u64) -> u64 {
        RECORDS + area * 256
    }

    impl Forged {
        /// A list of areas of `(start page, end page)`, in this order.
        fn new(areas: &[(u64, u64)]) -> Self {
            let mut ram = ForgedRam::new(32);
            for page in 0..32 {
                ram.map(DIRECT + page * 4096, page * 4096);
            }
            let count = areas.len() as u64;
            let node = |index: u64| match index % (count + 1) {
                0 => DIRECT + HEAD,
                area => DIRECT + at(area - 1) + forge::LIST,
            };
            ram.put_u64(HEAD, node(1));
            ram.put_u64(HEAD + 8, node(count));
            for (index, (start, end)) in (0_u64..).zip(areas) {
                let area = at(index);
                ram.put_u64(area, VMALLOC + start * 4096);
                ram.put_u64(area + 8, VMALLOC + end * 4096);
                ram.put_u64(area + forge::LIST, node(index + 2));
                ram.put_u64(area + forge::LIST + 8, node(index));
                let vm = area + 128;
                ram.put_u64(area + forge::VM, DIRECT + vm);
                ram.put_u64(vm + forge::VM_SIZE, (end - start) * 4096);
                ram.put_u64(vm + forge::VM_FLAGS, 2);
            }
            Self { ram, areas: count }
        }

        fn reader(&self) -> AreaReader {
            let bases = Bases {
                direct_map: VirtAddr::new(DIRECT),
                vmalloc: VirtAddr::new(VMALLOC),
                vmemmap: VirtAddr::new(0xffff_ea00_0000_0000),
                vmalloc_size: ByteLen::new(32 << 40),
            };
            let image = VirtAddr::new(0xffff_ffff_8100_0000);
            let image = VirtRange::from_len(image, ByteLen::new(4096)).unwrap();
            AreaReader {
                layout: forge::layout(),
                index: AreaIndex::List {
                    head: VirtAddr::new(DIRECT + HEAD),
                },
                linear: LinearMap::new(&bases, image, 0).unwrap(),
                purge_list: None,
            }
        }

        fn read(&self) -> Result<Vec<(u64, u64)>, LinuxError> {
            let mem = self.ram.open();
            let areas = self.reader().read_busy(virt(&mem))?;
            let page = |addr: VirtAddr| (addr.get() - VMALLOC) / 4096;
            let range = |known: &KnownArea| {
                let range = known.area.range;
                (page(range.start()), page(range.end()))
            };
            Ok(areas.iter().map(range).collect())
        }
    }

    #[test]
    fn reads_a_list_with_its_descriptors() {
        // G50, G53.
        let forged = Forged::new(&[(0, 3), (3, 5), (8, 9)]);
        assert_eq!(forged.areas, 3);
        assert_eq!(forged.read(), Ok(vec![(0, 3), (3, 5), (8, 9)]));
        let mem = forged.ram.open();
        let first = forged.reader().read_busy(virt(&mem)).unwrap()[0];
        let vm = first.area.vm.unwrap();
        assert_eq!(
            (vm.size, vm.flags),
            (ByteLen::new(3 * 4096), VmFlags::ALLOC)
        );
        assert_eq!(first.vm_at, Some(VirtAddr::new(DIRECT + at(0) + 128)));
        assert_eq!(Forged::new(&[]).read(), Ok(vec![]));
    }

    #[test]
    fn drops_areas_out_of_order_or_without_a_descriptor() {
        // G73: overlapping and unsorted ones are dropped, the rest is read.
        assert_eq!(
            Forged::new(&[(0, 3), (2, 5), (8, 9)]).read(),
            Ok(vec![(0, 3), (8, 9)])
        );
        assert_eq!(Forged::new(&[(8, 9), (0, 3)]).read(), Ok(vec![(8, 9)]));
        let mut forged = Forged::new(&[(0, 3), (3, 5)]);
        forged.ram.put_u64(at(0) + forge::VM, DIRECT + 0x7000_0000);
        assert_eq!(forged.read(), Ok(vec![(3, 5)]));
    }

    #[test]
    fn refuses_a_list_that_does_not_hold_together() {
        // G73: not page aligned, empty, backwards, and a list that leads back into itself.
        for (start, end) in [
            (VMALLOC + 8, VMALLOC + 4096),
            (VMALLOC, VMALLOC),
            (VMALLOC + 4096, VMALLOC),
        ] {
            let mut forged = Forged::new(&[(0, 3), (3, 5)]);
            forged.ram.put_u64(at(1), start);
            forged.ram.put_u64(at(1) + 8, end);
            assert!(
                matches!(forged.read(), Err(LinuxError::Torn { .. })),
                "{start:#x}"
            );
        }
        let mut rho = Forged::new(&[(0, 3), (3, 5), (8, 9)]);
        rho.ram
            .put_u64(at(2) + forge::LIST, DIRECT + at(1) + forge::LIST);
        assert!(matches!(rho.read(), Err(LinuxError::Torn { .. })));
        let mut lost = Forged::new(&[(0, 3)]);
        lost.ram.put_u64(at(0) + forge::LIST, 0x1234);
        assert!(lost.read().is_err());
    }

    #[test]
    fn knows_an_area_again_only_while_it_is_the_same() {
        let forged = Forged::new(&[(0, 3), (3, 5)]);
        let mem = forged.ram.open();
        let reader = forged.reader();
        let known = reader.read_busy(virt(&mem)).unwrap()[1];
        assert_eq!(reader.read_again(&mem, &known), Some(known.area));
        let changed = |place: u64, value: u64| {
            let mut ram = forged.ram.clone();
            ram.put_u64(place, value);
            reader.read_again(&ram.open(), &known)
        };
        assert_eq!(changed(at(1) + 8, VMALLOC + 4 * 4096), None, "another end");
        assert_eq!(
            changed(at(1) + forge::VM, DIRECT + at(0) + 128),
            None,
            "another descriptor"
        );
        // V16: what was freed is unlinked: it points to itself, or its neighbour not to it.
        let own = DIRECT + at(1) + forge::LIST;
        assert_eq!(changed(at(1) + forge::LIST + 8, own), None, "unlinked");
        assert_eq!(
            changed(at(0) + forge::LIST, DIRECT + HEAD),
            None,
            "passed over"
        );
        // What it is may change, and is then read as it is now.
        let flags = changed(at(1) + 128 + forge::VM_FLAGS, 1).and_then(|area| area.vm);
        assert_eq!(flags.map(|vm| vm.flags), Some(VmFlags::IOREMAP));
    }

    #[test]
    fn bounds_the_number_of_nodes() {
        // G73: 1 to 128, and the array wholly in RAM.
        let mut forged = Forged::new(&[(0, 3)]);
        let (array, count) = (0x1_0000_u64, 0x1_0010_u64);
        let mut reader = forged.reader();
        reader.index = AreaIndex::Nodes {
            array: VirtAddr::new(DIRECT + array),
            count: VirtAddr::new(DIRECT + count),
        };
        // One node whose list is the one at `HEAD`.
        forged.ram.put_u64(array, DIRECT + HEAD - forge::NODE_BUSY);
        let mut read = |nodes: u64| {
            forged.ram.put_u64(count, nodes);
            let mem = forged.ram.open();
            reader.read_busy(virt(&mem)).map(|areas| areas.len())
        };
        assert_eq!(read(1), Ok(1));
        for nodes in [0, 129, 0xffff_ffff] {
            assert!(
                matches!(read(nodes), Err(LinuxError::Malformed { .. })),
                "{nodes} nodes"
            );
        }
        assert!(read(128).is_err(), "most of the array is outside RAM");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn any_change_to_the_lists_is_survived(
            changes in proptest::collection::vec((0_u64..0x300, proptest::prelude::any::<u64>(), 0_u64..3), 1..8),
        ) {
            let mut forged = Forged::new(&[(0, 3), (3, 5), (8, 9)]);
            for (place, value, kind) in changes {
                let value = match kind {
                    0 => value,
                    1 => DIRECT + RECORDS + value % 0x300 * 8,
                    _ => VMALLOC + value % 16 * 4096,
                };
                forged.ram.put_u64(RECORDS + place * 8 % 0x300, value);
            }
            if let Ok(areas) = forged.read() {
                proptest::prop_assert!(areas.iter().all(|(start, end)| start < end));
            }
        }
    }
}
