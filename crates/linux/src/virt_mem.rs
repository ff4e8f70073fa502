use vread_addr::{ByteLen, PhysAddr, VirtAddr};
use vread_physmem::{PhysMem, ReadError};
use vread_vmalloc::PageRun;

use crate::{LinuxError, PageTable};

/// A kernel's virtual memory, read through its own page table: for structures, where a byte that is
/// not there is an error and not a zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VirtMem<'m> {
    pub(crate) mem: &'m PhysMem,
    pub(crate) table: PageTable,
}

impl VirtMem<'_> {
    /// Fills `out` from `addr`.
    pub(crate) fn read(&self, addr: VirtAddr, out: &mut [u8]) -> Result<(), LinuxError> {
        let mut addr = addr;
        let mut rest = out;
        while !rest.is_empty() {
            let max = ByteLen::from_usize(rest.len());
            let (phys, len) = match self.table.translate_run(self.mem, addr, max)? {
                PageRun::Mapped { phys, len } => (phys, len),
                PageRun::Hole { .. } => return Err(LinuxError::NotMapped { addr }),
            };
            let step = len.to_usize_clamped().min(rest.len());
            let (part, after) = rest.split_at_mut(step);
            read_phys(self.mem, phys, part)?;
            rest = after;
            // WRAP: the end of a read that reaches the top of the address space, with nothing left.
            addr = addr.wrapping_add(len);
        }
        Ok(())
    }

    /// The `len` bytes at `addr`. `len` is bounded by the caller.
    pub(crate) fn read_vec(&self, addr: VirtAddr, len: usize) -> Result<Vec<u8>, LinuxError> {
        let mut bytes = vec![0; len];
        self.read(addr, &mut bytes)?;
        Ok(bytes)
    }

    /// The `N` bytes at `addr`.
    pub(crate) fn read_array<const N: usize>(&self, addr: VirtAddr) -> Result<[u8; N], LinuxError> {
        let mut bytes = [0; N];
        self.read(addr, &mut bytes)?;
        Ok(bytes)
    }

    /// The number at `addr`.
    pub(crate) fn read_u64(&self, addr: VirtAddr) -> Result<u64, LinuxError> {
        self.read_array(addr).map(u64::from_le_bytes)
    }

    /// The number at `addr`.
    pub(crate) fn read_u32(&self, addr: VirtAddr) -> Result<u32, LinuxError> {
        self.read_array(addr).map(u32::from_le_bytes)
    }

    /// The pointer at `addr`.
    pub(crate) fn read_pointer(&self, addr: VirtAddr) -> Result<VirtAddr, LinuxError> {
        self.read_u64(addr).map(VirtAddr::new)
    }

    /// The string at `addr` up to its NUL, or the first `limit` bytes of a longer one; also what can be
    /// read of one that runs into unmapped memory.
    pub(crate) fn read_string(&self, addr: VirtAddr, limit: usize) -> Result<Vec<u8>, LinuxError> {
        let mut string = Vec::new();
        while string.len() < limit {
            let at = ByteLen::from_usize(string.len());
            let Some(addr) = addr.checked_add(at) else {
                break;
            };
            // To the end of the page at most, so that a string just before a hole is read.
            let page_rest = 4096_usize.saturating_sub(addr.page_offset().to_usize_clamped());
            let mut piece = [0_u8; 64];
            let len = page_rest
                .min(piece.len())
                .min(limit.saturating_sub(string.len()));
            let piece = piece.get_mut(..len).unwrap_or_default();
            match self.read(addr, piece) {
                Err(_) if !string.is_empty() => break,
                result => result?,
            }
            let text = crate::fields::until_nul(piece);
            string.extend_from_slice(text);
            if text.len() < len {
                break;
            }
        }
        Ok(string)
    }
}

/// Fills `out` from physical memory, all of it.
pub(crate) fn read_phys(mem: &PhysMem, addr: PhysAddr, out: &mut [u8]) -> Result<(), LinuxError> {
    mem.read(addr, out).map_err(from_read_error)
}

pub(crate) fn from_read_error(error: ReadError) -> LinuxError {
    match error {
        ReadError::Failed { failure, .. } => LinuxError::Source(failure),
        ReadError::NotRam { addr } => LinuxError::NotRam { addr },
        // The enum may grow; what it then says is at least that this was not read.
        _ => LinuxError::Needs {
            what: "physical memory",
        },
    }
}
