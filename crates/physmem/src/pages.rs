use vread_addr::{PAGE_SHIFT, PAGE_SIZE};
use vread_iov_iter::SourceFailure;

use crate::presence::{Presence, WINDOW_PAGES};

/// [`PAGE_SIZE`] as a length of our own memory.
pub(crate) const PAGE: usize = 1 << PAGE_SHIFT;

/// Which pages of a stretch of memory hold something, as far as is known.
///
/// Positions are bytes from the start of the stretch's first page.
#[derive(Debug)]
pub(crate) struct Pages {
    known: Presence,
}

/// What lies at a position, for how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// Pages that hold something.
    Content(usize),
    /// Pages that were never populated, and are zeros.
    Hole(usize),
    /// One of the two, and only a read that does not populate can tell.
    Untold(usize),
}

/// What the system says about a page and those after it: at least one, and maybe more than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Content(usize),
    Hole(usize),
    Untold(usize),
}

impl Pages {
    /// For `len` bytes, nothing known.
    pub(crate) fn new(len: usize) -> Self {
        Self {
            known: Presence::new(len.div_ceil(PAGE)),
        }
    }

    /// What is known, for whoever looks at it again and again.
    #[inline]
    pub(crate) fn presence(&self) -> &Presence {
        &self.known
    }

    /// The bytes from `position` to the end of its window.
    pub(crate) fn left_in_window(position: usize) -> usize {
        const WINDOW: usize = WINDOW_PAGES * PAGE;
        WINDOW.wrapping_sub(position % WINDOW)
    }

    /// Whether the page of the byte at `position` is known to hold something.
    #[inline]
    pub(crate) fn is_known(&self, position: usize) -> bool {
        self.known.is_marked(position >> PAGE_SHIFT)
    }

    /// Asks anew about the window of the byte at `position`, unless that was done a moment ago. `ask` gets
    /// the window's first page and a place for a byte of each page, and returns those that were told.
    pub(crate) fn refresh(
        &self,
        position: usize,
        ask: impl for<'o> FnOnce(usize, &'o mut [u8]) -> &'o [u8],
    ) {
        let page = position >> PAGE_SHIFT;
        if self.known.is_fresh(page) {
            return;
        }
        let start = page.wrapping_sub(page % WINDOW_PAGES);
        let mut told = [0; WINDOW_PAGES];
        self.known.replace(start, ask(start, &mut told));
    }

    /// What lies at `position`, for at most `limit` bytes (and at least one, if `limit` is not 0). `ask`
    /// is called with a page and a number of pages, where nothing is known.
    pub(crate) fn run(
        &self,
        position: usize,
        limit: usize,
        ask: impl FnOnce(usize, usize) -> Result<Answer, SourceFailure>,
    ) -> Result<Run, SourceFailure> {
        let page = position >> PAGE_SHIFT;
        let into = position % PAGE;
        let limit_pages = limit.saturating_add(into).div_ceil(PAGE);
        let bytes = |pages: usize| pages.saturating_mul(PAGE).saturating_sub(into).min(limit);
        let known = self.known.marked_run(page, limit_pages);
        if known > 0 {
            return Ok(Run::Content(bytes(known)));
        }
        Ok(match ask(page, limit_pages)? {
            Answer::Content(pages) => {
                self.known.mark(page, pages);
                Run::Content(bytes(pages))
            }
            Answer::Hole(pages) => Run::Hole(bytes(pages)),
            Answer::Untold(pages) => Run::Untold(bytes(pages)),
        })
    }
}

/// The bytes of so many pages.
pub(crate) fn in_bytes(pages: usize) -> u64 {
    u64::try_from(pages)
        .unwrap_or(u64::MAX)
        .saturating_mul(PAGE_SIZE.get())
}
