use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use lock_api::{RawRwLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use vread_addr::{ByteLen, PageCount, Pfn, PhysAddr, VirtAddr, VirtRange};

use super::ArenaError;
use super::block::Block;
use super::frames::PMD_PAGES;
use crate::{VmFlags, VmStruct, VmapArea, VmapAreaFlags};

/// The place of an area that starts at a certain page, and its lock, which readers hold while they copy.
///
/// All that a reader asks of an area is in these 32 bytes, so that a search among a million areas waits
/// for one line of memory.
#[repr(align(32))]
pub(super) struct Slot<R>(RwLock<R, Option<AreaState>>);

impl<R: RawRwLock> Slot<R> {
    pub(super) fn vacant() -> Self {
        Self(RwLock::new(None))
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, R, Option<AreaState>> {
        self.0.read()
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, R, Option<AreaState>> {
        self.0.write()
    }

    /// Shows an area that is made to its readers.
    pub(super) fn publish(&self, owns: Owns) {
        if let Some(area) = self.0.write().as_mut() {
            area.nr_pages = owns.nr_pages();
            area.is_huge = matches!(&owns, Owns::Frames(frames) if frames.are_huge);
            area.owns = match owns {
                Owns::Nothing => None,
                owns => Some(Box::new(owns)),
            };
            area.stage = Stage::Ready;
        }
    }

    /// Holds the area, which starts at `start`, for a reader; `None` where none is that ends above
    /// `above`, or none is there yet (V3).
    #[inline]
    pub(super) fn hold(&self, start: VirtAddr, above: VirtAddr) -> Option<AreaGuard<'_, R>> {
        let held = self.0.read();
        let Some(area) = &*held else { return None };
        let range = area.range(start)?;
        if area.stage != Stage::Ready || range.end() <= above {
            return None;
        }
        Some(AreaGuard {
            area: area.vmap_area(range),
            _held: held,
        })
    }
}

/// An area of the arena, with what it takes to free it. Where it starts is known to whoever finds it.
#[derive(Debug)]
pub(super) struct AreaState {
    /// With the guard page.
    pub(super) len: ByteLen,
    pub(super) kind: AreaKind,
    pub(super) stage: Stage,
    /// The pages that the allocation owns.
    nr_pages: u32,
    /// Whether they are huge ones, all of them.
    is_huge: bool,
    owns: Option<Box<Owns>>,
}

/// Whether an area can be read and freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Listed, and not yet mapped (V9).
    Setup,
    Ready,
}

/// Who made an area, and so who may free it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AreaKind {
    Vmalloc,
    Vmap,
    Ioremap,
    Sparse,
    Ram,
    Block,
}

/// What an area has beside its range.
#[derive(Debug)]
pub(super) enum Owns {
    Nothing,
    /// The frames that go back to the provider with the area, lowest address first.
    Frames(Frames),
    /// Where a device window points.
    Device(PhysAddr),
    /// How a block is subdivided.
    Block(Block),
}

/// The frames of an allocation: fewer than 2^32, as in Linux up to 6.12 (V4).
#[derive(Debug, Default)]
pub(super) struct Frames {
    list: Vec<Pfn>,
    /// Each [`PMD_PAGES`] of them make one huge page.
    are_huge: bool,
}

impl Frames {
    /// Room for `count` frames; `None` where there can be no so many.
    pub(super) fn with_capacity(count: PageCount) -> Option<Self> {
        let room = usize::try_from(count.get()).ok();
        let room = room.filter(|_room| Self::can_be(count))?;
        let mut list = Vec::new();
        let reserved = list.try_reserve_exact(room);
        let are_huge = false;
        reserved.ok().map(|()| Self { list, are_huge })
    }

    pub(super) fn can_be(count: PageCount) -> bool {
        u32::try_from(count.get()).is_ok()
    }

    pub(super) fn push(&mut self, frame: Pfn) {
        self.list.push(frame);
    }

    /// The [`PMD_PAGES`] from `first` on, which are one huge page. There are no small ones beside it.
    pub(super) fn push_huge(&mut self, first: Pfn) {
        self.are_huge = true;
        // WRAP: frames that the provider has.
        let all = (0..PMD_PAGES).map(|n| Pfn::new(first.get().wrapping_add(n)));
        self.list.extend(all);
    }

    pub(super) fn get(&self) -> &[Pfn] {
        &self.list
    }

    /// These, and `behind` behind them, all as small pages.
    pub(super) fn and(mut self, behind: Self) -> Self {
        self.list.extend(behind.list);
        self.are_huge = false;
        self
    }

    pub(super) fn count(&self) -> PageCount {
        PageCount::new(ByteLen::from_usize(self.list.len()).get())
    }
}

impl IntoIterator for Frames {
    type Item = Pfn;
    type IntoIter = alloc::vec::IntoIter<Pfn>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl AreaKind {
    fn made_by(self) -> &'static str {
        match self {
            Self::Vmalloc => "vmalloc",
            Self::Vmap => "vmap",
            Self::Ioremap => "ioremap",
            Self::Sparse => "get_vm_area_sparse",
            Self::Ram | Self::Block => "vm_map_ram",
        }
    }

