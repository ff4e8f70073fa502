use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use vread_addr::{PAGE_SHIFT, PAGE_SIZE};
use vread_iov_iter::SourceFailure;

use crate::backing_file::{BackingFile, Extent, os_failure};
use crate::presence::Presence;

/// Which pages of a stretch of memory hold something, found out without touching the pages.
///
/// Positions are bytes from the start of the stretch's first page.
#[derive(Debug)]
pub(crate) struct Pages {
    known: Presence,
    teller: Teller,
}

/// Who knows.
#[derive(Debug)]
pub(crate) enum Teller {
    /// The file that holds the stretch, from this position on (a multiple of the page size).
    File { file: Arc<BackingFile>, first: u64 },
    /// `/proc/PID/pagemap`, for a stretch of anonymous memory that starts at this page.
    Pagemap { pagemap: Arc<File>, first: u64 },
    /// Nobody: reading it populates nothing that matters.
    Nobody,
}

/// What lies at a position, for how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// Pages that hold something.
    Content(usize),
    /// Pages that were never populated, and are zeros.
    Hole(usize),
}

/// [`PAGE_SIZE`] as a length of our own memory.
pub(crate) const PAGE: usize = 1 << PAGE_SHIFT;

/// How many entries of a pagemap are read at once: those of 2 MiB of memory.
const PAGEMAP_BATCH: usize = 512;
/// The size of one of them in bytes, see the kernel's admin-guide/mm/pagemap.
const PAGEMAP_ENTRY: usize = 8;
/// Bit 63: in memory. Bit 62: swapped out, or on the move.
const PAGEMAP_POPULATED: u64 = 0b11 << 62;

impl Pages {
    pub(crate) fn new(len: usize, teller: Teller) -> Self {
        Self {
            known: Presence::new(len.div_ceil(PAGE)),
            teller,
        }
    }

    /// Whether the page of the byte at `position` is known to hold something.
    #[inline]
    pub(crate) fn is_known(&self, position: usize) -> bool {
        self.known.is_marked(position >> PAGE_SHIFT)
    }

    /// What lies at `position`, for at most `limit` bytes (and at least one, if `limit` is not 0). Asks the
    /// system only about pages that are not known.
    pub(crate) fn run(&self, position: usize, limit: usize) -> Result<Run, SourceFailure> {
        let page = position >> PAGE_SHIFT;
        let into = position % PAGE;
        let limit_pages = limit.saturating_add(into).div_ceil(PAGE);
        let bytes = |pages: usize| pages.saturating_mul(PAGE).saturating_sub(into).min(limit);
        let known = self.known.marked_run(page, limit_pages);
        if known > 0 {
            return Ok(Run::Content(bytes(known)));
        }
        Ok(match self.teller.ask(page, limit_pages)? {
            Answer::Content(pages) => {
                self.known.mark(page, pages);
                Run::Content(bytes(pages))
            }
            Answer::Hole(pages) => Run::Hole(bytes(pages)),
        })
    }
}

/// A number of pages, at least one; it may be more than was asked for.
enum Answer {
    Content(usize),
    Hole(usize),
}

impl Teller {
    fn ask(&self, page: usize, limit: usize) -> Result<Answer, SourceFailure> {
        match self {
            Self::File { file, first } => {
                let at = first.saturating_add(in_bytes(page));
                Ok(match file.extent(at)? {
                    Extent::Data { until } => {
                        let end = until.saturating_sub(*first).div_ceil(PAGE_SIZE.get());
                        Answer::Content(pages_up_to(end, page).max(1))
                    }
                    Extent::Hole { until } => {
                        match pages_up_to(until.saturating_sub(*first) >> PAGE_SHIFT, page) {
                            // Blocks smaller than a page: a part of it holds something.
                            0 => Answer::Content(1),
                            pages => Answer::Hole(pages),
                        }
                    }
                })
            }
            Self::Pagemap { pagemap, first } => ask_pagemap(pagemap, *first, page, limit),
            Self::Nobody => Ok(Answer::Content(limit.max(1))),
        }
    }
}

fn ask_pagemap(
    pagemap: &File,
    first: u64,
    page: usize,
    limit: usize,
) -> Result<Answer, SourceFailure> {
    let mut raw = [0_u8; PAGEMAP_BATCH * PAGEMAP_ENTRY];
    let wanted = limit.clamp(1, PAGEMAP_BATCH).saturating_mul(PAGEMAP_ENTRY);
    let at = first
        .saturating_add(u64::try_from(page).unwrap_or(u64::MAX))
        .saturating_mul(u64::try_from(PAGEMAP_ENTRY).unwrap_or(0));
    let buffer = raw.get_mut(..wanted).unwrap_or_default();
    let got = pagemap
        .read_at(buffer, at)
        .map_err(|error| os_failure(&error))?;
    let (entries, _) = raw.get(..got).unwrap_or_default().as_chunks();
    let mut populated = entries
        .iter()
        .map(|entry| u64::from_ne_bytes(*entry) & PAGEMAP_POPULATED != 0);
    match populated.next() {
        // The file ends where the process has: its address space is gone.
        None => Err(SourceFailure::Gone),
        Some(kind) => {
            let run = populated
                .take_while(|next| *next == kind)
                .count()
                .saturating_add(1);
            Ok(if kind {
                Answer::Content(run)
            } else {
                Answer::Hole(run)
            })
        }
    }
}

/// From `page` up to page number `end`.
fn pages_up_to(end: u64, page: usize) -> usize {
    usize::try_from(end)
        .unwrap_or(usize::MAX)
        .saturating_sub(page)
}

fn in_bytes(pages: usize) -> u64 {
    u64::try_from(pages)
        .unwrap_or(u64::MAX)
        .saturating_mul(PAGE_SIZE.get())
}
