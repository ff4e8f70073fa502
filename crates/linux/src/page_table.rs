use vread_addr::{ByteLen, PAGE_SIZE, PhysAddr, VirtAddr};
use vread_iov_iter::SourceFailure;
use vread_physmem::{Loads, PhysMem, ReadError};
use vread_vmalloc::PageRun;

/// How many entries one call may look at to make its run longer. Beyond it the run ends early, which
/// costs the caller a walk and nothing else; a forged table cannot keep us busy (G7).
const MAX_EXTENSIONS: u32 = 4096;
/// Bit 0: the entry is present.
const PRESENT: u64 = 1;
/// Bit 7: at the 1 GiB and 2 MiB levels, a leaf.
const LEAF: u64 = 1 << 7;
/// How far the last level's tables shift an address.
const LAST_SHIFT: u32 = 12;
/// Bits 12 to 51.
const ADDRESS_BITS: u64 = 0x000f_ffff_ffff_f000;

/// A kernel's top page table on x86_64, and how to read it (G1 to G6).
///
/// Holds no translation: each one is walked anew, since vmalloc space moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageTable {
    root: PhysAddr,
    levels: PagingLevels,
    /// [`ADDRESS_BITS`] without the memory encryption bit.
    address_bits: u64,
}

/// How many levels of tables there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PagingLevels {
    /// 48-bit addresses.
    Four,
    /// 57-bit addresses.
    Five,
}

/// What a walk for one address found.
enum Walked {
    /// The leaf that covers the address: where it points, and the bytes that it maps.
    Leaf { frame: PhysAddr, size: ByteLen },
    /// An entry that leads nowhere: nothing is mapped in the bytes that it stands for.
    Empty { size: ByteLen },
}

/// Tables of the last level, by the 2 MiB that each maps. They come and go with what they map: whoever keeps them has
/// to know that this was there all the while.
#[derive(Debug)]
pub(crate) struct LastTables([(u64, PhysAddr); Self::SLOTS]);

impl LastTables {
    const SLOTS: usize = 64;

    /// Which slot is for the 2 MiB with this number. Multiplied by 2^64 through the golden ratio, numbers that differ in
    /// a few bits come out far from each other: vmalloc space and that of modules may begin alike.
    #[inline]
    fn slot(region: u64) -> usize {
        let spread = region.wrapping_mul(0x9e37_79b9_7f4a_7c15); // WRAP: a hash.
        usize::try_from(spread >> 58).unwrap_or_default()
    }
}

impl Default for LastTables {
    fn default() -> Self {
        // No address has this many 2 MiB below it.
        Self([(u64::MAX, PhysAddr::default()); Self::SLOTS])
    }
}

/// An entry that cannot be had by a mere load.
struct NotByLoads;

#[inline]
fn read_entry(mem: &PhysMem, at: PhysAddr) -> Result<Option<u64>, SourceFailure> {
    match mem.read_u64(at) {
        Ok(entry) => Ok(Some(entry)),
        Err(ReadError::Failed { failure, .. }) => Err(failure),
        Err(_) => Ok(None),
    }
}

impl PagingLevels {
    /// The bits of an address that are translated.
    #[must_use]
    pub fn address_bits(self) -> u32 {
        match self {
            Self::Four => 48,
            Self::Five => 57,
        }
    }

    /// Whether `addr` is one that user space has: in the lower half.
    #[must_use]
    pub fn is_user(self, addr: VirtAddr) -> bool {
        let half_bits = self.address_bits().saturating_sub(1);
        addr.get() >> half_bits == 0
    }

    /// The shift of the top level's index.
    fn top_shift(self) -> u32 {
        match self {
            Self::Four => 39,
            Self::Five => 48,
        }
    }

    /// Whether the untranslated bits of `addr` repeat the highest translated one.
    #[must_use]
    pub fn is_canonical(self, addr: VirtAddr) -> bool {
        let spare = 64_u32.saturating_sub(self.address_bits());
        let signed = addr.get().cast_signed();
        signed << spare >> spare == signed
    }
}

