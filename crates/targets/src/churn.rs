//! A thread that allocates, resizes, remaps and frees areas of the arena while others read it.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use vread_addr::{ByteLen, PAGE_SIZE, PageCount, Pfn, VirtAddr};
use vread_vmalloc::{Arena, ArenaError, FrameProvider as _, HeapFrames};

/// How many areas live at a time.
const LIVE: usize = 12;

/// The frames that are mapped here and there.
const SHARED_FRAMES: usize = 4;

/// After how many rounds addresses are used again.
const PURGE_EVERY: u64 = 64;

/// What is left of the processor to those who read.
const PAUSE: Duration = Duration::from_micros(100);

/// Where a word was written, so that whoever reads it can tell whether it was ever there.
///
/// Bits 0 to 38 are the word's place in the arena's window, counted in words; bit 39 says that the pages
/// may be mapped elsewhere since, which keeps the place in the page (bits 0 to 8) and nothing else; bits
/// 40 to 63 count the rounds, so that what an address shows never gets older.
fn word(offset: u64, round: u64, fate: Fate) -> u64 {
    let moves = match fate {
        Fate::Stays => 0,
        Fate::Moves => 1 << 39,
    };
    (round << 40) | moves | (offset / 8)
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Stays,
    Moves,
}

/// An area and its pages.
#[derive(Debug, Clone, Copy)]
struct Live {
    start: VirtAddr,
    pages: u64,
}

pub(crate) struct Churn<'a> {
    arena: &'a Arena<HeapFrames>,
    live: VecDeque<Live>,
    shared: Vec<Pfn>,
    round: u64,
}

impl<'a> Churn<'a> {
    pub(crate) fn new(arena: &'a Arena<HeapFrames>) -> Self {
        let frames = arena.frames();
        Self {
            arena,
            live: VecDeque::new(),
            shared: (0..SHARED_FRAMES)
                .filter_map(|_| frames.alloc_frame())
                .collect(),
            round: 0,
        }
    }

    /// Goes on until told to stop, and leaves the arena as it was. Returns the rounds.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> Result<u64, ArenaError> {
        let result = loop {
            if stop.load(Ordering::Relaxed) {
                break Ok(self.round);
            }
            self.round = self.round.saturating_add(1);
            if let Err(error) = self.turn() {
                break Err(error);
            }
            thread::sleep(PAUSE);
        };
        for area in self.live {
            self.arena.vfree(area.start)?;
        }
        for frame in self.shared {
            self.arena.frames().free_frame(frame);
        }
        self.arena.purge_vmap_area_lazy();
        result
    }

    fn turn(&mut self) -> Result<(), ArenaError> {
        while self.live.len() >= LIVE {
            if let Some(oldest) = self.live.pop_front() {
                self.arena.vfree(oldest.start)?;
            }
        }
        let pages = self.round.wrapping_mul(7) % 8;
        let pages = pages.saturating_add(1);
        let start = self.arena.vmalloc(bytes(pages))?;
        let mut area = Live { start, pages };
        self.fill(area, Fate::Stays)?;
        match self.round % 4 {
            0 => area = self.shrink(area)?,
            1 => area = self.grow(area)?,
            2 => self.remap()?,
            _ => {}
        }
        self.live.push_back(area);
        if let Some(older) = self.live.front().copied() {
            self.fill(older, Fate::Stays)?;
        }
        if self.round.is_multiple_of(PURGE_EVERY) {
            self.arena.purge_vmap_area_lazy();
        }
        Ok(())
    }

    /// To half its pages, in place.
    fn shrink(&self, area: Live) -> Result<Live, ArenaError> {
        let pages = area.pages.div_ceil(2);
        let start = self.arena.vrealloc(area.start, bytes(pages))?;
        Ok(Live { start, pages })
    }

    /// By three pages: the pages move, and show what they showed, until they are written again.
    fn grow(&self, area: Live) -> Result<Live, ArenaError> {
        self.fill(area, Fate::Moves)?;
        let pages = area.pages.saturating_add(3);
        let start = self.arena.vrealloc(area.start, bytes(pages))?;
        let area = Live { start, pages };
        self.fill(area, Fate::Stays)?;
        Ok(area)
    }

    /// The shared frames once in an area and once in a block, one after the other.
    fn remap(&self) -> Result<(), ArenaError> {
        let mapped = self.arena.vmap(&self.shared)?;
        for (at, frame) in pages_from(mapped).zip(&self.shared) {
            let page = self.page(at, Fate::Moves);
            let written = self
                .arena
                .frames()
                .write_frame(*frame, ByteLen::ZERO, &page);
            written.map_err(|failure| ArenaError::Source { addr: at, failure })?;
        }
        self.arena.vunmap(mapped)?;
        let mapped = self.arena.vm_map_ram(&self.shared)?;
        let count = PageCount::new(ByteLen::from_usize(self.shared.len()).get());
        self.arena.vm_unmap_ram(mapped, count)
    }

    fn fill(&self, area: Live, fate: Fate) -> Result<(), ArenaError> {
        let mut pages = pages_from(area.start).zip(0..area.pages);
        pages.try_for_each(|(at, _)| self.arena.write(at, &self.page(at, fate)))
    }

    /// What belongs on the page at `at` in this round.
    fn page(&self, at: VirtAddr, fate: Fate) -> Vec<u8> {
        let start = at.wrapping_offset_from(self.arena.window().start()).get();
        let offsets = (start..).step_by(8);
        let words = offsets.map(|offset| word(offset, self.round, fate).to_le_bytes());
        words
            .take(PAGE_SIZE.to_usize_clamped() / 8)
            .flatten()
            .collect()
    }
}

fn bytes(pages: u64) -> ByteLen {
    PageCount::new(pages).checked_bytes().unwrap_or_default()
}

fn pages_from(start: VirtAddr) -> impl Iterator<Item = VirtAddr> {
    std::iter::successors(Some(start), |page| page.checked_add(PAGE_SIZE))
}
