use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use lock_api::{ArcRwLockReadGuard, RawRwLock, RwLock};
use vread_addr::{Pfn, VirtAddr};

use super::ArenaError;
use super::block::Block;
use crate::{VmFlags, VmapArea, VmapAreaFlags};

/// An area and its lock, which readers hold while they copy from it.
pub(super) type Shared<R> = Arc<RwLock<R, AreaState>>;

/// An area of the arena, with what it takes to free it.
#[derive(Debug)]
pub(super) struct AreaState {
    pub(super) area: VmapArea,
    pub(super) kind: AreaKind,
    /// The frames that go back to the provider with the area, lowest address first.
    pub(super) frames: Vec<Pfn>,
    /// How a block is subdivided.
    pub(super) block: Option<Block>,
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
}

impl AreaState {
    /// Whether the area is neither set up yet nor still there (V3, V9).
    pub(super) fn in_transition(&self) -> bool {
        match &self.area.vm {
            Some(vm) => vm.flags.contains(VmFlags::UNINITIALIZED),
            None => self.area.flags.is_empty(),
        }
    }

    /// That `call` may handle this area, of which `addr` is the start.
    pub(super) fn check(
        &self,
        addr: VirtAddr,
        kind: AreaKind,
        call: &'static str,
    ) -> Result<(), ArenaError> {
        if self.in_transition() {
            return Err(ArenaError::NotAnArea { addr });
        }
        if self.kind != kind {
            let made_by = self.kind.made_by();
            return Err(ArenaError::WrongKind {
                addr,
                made_by,
                call,
            });
        }
        Ok(())
    }

    /// Takes the area from its readers, present and to come: to them it is in transition, and counts
    /// as a hole (V3, R7). The frames are the caller's now.
    pub(super) fn retire(&mut self) -> Vec<Pfn> {
        self.area.vm = None;
        self.area.flags = VmapAreaFlags::empty();
        core::mem::take(&mut self.frames)
    }
}

/// An area that cannot be changed or freed for as long as this value lives.
pub struct AreaGuard<R: RawRwLock>(ArcRwLockReadGuard<R, AreaState>);

impl<R: RawRwLock> AreaGuard<R> {
    pub(super) fn lock(area: &Shared<R>) -> Self {
        Self(area.read_arc())
    }
}

impl<R: RawRwLock> Deref for AreaGuard<R> {
    type Target = VmapArea;

    fn deref(&self) -> &VmapArea {
        &self.0.area
    }
}

impl<R: RawRwLock> fmt::Debug for AreaGuard<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AreaGuard").field(&**self).finish()
    }
}
