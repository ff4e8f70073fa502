use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use vread_addr::{ByteLen, FileOffset, PAGE_SHIFT, VirtAddr};
use vread_iov_iter::{IovIter, Progress, SourceFailure};
use vread_nofault::UserBuf;

use crate::backing_file::{self, BackingFile};
use crate::liveness::Liveness;
use crate::mapped_ram;
use crate::pages::{Answer, Pages, Run};
use crate::process_vm::{ProcessVm, Step};
use crate::zeros;

/// RAM that is read out of the process that has it.
///
/// Positions are bytes from `first`.
#[derive(Debug)]
pub(crate) struct ProcessRam {
    process: ProcessVm,
    liveness: Arc<Liveness>,
    /// The start of the first page, in the process.
    first: VirtAddr,
    teller: Teller,
    pages: Pages,
}

/// Who knows which pages hold something.
#[derive(Debug)]
pub(crate) enum Teller {
    /// The file that they lie in, from this position on.
    File {
        file: Arc<BackingFile>,
        first: FileOffset,
    },
    /// `/proc/PID/pagemap`: they are anonymous.
    Pagemap(Arc<File>),
    /// Nobody: they come from a file that the process maps for itself alone.
    Nobody,
}

/// How many entries of a pagemap are read at once: those of 2 MiB of memory.
const PAGEMAP_BATCH: usize = 512;
/// The size of one of them in bytes, see the kernel's admin-guide/mm/pagemap.
const PAGEMAP_ENTRY: usize = 8;
/// Bit 63: in memory. Bit 62: swapped out, or on the move.
const PAGEMAP_POPULATED: u64 = 0b11 << 62;

impl ProcessRam {
    /// `len` bytes of the process from `first` on, the start of a page.
    pub(crate) fn new(
        process: ProcessVm,
        liveness: Arc<Liveness>,
        first: VirtAddr,
        len: usize,
        teller: Teller,
    ) -> Self {
        Self {
            process,
            liveness,
            first,
            teller,
            pages: Pages::new(len),
        }
    }

    /// What lies at `position`, for at most `limit` bytes.
    pub(crate) fn run(&self, position: usize, limit: usize) -> Result<Run, SourceFailure> {
        self.pages
            .run(position, limit, |page, limit| match &self.teller {
                Teller::File { file, first } => mapped_ram::ask_file(file, *first, page),
                Teller::Pagemap(pagemap) => self.ask_pagemap(pagemap, page, limit),
                Teller::Nobody => Ok(Answer::Content(limit.max(1))),
            })
    }

    /// Copies content at `position` into `iter`: up to `len` bytes, and at least one unless it says why not.
    pub(crate) fn copy_to_iter(
        &self,
        position: usize,
        len: usize,
        iter: &mut IovIter<'_, UserBuf<'_>>,
    ) -> Progress {
        // WRAP: refused when it was opened.
        let addr = self.first.wrapping_add(ByteLen::from_usize(position));
        let step = self.process.copy_to_iter(addr, len, iter);
        // Only now is it certain that the number was still that process's when it was used.
        if self.liveness.ask() {
            return Progress::failed(SourceFailure::Gone);
        }
        match step {
            Step::Arrived(copied) => {
                iter.advance(copied);
                Progress::copied(ByteLen::from_usize(copied))
            }
            // One side refused; a byte that goes in two steps tells which.
            Step::Refused(libc::EFAULT) => match self.process.read_byte(addr) {
                Ok(_) if self.liveness.ask() => Progress::failed(SourceFailure::Gone),
                Ok(byte) => {
                    let copied = ByteLen::from_usize(iter.copy_to_iter_nofault(&[byte]));
                    Progress::copied(copied).or_dest_fault(ByteLen::new(1))
                }
                // Taken away since it was opened, or without the right to read.
                Err(libc::EFAULT) => zeros::rest_of_page(position, len, iter),
                Err(errno) => Progress::failed(failure(errno)),
            },
            Step::Refused(errno) => Progress::failed(failure(errno)),
        }
    }

    fn ask_pagemap(
        &self,
        pagemap: &File,
        page: usize,
        limit: usize,
    ) -> Result<Answer, SourceFailure> {
        let mut raw = [0_u8; PAGEMAP_BATCH * PAGEMAP_ENTRY];
        let wanted = limit.clamp(1, PAGEMAP_BATCH).saturating_mul(PAGEMAP_ENTRY);
        let buffer = raw.get_mut(..wanted).unwrap_or_default();
        let at = ByteLen::from_usize(page)
            .saturating_add(ByteLen::new(self.first.get() >> PAGE_SHIFT))
            .get()
            .saturating_mul(ByteLen::from_usize(PAGEMAP_ENTRY).get());
        let got = pagemap
            .read_at(buffer, at)
            .map_err(|error| backing_file::os_failure(&error))?;
        let (entries, _) = raw.get(..got).unwrap_or_default().as_chunks();
        let mut populated = entries
            .iter()
            .map(|entry| u64::from_ne_bytes(*entry) & PAGEMAP_POPULATED != 0);
        // The file ends where the process has: its address space is gone.
        let first = populated.next().ok_or(SourceFailure::Gone)?;
        let same = populated.take_while(|next| *next == first).count();
        let run = same.saturating_add(1);
        Ok(if first {
            Answer::Content(run)
        } else {
            Answer::Hole(run)
        })
    }
}

fn failure(errno: i32) -> SourceFailure {
    match errno {
        libc::ESRCH => SourceFailure::Gone,
        errno => SourceFailure::Os(errno),
    }
}
