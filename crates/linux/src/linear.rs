use vread_addr::{PhysAddr, VirtAddr, VirtRange};
use vread_physmem::PhysMem;

use crate::bases::image_to_phys;
use crate::virt_mem::{from_read_error, read_phys};
use crate::{Bases, LinuxError};

/// The kernel's own formulas for where its objects lie (E21): the direct map and the image, which do
/// not move. A page-table walk gives the same and costs more.
///
/// Only for structures of the kernel's own, which it never takes out of these maps; never for what a
/// reader asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinearMap {
    direct_map: VirtRange,
    image: VirtRange,
    phys_base: u64,
}

impl LinearMap {
    pub(crate) fn new(bases: &Bases, image: VirtRange, phys_base: u64) -> Option<Self> {
        Some(Self {
            direct_map: VirtRange::new(bases.direct_map, bases.vmalloc)?,
            image,
            phys_base,
        })
    }

    /// Where `addr` lies, whether or not there is RAM.
    #[inline]
    pub(crate) fn to_phys(self, addr: VirtAddr) -> Option<PhysAddr> {
        if self.direct_map.contains(addr) {
            let into = addr.checked_offset_from(self.direct_map.start())?;
            return Some(PhysAddr::new(into.get()));
        }
        self.image
            .contains(addr)
            .then(|| image_to_phys(addr, self.phys_base))
    }

    /// Fills `out` from `addr`.
    pub(crate) fn read(
        self,
        mem: &PhysMem,
        addr: VirtAddr,
        out: &mut [u8],
    ) -> Result<(), LinuxError> {
        let phys = self.to_phys(addr).ok_or(LinuxError::NotMapped { addr })?;
        read_phys(mem, phys, out)
    }

    /// The number at `addr`.
    pub(crate) fn read_u64(self, mem: &PhysMem, addr: VirtAddr) -> Result<u64, LinuxError> {
        let phys = self.to_phys(addr).ok_or(LinuxError::NotMapped { addr })?;
        mem.read_u64(phys).map_err(from_read_error)
    }

    /// The pointer at `addr`.
    pub(crate) fn read_pointer(self, mem: &PhysMem, addr: VirtAddr) -> Option<VirtAddr> {
        mem.read_u64(self.to_phys(addr)?).ok().map(VirtAddr::new)
    }
}
