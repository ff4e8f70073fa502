use std::sync::Arc;

use vread_addr::VirtRange;
use vread_vmalloc::VmapArea;

use super::Kernel;
use crate::LinuxError;
use crate::areas::{AreaReader, KnownArea, SortedAreas, lazily_freed};

impl Kernel {
    /// The busy areas as they are now, in the order of the kernel's own lists (G52): of each node one
    /// sorted list.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where areas cannot be read at all, or change at every try.
    pub fn walk_areas(&self) -> Result<Vec<KnownArea>, LinuxError> {
        self.need_areas()?.read_busy(self.virt())
    }

    /// The ranges of areas that were freed and wait for reuse, in the order of the kernel's own lists.
    ///
    /// # Errors
    ///
    /// As for [`walk_areas`](Self::walk_areas).
    pub fn lazily_freed_areas(&self) -> Result<Vec<VirtRange>, LinuxError> {
        let areas = lazily_freed(self.need_areas()?, self.virt())?;
        Ok(areas.iter().map(|known| known.area.range).collect())
    }

    /// Whether areas have type flags (V2, since 6.9): some rules depend on it.
    pub(super) fn areas_have_types(&self) -> bool {
        self.areas.as_ref().is_some_and(AreaReader::has_types)
    }

    /// What `known` is now, if it is still that area.
    pub(super) fn read_area_again(&self, known: &KnownArea) -> Option<VmapArea> {
        self.areas.as_ref()?.read_again(&self.mem, known)
    }

    /// Walks all areas and keeps them as the next hint.
    pub(super) fn refresh_hints(&self) -> Result<Arc<SortedAreas>, LinuxError> {
        let areas = self.need_areas()?.read_busy(self.virt())?;
        Ok(self.hints.replace(areas))
    }

    fn need_areas(&self) -> Result<&AreaReader, LinuxError> {
        self.areas.as_ref().ok_or(LinuxError::Needs {
            what: "the kernel's index of vmap areas",
        })
    }
}
