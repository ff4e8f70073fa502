use vread_addr::{ByteLen, VirtAddr};
use vread_iov_iter::SourceFailure;
use vread_physmem::PhysMem;
use vread_vmalloc::VmapArea;

use super::AreaLayout;
use super::freed::FreedIndex;
use super::layout::{AreaRecord, DescriptorRecord, MAX_RECORD_LEN};
use crate::linear::LinearMap;
use crate::virt_mem::VirtMem;
use crate::{Kallsyms, LinuxError, VmCoreInfo};

/// The most areas, of all lists together (G73).
const MAX_AREAS: usize = 1 << 20;
/// The most odd areas that are passed over in one list. A list that leads round in a circle has no end of
/// them.
const MAX_DROPPED: usize = 1 << 10;
/// The most nodes; the kernel has as many as CPUs, up to this (V17).
const MAX_NODES: u32 = 128;
/// How often the areas are read anew when they change under us (G71).
const MAX_TRIES: u32 = 3;
/// How often in a row a walk may come to nothing at one place of a list before it starts over.
const MAX_STALLS: u32 = 16;
/// How often in all it may in one walk. In a list that leads back to what was taken off it, a walk gets
/// ahead again and again.
const MAX_STALLS_IN_ALL: u32 = 1 << 10;
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
pub(super) enum AreaIndex {
    /// One sorted list (before 6.9, G50).
    List { head: VirtAddr },
    /// One sorted list for each node (G51): the variables that say where they are and how many.
    Nodes { array: VirtAddr, count: VirtAddr },
}

/// Reads areas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AreaReader {
    pub(super) layout: AreaLayout,
    pub(super) index: AreaIndex,
    pub(super) linear: LinearMap,
    /// Where areas are kept that were freed and are not yet reused, if not in nodes.
    pub(super) freed: FreedIndex,
}

/// What one list is expected to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strictness {
    /// Anything odd means that the list changed under us.
    Consistent,
    /// Odd areas are dropped (G73), and links back need not be right.
    DropOdd,
}

/// A place in a list.
struct Cursor {
    /// The entry before.
    from: VirtAddr,
    /// The entry.
    node: VirtAddr,
    /// Where the last area ends; areas ascend.
    last_end: VirtAddr,
}

/// An area, and the place behind it.
struct Found {
    known: KnownArea,
    behind: Cursor,
}

/// Why there is no area to be had at a place.
enum Odd {
    /// The entry does not fit into the list.
    List,
    /// The entry does, the area does not: the place behind it.
    Area(Cursor),
    /// The target is gone.
    Failed(SourceFailure),
}

impl Odd {
    fn in_list(error: LinuxError) -> Self {
        match error {
            LinuxError::Source(failure) => Self::Failed(failure),
            _ => Self::List,
        }
    }
}

impl Cursor {
    fn at_head(reader: &AreaReader, mem: &PhysMem, head: VirtAddr) -> Result<Self, LinuxError> {
        let first = reader.linear.read_pointer(mem, head);
        Ok(Self {
            from: head,
            node: first.ok_or(LinuxError::NotMapped { addr: head })?,
            last_end: VirtAddr::new(0),
        })
    }
}

/// Areas that were passed over in one list. They are reported once: a hostile list has many.
#[derive(Default)]
struct Dropped {
    count: usize,
    first: Option<VirtAddr>,
}

impl Dropped {
    fn add(&mut self, node: VirtAddr) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert(node);
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(first) = self.first {
            tracing::warn!(%first, count = self.count, "damaged vmap areas passed over");
        }
    }
}

fn torn(at: VirtAddr) -> LinuxError {
    LinuxError::Torn {
        what: WHAT,
        at,
        tries: MAX_TRIES,
    }
}

impl AreaReader {
    pub(crate) fn new(
        layout: AreaLayout,
        linear: LinearMap,
        info: &VmCoreInfo,
        kallsyms: Option<&Kallsyms>,
    ) -> Result<Self, LinuxError> {
        let find = |name| kallsyms?.find(name);
        let nodes = find("vmap_nodes").zip(find("nr_vmap_nodes"));
        let list = info
            .symbol("vmap_area_list")
            .or_else(|| find("vmap_area_list"));
        let index = match (nodes, list) {
            (Some((array, count)), _) => AreaIndex::Nodes { array, count },
            (None, Some(head)) => AreaIndex::List { head },
            (None, None) if kallsyms.is_none() => {
                return Err(LinuxError::Needs { what: "symbols" });
            }
            (None, None) => {
                return Err(LinuxError::NoSymbol { name: "vmap_nodes" });
            }
        };
        Ok(Self {
            layout,
            index,
            linear,
            freed: FreedIndex::new(&layout, find),
        })
    }

    /// A reader of one list.
    #[cfg(test)]
    pub(super) fn of_list(layout: AreaLayout, linear: LinearMap, head: VirtAddr) -> Self {
        Self {
            layout,
            index: AreaIndex::List { head },
            linear,
            freed: FreedIndex::Unknown,
        }
    }