    /// The flags of the descriptor, for kinds that have one (V5).
    #[inline]
    fn vm_flags(self) -> Option<VmFlags> {
        match self {
            Self::Vmalloc => Some(VmFlags::ALLOC),
            Self::Vmap => Some(VmFlags::MAP),
            Self::Ioremap => Some(VmFlags::IOREMAP),
            Self::Sparse => Some(VmFlags::SPARSE),
            Self::Ram | Self::Block => None,
        }
    }

    #[inline]
    fn area_flags(self) -> VmapAreaFlags {
        match self {
            Self::Ram => VmapAreaFlags::RAM,
            Self::Block => VmapAreaFlags::RAM | VmapAreaFlags::BLOCK,
            Self::Vmalloc | Self::Vmap | Self::Ioremap | Self::Sparse => VmapAreaFlags::empty(),
        }
    }
}

impl AreaState {
    /// An area in the making.
    pub(super) fn setup(len: ByteLen, kind: AreaKind) -> Self {
        Self {
            len,
            kind,
            stage: Stage::Setup,
            nr_pages: 0,
            is_huge: false,
            owns: None,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// The addresses of the area that starts at `start`.
    pub(super) fn range(&self, start: VirtAddr) -> Option<VirtRange> {
        VirtRange::from_len(start, self.len)
    }

    /// The area, whose addresses are `range`, as everybody may see it.
    #[inline]
    pub(super) fn vmap_area(&self, range: VirtRange) -> VmapArea {
        let (flags, unfinished) = match self.stage {
            Stage::Setup => (VmapAreaFlags::empty(), VmFlags::UNINITIALIZED),
            Stage::Ready => (self.kind.area_flags(), VmFlags::empty()),
        };
        let huge = match self.is_huge {
            true => VmFlags::ALLOW_HUGE_VMAP,
            false => VmFlags::empty(),
        };
        let phys_addr = match (self.kind, self.owns.as_deref()) {
            (AreaKind::Ioremap, Some(Owns::Device(phys))) => *phys,
            _ => PhysAddr::default(),
        };
        VmapArea {
            range,
            flags,
            vm: self.kind.vm_flags().map(|flags| VmStruct {
                size: self.len,
                flags: flags | unfinished | huge,
                nr_pages: self.nr_pages(),
                phys_addr,
                caller: VirtAddr::default(),
            }),
        }
    }

    pub(super) fn is_huge(&self) -> bool {
        self.is_huge
    }

    pub(super) fn nr_pages(&self) -> PageCount {
        PageCount::new(self.nr_pages.into())
    }

    pub(super) fn frames(&self) -> &[Pfn] {
        match self.owns.as_deref() {
            Some(Owns::Frames(frames)) => frames.get(),
            _ => &[],
        }
    }

    pub(super) fn block(&mut self) -> Option<&mut Block> {
        match self.owns.as_deref_mut() {
            Some(Owns::Block(block)) => Some(block),
            _ => None,
        }
    }

    /// Cuts the frames from `keep` on off.
    pub(super) fn cut(&mut self, keep: usize) -> Frames {
        let tail = match self.owns.as_deref_mut() {
            Some(Owns::Frames(frames)) if keep < frames.list.len() => Frames {
                list: frames.list.split_off(keep),
                are_huge: false,
            },
            _ => Frames::default(),
        };
        self.nr_pages = self.owns.as_deref().map_or(0, Owns::nr_pages);
        tail
    }

    /// The frames of an area that is no more: they are the caller's now.
    pub(super) fn into_frames(self) -> Frames {
        match self.owns.map(|owns| *owns) {
            Some(Owns::Frames(frames)) => frames,
            _ => Frames::default(),
        }
    }
}

impl Owns {
    fn nr_pages(&self) -> u32 {
        match self {
            // `can_be` was asked.
            Self::Frames(frames) => u32::try_from(frames.count().get()).unwrap_or(u32::MAX),
            _ => 0,
        }
    }
}

/// The area in a slot, which starts at `addr`, if `call` may handle it.
pub(super) fn check<'s>(
    slot: &'s Option<AreaState>,
    addr: VirtAddr,
    kind: AreaKind,
    call: &'static str,
) -> Result<&'s AreaState, ArenaError> {
    let area = slot.as_ref().filter(|area| area.is_ready());
    let area = area.ok_or(ArenaError::NotAnArea { addr })?;
    if area.kind != kind {
        let made_by = area.kind.made_by();
        return Err(ArenaError::WrongKind {
            addr,
            made_by,
            call,
        });
    }
    Ok(area)
}

/// The same, to change the area.
pub(super) fn check_mut<'s>(
    slot: &'s mut Option<AreaState>,
    addr: VirtAddr,
    kind: AreaKind,
    call: &'static str,
) -> Result<&'s mut AreaState, ArenaError> {
    check(slot, addr, kind, call)?;
    slot.as_mut().ok_or(ArenaError::NotAnArea { addr })
}

/// An area that cannot be changed or freed for as long as this value lives.
pub struct AreaGuard<'a, R: RawRwLock> {
    area: VmapArea,
    _held: RwLockReadGuard<'a, R, Option<AreaState>>,
}

impl<R: RawRwLock> Deref for AreaGuard<'_, R> {
    type Target = VmapArea;

    fn deref(&self) -> &VmapArea {
        &self.area
    }
}

impl<R: RawRwLock> fmt::Debug for AreaGuard<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AreaGuard").field(&self.area).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_slots_share_a_cache_line() {
        assert_eq!(size_of::<Slot<spin::RwLock<()>>>(), 32);
    }
}