impl PageTable {
    /// The table whose root lies at `root`. `encryption_mask` is VMCOREINFO's `sme_mask`, the bit that
    /// marks encrypted memory and is no part of an address.
    #[must_use]
    pub fn new(root: PhysAddr, levels: PagingLevels, encryption_mask: u64) -> Self {
        Self {
            root: root.page_start(),
            levels,
            address_bits: ADDRESS_BITS & !encryption_mask,
        }
    }

    /// The table of another address space on the same machine, whose root lies at `root`.
    pub(crate) fn with_root(self, root: PhysAddr) -> Self {
        Self {
            root: root.page_start(),
            ..self
        }
    }

    /// Where the top table lies.
    #[must_use]
    pub fn root(&self) -> PhysAddr {
        self.root
    }

    /// How many levels there are.
    #[must_use]
    pub fn levels(&self) -> PagingLevels {
        self.levels
    }

    /// Where `addr` lies in physical memory, or `None` if it is not mapped.
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where memory as a whole can no longer be read.
    pub fn translate(
        &self,
        mem: &PhysMem,
        addr: VirtAddr,
    ) -> Result<Option<PhysAddr>, SourceFailure> {
        Ok(match self.translate_run(mem, addr, ByteLen::new(1))? {
            PageRun::Mapped { phys, .. } => Some(phys),
            PageRun::Hole { .. } => None,
        })
    }

    /// What is mapped at `addr`: up to `max` bytes (taken as at least 1) that lie one after another in
    /// physical memory, or for how many bytes nothing is mapped. The run may end early, but never
    /// empty.
    ///
    /// A present entry that cannot be right (a leaf where none may be, reserved bits, a table outside
    /// RAM) is a hole (G3, G73). Whether a *leaf* points to RAM is not asked here: reading it gives zeros
    /// if not.
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where memory as a whole can no longer be read.
    pub fn translate_run(
        &self,
        mem: &PhysMem,
        addr: VirtAddr,
        max: ByteLen,
    ) -> Result<PageRun, SourceFailure> {
        let max = max.max(ByteLen::new(1)).min(addr.bytes_to_top());
        let (first, mut len) = self.step(mem, addr)?;
        let mut extensions = 0_u32;
        while len < max && extensions < MAX_EXTENSIONS {
            extensions = extensions.saturating_add(1);
            let Some(next) = addr.checked_add(len) else {
                break;
            };
            let (step, step_len) = self.step(mem, next)?;
            let follows_on = match (first, step) {
                (Some(phys), Some(next)) => phys.checked_add(len) == Some(next),
                (None, None) => true,
                _ => false,
            };
            if !follows_on {
                break;
            }
            len = len.saturating_add(step_len);
        }
        let len = len.min(max);
        Ok(match first {
            Some(phys) => PageRun::Mapped { phys, len },
            None => PageRun::Hole { len },
        })
    }

    /// One walk: where `addr` lies, and for how many bytes the entry that says so holds.
    #[inline]
    fn step(
        &self,
        mem: &PhysMem,
        addr: VirtAddr,
    ) -> Result<(Option<PhysAddr>, ByteLen), SourceFailure> {
        if !self.levels.is_canonical(addr) {
            // The gap ends where the upper half begins; above it all addresses are canonical.
            let half = 1_u64 << self.levels.address_bits().saturating_sub(1);
            let upper = VirtAddr::new(0_u64.wrapping_sub(half));
            let len = upper.checked_offset_from(addr).unwrap_or(PAGE_SIZE);
            return Ok((None, len));
        }
        let (phys, size) = match self.walk(addr, |at, _shift| read_entry(mem, at))? {
            Walked::Leaf { frame, size } => {
                let into = ByteLen::new(addr.get() & size.low_mask());
                (frame.checked_add(into), size)
            }
            Walked::Empty { size } => (None, size),
        };
        let into = ByteLen::new(addr.get() & size.low_mask());
        Ok((phys, size.saturating_sub(into)))
    }

