use vread_addr::{ByteLen, PhysAddr, VirtAddr};
use vread_vmalloc::PageRun;

use super::Kernel;
use crate::LinuxError;

/// The most CPUs looked at: more than any kernel of Debian's is built for (`NR_CPUS`, 8192 on x86_64).
const MAX_CPUS: u32 = 1 << 14;

impl Kernel {
    /// The number of the CPU that has each of the global descriptor tables at `tables`; none for a table
    /// that is not Linux's, as in a processor that the kernel has not started.
    ///
    /// A virtual machine counts its processors as it likes. This table, unlike the base of GS, is there
    /// in user mode too: each CPU's lies in its own `gdt_page`, to which the register points through a
    /// second, read-only mapping.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where symbols are missing or the kernel's offsets of its CPUs cannot be read.
    pub fn cpus_of_descriptor_tables(
        &self,
        tables: &[VirtAddr],
    ) -> Result<Vec<Option<u32>>, LinuxError> {
        let page = self.need_symbol("gdt_page")?;
        let offsets = self.need_symbol("__per_cpu_offset")?;
        let count = self.virt().read_u32(self.need_symbol("nr_cpu_ids")?)?;
        let wanted: Vec<Option<PhysAddr>> = tables
            .iter()
            .map(|table| self.phys_of(*table))
            .collect::<Result<_, _>>()?;
        let mut found = vec![None; tables.len()];
        for cpu in 0..count.min(MAX_CPUS) {
            let at = offsets.checked_add(ByteLen::new(u64::from(cpu).saturating_mul(8)));
            let offset = self.virt().read_u64(at.ok_or(LinuxError::Malformed {
                what: "the offsets of the CPUs' variables",
                at: offsets,
                why: "they run over the end of the address space",
            })?)?;
            // WRAP: the offset is signed.
            let own = self.phys_of(page.wrapping_add(ByteLen::new(offset)))?;
            if own.is_none() {
                continue;
            }
            for (found, wanted) in found.iter_mut().zip(&wanted) {
                if *wanted == own && found.is_none() {
                    *found = Some(cpu);
                }
            }
        }
        Ok(found)
    }

    fn phys_of(&self, addr: VirtAddr) -> Result<Option<PhysAddr>, LinuxError> {
        match self.translate_run(addr, ByteLen::new(1))? {
            PageRun::Mapped { phys, .. } => Ok(Some(phys)),
            PageRun::Hole { .. } => Ok(None),
        }
    }
}
