//! A reader's memory that fails on schedule: for the tests of whoever reads through an
//! [`IovIter`](crate::IovIter). Feature `scripted`.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use crate::Destination;

/// A model of a reader's address space: pages of any length, each resident or not.
///
/// A **turn** begins with the first write after a fault-in. At the start of turn `n`, the pages that
/// bit mask `n` of the schedule names are resident and no others, as if somebody had evicted the rest
/// between the fault-in and the copy (I38). When the schedule is used up, what was faulted in stays.
pub struct UserSpace {
    state: RefCell<State>,
}

struct State {
    bytes: Vec<u8>,
    pages: Vec<Page>,
    schedule: Vec<u64>,
    granularity: Granularity,
    counts: Counts,
    /// A fault-in has happened, or nothing yet, since the last write.
    between_turns: bool,
}

#[derive(Debug, Clone, Copy)]
struct Page {
    start: usize,
    end: usize,
    resident: bool,
    kind: PageKind,
}

/// What a page does when it is faulted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PageKind {
    /// Becomes resident.
    #[default]
    Ordinary,
    /// Cannot be: unmapped or read-only (I39).
    Denied,
    /// Claims to be, and refuses every write all the same: sub-page denial (I40, K43).
    Deceitful,
}

/// How exactly a write without faulting tells how far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Granularity {
    /// To the byte, as our [`Destination`] promises.
    #[default]
    Byte,
    /// A piece that is not resident as a whole counts as not done, although its first bytes may have
    /// been overwritten: Linux (I23, I25).
    Piece,
}

/// What was asked of a [`UserSpace`] so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Runs of writes with a fault-in between them.
    pub turns: usize,
    /// Writes without faulting, whether they got anywhere or not.
    pub writes: usize,
    /// Calls of [`Destination::fault_in_writeable`].
    pub fault_ins: usize,
}

impl UserSpace {
    /// Pages of these lengths one after another, at most 64, none of them resident; every byte is
    /// `fill`.
    #[must_use]
    pub fn new(page_lens: &[usize], fill: u8) -> Self {
        let mut pages = Vec::new();
        let mut start = 0_usize;
        for len in page_lens {
            let end = start.saturating_add(*len);
            pages.push(Page {
                start,
                end,
                resident: false,
                kind: PageKind::Ordinary,
            });
            start = end;
        }
        let mut bytes = Vec::new();
        bytes.resize(start, fill);
        Self {
            state: RefCell::new(State {
                bytes,
                pages,
                schedule: Vec::new(),
                granularity: Granularity::Byte,
                counts: Counts::default(),
                between_turns: true,
            }),
        }
    }

    /// Makes every page resident.
    #[must_use]
    pub fn resident(self) -> Self {
        self.schedule(&[u64::MAX])
    }

    /// Sets which pages are resident at the start of each turn.
    #[must_use]
    pub fn schedule(self, turns: &[u64]) -> Self {
        self.state.borrow_mut().schedule = turns.to_vec();
        self
    }

    /// Sets how exact writes are.
    #[must_use]
    pub fn granularity(self, granularity: Granularity) -> Self {
        self.state.borrow_mut().granularity = granularity;
        self
    }

    /// Sets what page `index` does when it is faulted in.
    #[must_use]
    pub fn page_kind(self, index: usize, kind: PageKind) -> Self {
        if let Some(page) = self.state.borrow_mut().pages.get_mut(index) {
            page.kind = kind;
        }
        self
    }

    /// The `len` bytes from `start` as a segment.
    #[must_use]
    pub fn segment(&self, start: usize, len: usize) -> Scripted<'_> {
        let room = self.state.borrow().bytes.len().saturating_sub(start);
        Scripted {
            space: self,
            start,
            len: len.min(room),
        }
    }

    /// Segments of these lengths one after another, from the first byte on.
    #[must_use]
    pub fn segments(&self, lens: &[usize]) -> Vec<Scripted<'_>> {
        let mut start = 0_usize;
        lens.iter()
            .map(|len| {
                let segment = self.segment(start, *len);
                start = start.saturating_add(*len);
                segment
            })
            .collect()
    }

    /// What the memory holds now.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.state.borrow().bytes.clone()
    }

    /// What was asked so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state.borrow().counts
    }
}

impl State {
    fn write(&mut self, at: usize, len: usize, src: Option<&[u8]>) -> usize {
        self.begin_turn();
        self.counts.writes = self.counts.writes.saturating_add(1);
        let writable = self.prefix(at, len, |page| {
            page.resident && page.kind == PageKind::Ordinary
        });
        let target = self.bytes.get_mut(at..).unwrap_or_default();
        for (index, byte) in target.iter_mut().take(writable).enumerate() {
            *byte = src.map_or(0, |src| src.get(index).copied().unwrap_or(0));
        }
        match self.granularity {
            Granularity::Piece if writable < len => 0,
            Granularity::Piece | Granularity::Byte => writable,
        }
    }

    fn fault_in(&mut self, at: usize, len: usize) -> usize {
        self.between_turns = true;
        self.counts.fault_ins = self.counts.fault_ins.saturating_add(1);
        let done = self.prefix(at, len, |page| page.kind != PageKind::Denied);
        let end = at.saturating_add(done);
        for page in &mut self.pages {
            if page.start < end && at < page.end {
                page.resident = true;
            }
        }
        len.saturating_sub(done)
    }

    fn begin_turn(&mut self) {
        if !self.between_turns {
            return;
        }
        self.between_turns = false;
        if let Some(mask) = self.schedule.get(self.counts.turns) {
            let mut mask = *mask;
            for page in &mut self.pages {
                page.resident = mask & 1 == 1;
                mask >>= 1;
            }
        }
        self.counts.turns = self.counts.turns.saturating_add(1);
    }

    /// How many of the `len` bytes from `at` lie on pages that pass, before the first that does not.
    fn prefix(&self, at: usize, len: usize, passes: impl Fn(&Page) -> bool) -> usize {
        let end = at.saturating_add(len);
        let mut reached = at;
        for page in &self.pages {
            if reached >= end {
                break;
            }
            if page.start <= reached && reached < page.end {
                if !passes(page) {
                    break;
                }
                reached = page.end;
            }
        }
        reached.min(end).saturating_sub(at)
    }
}

/// A segment of a [`UserSpace`].
pub struct Scripted<'u> {
    space: &'u UserSpace,
    start: usize,
    len: usize,
}

impl Scripted<'_> {
    fn cut(&self, at: usize, len: usize) -> usize {
        len.min(self.len.saturating_sub(at))
    }
}

impl Destination for Scripted<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize {
        let len = self.cut(at, src.len());
        let at = self.start.saturating_add(at);
        self.space.state.borrow_mut().write(at, len, Some(src))
    }

    fn zero_nofault(&mut self, at: usize, len: usize) -> usize {
        let len = self.cut(at, len);
        let at = self.start.saturating_add(at);
        self.space.state.borrow_mut().write(at, len, None)
    }

    fn fault_in_writeable(&mut self, at: usize, len: usize) -> usize {
        let inside = self.cut(at, len);
        let at = self.start.saturating_add(at);
        let short = self.space.state.borrow_mut().fault_in(at, inside);
        short.saturating_add(len.saturating_sub(inside))
    }
}

impl fmt::Debug for UserSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.borrow();
        f.debug_struct("UserSpace")
            .field("pages", &state.pages)
            .field("counts", &state.counts)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Scripted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted")
            .field("start", &self.start)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
