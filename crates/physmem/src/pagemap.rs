use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use vread_addr::{ByteLen, PAGE_SHIFT, VirtAddr};
use vread_iov_iter::SourceFailure;

use crate::backing_file;

/// `/proc/PID/pagemap`, for a stretch of a process's memory. It belongs to the address space that it was
/// opened for, not to the process's number.
#[derive(Debug)]
pub(crate) struct Pagemap {
    file: Arc<File>,
    /// The start of the stretch's first page.
    first: VirtAddr,
}

/// Pages of one kind, one after another: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mapped {
    /// The process has them, in memory or swapped out.
    Present(usize),
    /// The process has never touched them, or given them back.
    Absent(usize),
}

/// How many entries are read at once: those of 2 MiB of memory.
const BATCH: usize = 512;
/// The size of one of them in bytes, see the kernel's admin-guide/mm/pagemap.
const ENTRY: usize = 8;
/// Bit 63: in memory. Bit 62: swapped out, or on the move.
const PRESENT: u64 = 0b11 << 62;

impl Pagemap {
    pub(crate) fn new(file: Arc<File>, first: VirtAddr) -> Self {
        Self { file, first }
    }

    /// What page `page` of the stretch is, and at most `limit` of those after it.
    pub(crate) fn ask(&self, page: usize, limit: usize) -> Result<Mapped, SourceFailure> {
        let mut raw = [0_u8; BATCH * ENTRY];
        let wanted = limit.clamp(1, BATCH).saturating_mul(ENTRY);
        let buffer = raw.get_mut(..wanted).unwrap_or_default();
        let at = ByteLen::from_usize(page)
            .saturating_add(ByteLen::new(self.first.get() >> PAGE_SHIFT))
            .get()
            .saturating_mul(ByteLen::from_usize(ENTRY).get());
        let got = self
            .file
            .read_at(buffer, at)
            .map_err(|error| backing_file::os_failure(&error))?;
        let (entries, _) = raw.get(..got).unwrap_or_default().as_chunks();
        let mut present = entries
            .iter()
            .map(|entry| u64::from_ne_bytes(*entry) & PRESENT != 0);
        // The file ends where the process has: its address space is gone.
        let first = present.next().ok_or(SourceFailure::Gone)?;
        let same = present.take_while(|next| *next == first).count();
        let run = same.saturating_add(1);
        Ok(if first {
            Mapped::Present(run)
        } else {
            Mapped::Absent(run)
        })
    }
}
