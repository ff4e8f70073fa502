//! Many words of vmalloc space at once, whose loads wait for memory together.

use vread_addr::{ByteLen, PhysAddr, VirtAddr};
use vread_physmem::Loads;

use super::Kernel;
use crate::areas::{AreaReader, Hint, SortedAreas};
use crate::page_table::LastTables;

const WORD: ByteLen = ByteLen::new(8);

/// How many words are on their way at the same time: more than a processor can wait for at once, few enough that none
/// is pushed out of the nearest cache before its turn.
const TOGETHER: usize = 32;

/// How many words are loaded before their areas are looked at.
const AT_ONCE: usize = 1024;

/// Of how many areas it is remembered what was found.
const SLOTS: usize = 256;

impl Kernel {
    /// The 8 bytes at each of `addrs` as a little-endian number, as [`vread_iter`](vread_vmalloc::vread_iter) would give
    /// them at some instant of the call; `None` where that takes more than loads, which says nothing about the word: all
    /// but whole, aligned words of mapped pages in the largest range of RAM, and all where RAM is not mapped.
    ///
    /// What takes a single small read its time is the memory that it waits for, twice or more, one after the other: an
    /// entry of the page table, the word, the area's records. Of many words all entries are waited for at once, then all
    /// words; and an area that several of them lie in is compared with what was known of it once, when all are there.
    ///
    /// `words` has the answers to as many of `addrs` as both hold.
    pub fn vread_words(&self, addrs: &[VirtAddr], words: &mut [Option<u64>]) {
        words.fill(None);
        let Some((loads, areas)) = self.mem.loads().zip(self.areas.as_ref()) else {
            return;
        };
        for (addrs, words) in addrs.chunks(AT_ONCE).zip(words.chunks_mut(AT_ONCE)) {
            let mut tables = LastTables::default();
            let chunks = addrs.chunks(TOGETHER).zip(words.chunks_mut(TOGETHER));
            for (addrs, words) in chunks {
                self.load_together(&loads, &mut tables, addrs, words);
            }
            // Behind the loads: an area that is the same before and after was there all the while, and so were the
            // tables that map it.
            self.hints.with_all(|known| {
                let mut verdicts = Verdicts::new(&loads, areas, known);
                for (word, addr) in words.iter_mut().zip(addrs) {
                    if word.is_some() && !verdicts.is_in_pages(*addr) {
                        *word = None;
                    }
                }
            });
        }
        if loads.has_ended() {
            words.fill(None);
        }
    }

    /// What is mapped at each of `addrs`, whosever it is.
    fn load_together(
        &self,
        loads: &Loads<'_>,
        tables: &mut LastTables,
        addrs: &[VirtAddr],
        words: &mut [Option<u64>],
    ) {
        let mut entries: [Option<PhysAddr>; TOGETHER] = [None; TOGETHER];
        for (entry, addr) in entries.iter_mut().zip(addrs) {
            *entry = self.table.last_entry_by_loads(loads, tables, *addr);
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
        for (word, place) in words.iter_mut().zip(places) {
            *word = place.and_then(|phys| loads.u64_at(phys));
        }
    }
}

/// Which areas are what they were when the lists were last walked; each is looked at once, or a few times where there
/// are more than slots.
struct Verdicts<'a> {
    loads: &'a Loads<'a>,
    reader: &'a AreaReader,
    known: &'a SortedAreas,
    /// By the lowest bits of an area's number: the number, and whether that area is unchanged.
    slots: [Option<(usize, bool)>; SLOTS],
    /// The one that was found last, if it is unchanged.
    last: Option<&'a Hint>,
}

impl<'a> Verdicts<'a> {
    fn new(loads: &'a Loads<'a>, reader: &'a AreaReader, known: &'a SortedAreas) -> Self {
        Self {
            loads,
            reader,
            known,
            slots: [None; SLOTS],
            last: None,
        }
    }

    /// Whether the 8 bytes at `addr` are of the pages of an area that is what it was.
    #[inline]
    fn is_in_pages(&mut self, addr: VirtAddr) -> bool {
        if self.last.is_some_and(|hint| hint.has_pages(addr, WORD)) {
            return true;
        }
        let number = self.known.index_of(addr);
        let hint = self.known.get(number);
        let Some(hint) = hint.filter(|hint| hint.has_pages(addr, WORD)) else {
            return false;
        };
        let is_unchanged = self.is_unchanged(number, hint);
        self.last = is_unchanged.then_some(hint);
        is_unchanged
    }

    #[inline]
    fn is_unchanged(&mut self, number: usize, hint: &Hint) -> bool {
        let slot = self.slots.get_mut(number % SLOTS);
        match slot {
            Some(Some((of, is_unchanged))) if *of == number => *is_unchanged,
            slot => {
                let is_unchanged = self.reader.is_unchanged(self.loads, &hint.known);
                if let Some(slot) = slot {
                    *slot = Some((number, is_unchanged));
                }
                is_unchanged
            }
        }
    }
}
