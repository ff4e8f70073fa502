//! The image's bytes, read where the kernel's page table maps them.

use vread_addr::{ByteLen, VirtAddr};
use vread_iov_iter::SourceFailure;
use vread_linux::Kernel;
use vread_physmem::ReadError;
use vread_vmalloc::PageRun;

/// Fills `out` from `addr`; what is not there is zeros, which are counted.
pub(crate) fn fill(
    kernel: &Kernel,
    addr: VirtAddr,
    out: &mut [u8],
) -> Result<ByteLen, SourceFailure> {
    let (mut addr, mut rest) = (addr, out);
    let mut zeroed = ByteLen::ZERO;
    while !rest.is_empty() {
        let run = kernel.translate_run(addr, ByteLen::from_usize(rest.len()))?;
        let len = match run {
            PageRun::Mapped { len, .. } | PageRun::Hole { len } => len,
        };
        let (part, after) = rest.split_at_mut(len.to_usize_clamped().clamp(1, rest.len()));
        let read = match run {
            PageRun::Mapped { phys, .. } => kernel.phys_mem().read(phys, part),
            PageRun::Hole { .. } => Ok(()),
        };
        match read {
            Ok(()) if matches!(run, PageRun::Mapped { .. }) => {}
            Err(ReadError::Failed { failure, .. }) => return Err(failure),
            _ => {
                part.fill(0);
                zeroed = zeroed.saturating_add(ByteLen::from_usize(part.len()));
            }
        }
        // WRAP: the end of a read that reaches the top of the address space, with nothing left.
        addr = addr.wrapping_add(ByteLen::from_usize(part.len()));
        rest = after;
    }
    Ok(zeroed)
}
