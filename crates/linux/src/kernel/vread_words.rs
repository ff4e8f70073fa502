//! Many words of vmalloc space at once, whose loads wait for memory together.

use vread_addr::{ByteLen, PhysAddr, VirtAddr, VirtRange};
use vread_physmem::Loads;

use super::{Kernel, vread_by_loads::holds};
use crate::page_table::LastTables;

/// How many words are on their way at the same time: more than a processor can wait for at once, few enough that none
/// is pushed out of the nearest cache before its turn.
const TOGETHER: usize = 32;

/// How many areas of those that were just compared are remembered.
const AREAS: usize = 4;

/// Areas that have just been found to be what they were: the addresses of their pages.
#[derive(Default)]
struct Compared {
    pages: [Option<VirtRange>; AREAS],
    next: usize,
}

impl Kernel {
    /// The 8 bytes at each of `addrs` as a little-endian number, as [`vread_iter`](vread_vmalloc::vread_iter) would give
    /// them at some instant of the call; `None` where that takes more than loads, which says nothing about the word: all
    /// but whole, aligned words of mapped pages in the largest range of RAM, and all where RAM is not mapped.
    ///
    /// What takes a single small read its time is the memory that it waits for, twice or more, one after the other: an
    /// entry of the page table, the word, the area's records. Of many words all entries are waited for at once, then all
    /// words; and an area that several of them lie in is compared with what was known of it once.
    ///
    /// `words` has the answers to as many of `addrs` as both hold.
    pub fn vread_words(&self, addrs: &[VirtAddr], words: &mut [Option<u64>]) {
        words.fill(None);
        let Some(loads) = self.mem.loads() else {
            return;
        };
        let chunks = addrs.chunks(TOGETHER).zip(words.chunks_mut(TOGETHER));
        for (addrs, words) in chunks {
            self.words_together(&loads, addrs, words);
        }
        if loads.has_ended() {
            words.fill(None);
        }
    }

    /// In the order of [`vread_by_loads`](Self::vread_by_loads), each step for all words.
    fn words_together(&self, loads: &Loads<'_>, addrs: &[VirtAddr], words: &mut [Option<u64>]) {
        let mut tables = LastTables::default();
        let mut entries: [Option<PhysAddr>; TOGETHER] = [None; TOGETHER];
        for (entry, addr) in entries.iter_mut().zip(addrs) {
            *entry = self.table.last_entry_by_loads(loads, &mut tables, *addr);
            if let Some(at) = *entry {
                loads.prefetch(at);
            }
        }
        let mut places: [Option<PhysAddr>; TOGETHER] = [None; TOGETHER];
        for ((place, entry), addr) in places.iter_mut().zip(entries).zip(addrs) {
            *place = entry.and_then(|at| self.table.page_by_loads(loads, at, *addr));
            if let Some(phys) = *place {
                loads.prefetch(phys);
            }
        }
        let mut compared = Compared::default();
        for ((word, place), addr) in words.iter_mut().zip(places).zip(addrs) {
            *word = place
                .filter(|_| self.is_in_pages(loads, &mut compared, *addr))
                .and_then(|phys| loads.u64_at(phys));
        }
    }

    /// Whether the 8 bytes at `addr` are of the pages of an area that is what it was when the areas were last walked.
    fn is_in_pages(&self, loads: &Loads<'_>, compared: &mut Compared, addr: VirtAddr) -> bool {
        const WORD: ByteLen = ByteLen::new(8);
        let mut known = compared.pages.iter().flatten();
        if known.any(|pages| holds(pages, addr, WORD)) {
            return true;
        }
        let pages = self.unchanged_pages(loads, addr, WORD);
        if let Some(slot) = compared.pages.get_mut(compared.next)
            && pages.is_some()
        {
            *slot = pages;
            compared.next = compared.next.saturating_add(1) % AREAS;
        }
        pages.is_some()
    }
}
