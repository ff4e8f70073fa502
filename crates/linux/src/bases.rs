mod by_evidence;

use vread_addr::{ByteLen, PhysAddr, VirtAddr, VirtRange};

use crate::virt_mem::VirtMem;
use crate::{Kallsyms, LinuxError, PagingLevels, VmCoreInfo};

/// Where the image is linked: the start of the range that the kernel maps itself to on x86_64.
pub(crate) const START_KERNEL_MAP: VirtAddr = VirtAddr::new(0xffff_ffff_8000_0000);
/// Where the modules' range ends on x86_64.
pub(crate) const MODULES_END: VirtAddr = VirtAddr::new(0xffff_ffff_ff00_0000);
/// The CPU entry area; no movable region reaches it (G35).
const CPU_ENTRY_AREA: VirtAddr = VirtAddr::new(0xffff_fe00_0000_0000);
/// The size of an image's range where VMCOREINFO does not say (it does in every known release).
const KERNEL_IMAGE_SIZE: ByteLen = ByteLen::new(1 << 30);
/// The regions are aligned to what a top-but-two entry maps (E20).
const GIB: ByteLen = ByteLen::new(1 << 30);
const TIB: u64 = 1 << 40;

/// The regions of a kernel's address space that memory KASLR moves (x86_64, E19, E20, G35, G39). Fixed
/// for as long as the kernel runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bases {
    /// Where the direct map of physical memory begins (`page_offset_base`).
    pub direct_map: VirtAddr,
    /// Where vmalloc space begins (`vmalloc_base`).
    pub vmalloc: VirtAddr,
    /// Where the page descriptors begin (`vmemmap_base`): the one of frame 0.
    pub vmemmap: VirtAddr,
    /// How much address space vmalloc has.
    pub vmalloc_size: ByteLen,
}

impl Bases {
    /// Reads and checks the three variables.
    pub(crate) fn read(
        virt: VirtMem<'_>,
        info: &VmCoreInfo,
        kallsyms: &Kallsyms,
    ) -> Result<Self, LinuxError> {
        let levels = virt.table.levels();
        let variable = |name: &'static str, fixed: u64| {
            match kallsyms.find(name) {
                Some(addr) => virt.read_pointer(addr),
                // A build without a dynamic layout has neither the variables nor 5 levels (G35).
                None if levels == PagingLevels::Four => Ok(VirtAddr::new(fixed)),
                None => Err(LinuxError::NoSymbol { name }),
            }
        };
        Self::checked(
            levels,
            info,
            variable("page_offset_base", 0xffff_8880_0000_0000)?,
            variable("vmalloc_base", 0xffff_c900_0000_0000)?,
            variable("vmemmap_base", 0xffff_ea00_0000_0000)?,
        )
    }

    /// The bases, if they can be a kernel's.
    fn checked(
        levels: PagingLevels,
        info: &VmCoreInfo,
        direct_map: VirtAddr,
        vmalloc: VirtAddr,
        vmemmap: VirtAddr,
    ) -> Result<Self, LinuxError> {
        let bases = Self {
            direct_map,
            vmalloc,
            vmemmap,
            vmalloc_size: match levels {
                PagingLevels::Four => ByteLen::new(32 * TIB),
                PagingLevels::Five => ByteLen::new(12_800 * TIB),
            },
        };
        bases.check(levels, info)?;
        Ok(bases)
    }

    /// Where physical address `phys` lies in the direct map.
    #[must_use]
    pub fn direct_map_of(&self, phys: PhysAddr) -> Option<VirtAddr> {
        self.direct_map.checked_add(ByteLen::new(phys.get()))
    }

    /// The address of the last byte of vmalloc space: what the kernel calls `VMALLOC_END` (E14).
    #[must_use]
    pub fn vmalloc_last(&self) -> VirtAddr {
        // WRAP: checked on reading to lie below the CPU entry area.
        let end = self.vmalloc.wrapping_add(self.vmalloc_size);
        VirtAddr::new(end.get().wrapping_sub(1))
    }

    fn check(&self, levels: PagingLevels, info: &VmCoreInfo) -> Result<(), LinuxError> {
        let malformed = |at, why| LinuxError::Malformed {
            what: "the kernel's memory layout",
            at,
            why,
        };
        let all = [self.direct_map, self.vmalloc, self.vmemmap];
        for base in all {
            let aligned = base.get() & GIB.low_mask() == 0;
            if !aligned || !levels.is_canonical(base) || base >= CPU_ENTRY_AREA {
                return Err(malformed(base, "a base is not aligned or out of range"));
            }
        }
        if !all.is_sorted() || self.vmalloc.checked_add(self.vmalloc_size) > Some(self.vmemmap) {
            return Err(malformed(self.direct_map, "the regions are out of order"));
        }
        // G36, where VMCOREINFO has them.
        let said = [
            (
                info.number("VMALLOC_START").map(VirtAddr::new),
                self.vmalloc,
            ),
            (info.symbol("vmemmap"), self.vmemmap),
        ];
        for (said, base) in said {
            if said.is_some_and(|said| said != base) {
                return Err(malformed(
                    base,
                    "VMCOREINFO has another value for this base",
                ));
            }
        }
        Ok(())
    }
}

/// The range in which modules are loaded (E15).
pub(crate) fn modules_range(info: &VmCoreInfo) -> Option<VirtRange> {
    let size = info
        .number("KERNEL_IMAGE_SIZE")
        .map_or(KERNEL_IMAGE_SIZE, ByteLen::new);
    VirtRange::new(START_KERNEL_MAP.checked_add(size)?, MODULES_END)
}

/// Where `addr` of the kernel image lies in physical memory, by the formula (E21). `phys_base` may be
/// negative, which is why this wraps.
pub(crate) fn image_to_phys(addr: VirtAddr, phys_base: u64) -> PhysAddr {
    // WRAP: N11.
    let into = addr.wrapping_offset_from(START_KERNEL_MAP);
    PhysAddr::new(into.get().wrapping_add(phys_base))
}