    /// Where `addr` lies, if that takes no more than a load for each level; `None` says nothing about it.
    #[inline]
    pub(crate) fn translate_by_loads(&self, loads: &Loads<'_>, addr: VirtAddr) -> Option<PhysAddr> {
        if !self.levels.is_canonical(addr) {
            return None;
        }
        let entry = |at, _shift| match loads.u64_at(at) {
            Some(entry) => Ok(Some(entry)),
            None => Err(NotByLoads),
        };
        match self.walk(addr, entry).ok()? {
            Walked::Leaf { frame, size } => {
                frame.checked_add(ByteLen::new(addr.get() & size.low_mask()))
            }
            Walked::Empty { .. } => None,
        }
    }

    /// Where the entry of the last level for `addr` lies, if that takes no more than loads. It is not looked at.
    #[inline]
    pub(crate) fn last_entry_by_loads(
        &self,
        loads: &Loads<'_>,
        tables: &mut LastTables,
        addr: VirtAddr,
    ) -> Option<PhysAddr> {
        let region = addr.get() >> 21;
        let slot = tables.0.get_mut(LastTables::slot(region))?;
        if slot.0 != region {
            *slot = (region, self.last_table_by_loads(loads, addr)?);
        }
        let index = addr.get() >> 12 & 0x1ff;
        Some(PhysAddr::new(slot.1.get() | index << 3))
    }

    fn last_table_by_loads(&self, loads: &Loads<'_>, addr: VirtAddr) -> Option<PhysAddr> {
        if !self.levels.is_canonical(addr) {
            return None;
        }
        // Ends the walk in front of the last level's entry, with where it lies.
        let entry = |at, shift| match shift {
            LAST_SHIFT => Err(Some(at)),
            _ => loads.u64_at(at).map(Some).ok_or(None),
        };
        self.walk(addr, entry).err()?.map(PhysAddr::page_start)
    }

    /// Where `addr` lies, whose entry of the last level lies at `entry`.
    #[inline]
    pub(crate) fn page_by_loads(
        &self,
        loads: &Loads<'_>,
        entry: PhysAddr,
        addr: VirtAddr,
    ) -> Option<PhysAddr> {
        let entry = loads.u64_at(entry)?;
        let mapped = entry & PRESENT != 0;
        mapped.then(|| PhysAddr::new(entry & self.address_bits | addr.page_offset().get()))
    }

    /// `entry` reads an entry of a table, of whose level it is told by how far it shifts an address; one that is not in
    /// RAM is `None`.
    #[inline]
    fn walk<E>(
        &self,
        addr: VirtAddr,
        entry: impl Fn(PhysAddr, u32) -> Result<Option<u64>, E>,
    ) -> Result<Walked, E> {
        let mut table = self.root;
        let mut shift = self.levels.top_shift();
        // At most five turns: the shift falls by 9 each time.
        loop {
            let size = ByteLen::new(1_u64 << shift);
            let empty = Ok(Walked::Empty { size });
            let index = addr.get() >> shift & 0x1ff;
            // A table is a whole page.
            let at = PhysAddr::new(table.get() | index << 3);
            let Some(entry) = entry(at, shift)? else {
                return empty;
            };
            if entry & PRESENT == 0 {
                return empty;
            }
            let target = entry & self.address_bits;
            if shift == LAST_SHIFT {
                let frame = PhysAddr::new(target);
                return Ok(Walked::Leaf { frame, size });
            }
            if entry & LEAF != 0 {
                // Bit 12 of a big leaf is a memory type; the bits from there to its size are reserved.
                let reserved = target & size.low_mask() & !(1 << 12);
                let may_be_leaf = matches!(shift, 21 | 30);
                if !may_be_leaf || reserved != 0 {
                    return empty;
                }
                let frame = PhysAddr::new(target & !size.low_mask());
                return Ok(Walked::Leaf { frame, size });
            }
            table = PhysAddr::new(target);
            shift = shift.saturating_sub(9);
        }
    }
}

#[cfg(test)]
mod tests;