    /// A reader of lists that are made up.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn of_lists(
        layout: AreaLayout,
        linear: LinearMap,
        lists: crate::fuzzing::AreaLists,
    ) -> Self {
        use crate::fuzzing::AreaLists;
        let (index, freed) = match lists {
            AreaLists::List { busy, freed } => (
                AreaIndex::List { head: busy },
                FreedIndex::List { head: freed },
            ),
            AreaLists::Stack { busy, freed } => {
                let link = layout.list;
                (
                    AreaIndex::List { head: busy },
                    FreedIndex::Stack { head: freed, link },
                )
            }
            AreaLists::Nodes { array, count } => {
                (AreaIndex::Nodes { array, count }, FreedIndex::Unknown)
            }
        };
        Self {
            layout,
            index,
            linear,
            freed,
        }
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

    pub(super) fn node_heads(
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
    pub(super) fn read_list(
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
        let first = areas.len();
        let mut cursor = Cursor::at_head(self, mem, head)?;
        let (mut stalls, mut stalls_in_all) = (0_u32, 0_u32);
        let mut dropped = Dropped::default();
        while areas.len() < MAX_AREAS && dropped.count < MAX_DROPPED {
            let node = cursor.node;
            // Before the kernel sets its lists up they are all zeros.
            if node == head || (cursor.from == head && node.get() == 0) {
                return Ok(());
            }
            match self.area_at(mem, &cursor, strictness) {
                Ok(area) => {
                    cursor = area.behind;
                    areas.push(area.known);
                    stalls = 0;
                    continue;
                }
                Err(Odd::Failed(failure)) => return Err(failure.into()),
                Err(Odd::Area(behind)) if strictness == Strictness::DropOdd => {
                    dropped.add(node);
                    cursor = behind;
                    continue;
                }
                Err(Odd::Area(_) | Odd::List) => {}
            }
            // The list changed here. With many areas there is always a place that does, so that to start
            // over would never come to an end: go on from the last area that is still in the list.
            stalls = stalls.saturating_add(1);
            stalls_in_all = stalls_in_all.saturating_add(1);
            if stalls > MAX_STALLS || stalls_in_all > MAX_STALLS_IN_ALL {
                return Err(torn(node));
            }
            cursor = self.resume(mem, head, first, areas)?;
        }
        Err(LinuxError::TooMany {
            what: match dropped.count {
                MAX_DROPPED => "damaged vmap areas",
                _ => WHAT,
            },
            at: cursor.node,
            limit: dropped.count.max(areas.len()),
        })
    }

    /// The area at the cursor with its descriptor, and the cursor behind it.
    ///
    /// An entry that does not point back to the one before is in the middle of a change, and that may last:
    /// the CPU that makes it may itself not be running. Then the way forward is good all the same, as long
    /// as it leads up.
    fn area_at(
        &self,
        mem: &PhysMem,
        cursor: &Cursor,
        strictness: Strictness,
    ) -> Result<Found, Odd> {
        let at = self.area_of(cursor.node).ok_or(Odd::List)?;
        let record = self.read_area(mem, at).map_err(Odd::in_list)?;
        let record = record.ok_or(Odd::List)?;
        let ascends = record.range.start() >= cursor.last_end;
        let may_differ = strictness == Strictness::DropOdd && ascends;
        let points_back = record.prev == cursor.from || may_differ;
        if !points_back || record.next == cursor.node {
            return Err(Odd::List);
        }
        let mut behind = Cursor {
            from: cursor.node,
            node: record.next,
            last_end: cursor.last_end,
        };
        match self.complete(mem, at, record) {
            Ok(known) if ascends => {
                behind.last_end = record.range.end();
                Ok(Found { known, behind })
            }
            Err(LinuxError::Source(failure)) => Err(Odd::Failed(failure)),
            _ => Err(Odd::Area(behind)),
        }
    }

    /// A cursor behind the last of `areas[first..]` that is still in the list; those that are not are
    /// taken off.
    fn resume(
        &self,
        mem: &PhysMem,
        head: VirtAddr,
        first: usize,
        areas: &mut Vec<KnownArea>,
    ) -> Result<Cursor, LinuxError> {
        while let Some(last) = areas.last().filter(|_| areas.len() > first) {
            if let Some((record, node)) = self.read_linked(mem, last) {
                return Ok(Cursor {
                    from: node,
                    node: record.next,
                    last_end: record.range.end(),
                });
            }
            areas.pop();
        }
        Cursor::at_head(self, mem, head)
    }

    /// The `vmap_area` whose list entry is at `node`.
    fn area_of(&self, node: VirtAddr) -> Option<VirtAddr> {
        node.checked_sub(ByteLen::from_usize(self.layout.list))
    }

    /// Adds the descriptor, if the area is still the same after that was read.
    pub(super) fn complete(
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
    pub(super) fn read_area(
        &self,
        mem: &PhysMem,
        at: VirtAddr,
    ) -> Result<Option<AreaRecord>, LinuxError> {
        let mut bytes = [0_u8; MAX_RECORD_LEN];
        let bytes = bytes.get_mut(..self.layout.area_len).unwrap_or_default();
        self.linear.read(mem, at, bytes)?;
        Ok(self.layout.area(bytes))
    }

    #[inline]
    pub(super) fn read_descriptor(
        &self,
        mem: &PhysMem,
        at: VirtAddr,
    ) -> Result<DescriptorRecord, LinuxError> {
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

#[cfg(test)]
mod tests;
