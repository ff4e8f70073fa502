//! Whether an area is still what it was when the lists were last walked.

use vread_addr::{ByteLen, VirtAddr};
use vread_physmem::{Loads, PhysMem};
use vread_vmalloc::{VmapArea, VmapAreaFlags};

use super::layout::AreaRecord;
use super::{AreaLayout, AreaReader, KnownArea};

impl AreaReader {
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
        let (record, _) = self.read_linked(mem, known)?;
        Some(VmapArea {
            range: record.range,
            flags: record.flags,
            vm: descriptor.map(|descriptor| descriptor.vm),
        })
    }

    /// Whether `known` is still that area and in a list, and says of itself what it did, as far as a reader
    /// of its content must know ([`VmapArea::content`]). `false` too where that takes more than loads.
    ///
    /// In the order of [`read_again`](Self::read_again).
    #[inline]
    pub(crate) fn is_unchanged(&self, loads: &Loads<'_>, known: &KnownArea) -> bool {
        self.is_same(loads, known).unwrap_or(false)
    }

    #[inline]
    fn is_same(&self, loads: &Loads<'_>, known: &KnownArea) -> Option<bool> {
        let layout = &self.layout;
        if let (Some(at), Some(vm)) = (known.vm_at, &known.area.vm) {
            let record = loads.record(self.linear.to_phys(at)?, layout.vm_len)?;
            // A number of 4 bytes is one half of a word.
            let half = layout.nr_pages % 8;
            let nr_pages = record.u64_at(layout.nr_pages.checked_sub(half)?)?;
            let nr_pages = match (layout.nr_pages_len, half) {
                (4, 0) => nr_pages & u64::from(u32::MAX),
                (4, 4) => nr_pages >> 32,
                (8, 0) => nr_pages,
                _ => return None,
            };
            let same = record.u64_at(layout.vm_size)? == vm.size.get()
                && record.u64_at(layout.vm_flags)? == vm.flags.bits()
                && nr_pages == vm.nr_pages.get();
            if !same {
                return Some(false);
            }
        }
        let record = loads.record(self.linear.to_phys(known.at)?, layout.area_len)?;
        let word = |offset| record.u64_at(offset);
        let range = known.area.range;
        let vm = known.vm_at.unwrap_or(VirtAddr::new(0));
        if word(layout.va_start)? != range.start().get() || word(layout.vm?)? != vm.get() {
            return Some(false);
        }
        // Where there is a descriptor, its size says where the area ends, and its flags what it is.
        if known.vm_at.is_none() || !known.area.flags.is_empty() {
            let flags = match layout.flags {
                Some(flags) => AreaLayout::type_flags(word(flags)?),
                None => VmapAreaFlags::empty(),
            };
            if word(layout.va_end)? != range.end().get() || flags != known.area.flags {
                return Some(false);
            }
        }
        // WRAP: an entry of an area that a walk of the lists has found.
        let node = known.at.wrapping_add(ByteLen::from_usize(layout.list));
        let prev = VirtAddr::new(word(layout.list.wrapping_add(8))?);
        Some(prev != node && loads.u64_at(self.linear.to_phys(prev)?)? == node.get())
    }

    /// The record of `known`, if it is still that area and in a list, and where its list entry is.
    #[inline]
    pub(super) fn read_linked(
        &self,
        mem: &PhysMem,
        known: &KnownArea,
    ) -> Option<(AreaRecord, VirtAddr)> {
        let record = self.read_area(mem, known.at).ok()??;
        let list = ByteLen::from_usize(self.layout.list);
        let node = known.at.checked_add(list)?;
        let same = record.range == known.area.range
            && record.vm == known.vm_at
            && record.prev != node
            && self.linear.read_pointer(mem, record.prev) == Some(node);
        same.then_some((record, node))
    }
}
