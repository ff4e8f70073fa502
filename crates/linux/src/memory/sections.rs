use vread_addr::{ByteLen, PAGE_SIZE, PhysAddr, VirtAddr};
use vread_physmem::PhysMem;

use crate::linear::LinearMap;
use crate::{LinuxError, VmCoreInfo};

/// Bit 2 of `section_mem_map`: the section is online (G56).
const SECTION_IS_ONLINE: u64 = 1 << 2;

/// The kernel's table of memory sections, in its "extreme" form: an array of pointers to pages of
/// `mem_section` (N12). It says which parts of RAM are online.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sections {
    roots: VirtAddr,
    root_count: u64,
    per_root: u64,
    record_len: ByteLen,
    /// Of `section_mem_map` in a record.
    map_at: ByteLen,
    shift: u32,
    /// The tables are made at boot or when memory is added, in the direct map or the image.
    linear: LinearMap,
}

impl Sections {
    pub(super) fn from_vmcoreinfo(
        info: &VmCoreInfo,
        linear: LinearMap,
    ) -> Result<Self, LinuxError> {
        let no_key = |key| LinuxError::NoKey { key };
        let record_len = info
            .size("mem_section")
            .filter(|len| !len.is_zero() && *len <= PAGE_SIZE)
            .ok_or(no_key("SIZE(mem_section)"))?;
        let per_root = PAGE_SIZE.get().checked_div(record_len.get());
        let shift = info
            .number("SECTION_SIZE_BITS")
            .and_then(|bits| u32::try_from(bits).ok())
            .filter(|bits| (12..48).contains(bits))
            .ok_or(no_key("NUMBER(SECTION_SIZE_BITS)"))?;
        Ok(Self {
            roots: info
                .symbol("mem_section")
                .ok_or(no_key("SYMBOL(mem_section)"))?,
            root_count: info
                .length("mem_section")
                .ok_or(no_key("LENGTH(mem_section)"))?,
            per_root: per_root.ok_or(no_key("SIZE(mem_section)"))?,
            map_at: info
                .offset("mem_section.section_mem_map")
                .ok_or(no_key("OFFSET(mem_section.section_mem_map)"))?,
            record_len,
            shift,
            linear,
        })
    }

    /// Whether the section that holds `phys` is online, and how many bytes it has from there on.
    pub(super) fn online(
        &self,
        mem: &PhysMem,
        phys: PhysAddr,
    ) -> Result<(bool, ByteLen), LinuxError> {
        let size = ByteLen::new(1_u64 << self.shift);
        let left = size.saturating_sub(ByteLen::new(phys.get() & size.low_mask()));
        match self.mem_map(mem, phys.get() >> self.shift) {
            Ok(map) => Ok((map & SECTION_IS_ONLINE != 0, left)),
            Err(LinuxError::Source(failure)) => Err(failure.into()),
            // No table, no section.
            Err(_) => Ok((false, left)),
        }
    }

    fn mem_map(&self, mem: &PhysMem, section: u64) -> Result<u64, LinuxError> {
        let missing = LinuxError::Needs {
            what: "a memory section",
        };
        let root = section.checked_div(self.per_root).unwrap_or(u64::MAX);
        let index = section.checked_rem(self.per_root).unwrap_or_default();
        if root >= self.root_count {
            return Err(missing);
        }
        let element = |base: VirtAddr, len: ByteLen, index: u64, into: ByteLen| {
            base.checked_add(len.checked_mul(index)?)?.checked_add(into)
        };
        let pointer = element(self.roots, ByteLen::new(8), root, ByteLen::ZERO);
        let records = self.linear.read_u64(mem, pointer.ok_or(missing.clone())?)?;
        let records = VirtAddr::new(records);
        let map = element(records, self.record_len, index, self.map_at);
        self.linear.read_u64(mem, map.ok_or(missing)?)
    }
}
