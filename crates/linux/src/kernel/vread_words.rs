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
                let mut numbers = [Verdicts::NO_AREA; AT_ONCE];
                for (number, (word, addr)) in numbers.iter_mut().zip(words.iter().zip(addrs)) {
                    if word.is_some() {
                        *number = verdicts.expect(*addr);
                    }
                }
                for (number, word) in numbers.iter().zip(words) {
                    if word.is_some() && !verdicts.is_unchanged(*number) {
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
    /// By the lowest bits of an area's number.
    slots: [(usize, Verdict); SLOTS],
    /// The one that was expected last.
    last: Option<(usize, &'a Hint)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Expected,
    Unchanged,
    Changed,
}

impl<'a> Verdicts<'a> {
    /// No area has this number.
    const NO_AREA: usize = usize::MAX;

    fn new(loads: &'a Loads<'a>, reader: &'a AreaReader, known: &'a SortedAreas) -> Self {
        Self {
            loads,
            reader,
            known,
            slots: [(Self::NO_AREA, Verdict::Changed); SLOTS],
            last: None,
        }
    }

    /// The number of the area among whose pages the 8 bytes at `addr` are, whose records will be asked for.
    #[inline]
    fn expect(&mut self, addr: VirtAddr) -> usize {
        if let Some((number, hint)) = self.last
            && hint.has_pages(addr, WORD)
        {
            return number;
        }
        let (number, hint) = self.known.find_numbered(addr);
        let Some(hint) = hint.filter(|hint| hint.has_pages(addr, WORD)) else {
            return Self::NO_AREA;
        };
        self.last = Some((number, hint));
        if let Some(slot) = self.slots.get_mut(number % SLOTS)
            && slot.0 != number
        {
            *slot = (number, Verdict::Expected);
            self.reader.prefetch(self.loads, &hint.known);
        }
        number
    }

    #[inline]
    fn is_unchanged(&mut self, number: usize) -> bool {
        let slot = self.slots.get_mut(number % SLOTS);
        let Some((slot, hint)) = slot.zip(self.known.get(number)) else {
            return false;
        };
        if slot.0 != number || slot.1 == Verdict::Expected {
            let verdict = match self.reader.is_unchanged(self.loads, &hint.known) {
                true => Verdict::Unchanged,
                false => Verdict::Changed,
            };
            *slot = (number, verdict);
        }
        slot.1 == Verdict::Unchanged
    }
}
