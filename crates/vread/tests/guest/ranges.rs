//! Random ranges of a kcore file, from everywhere that matters, borders above all.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use vread_guests::{FileRange, Guest, KernelRelease, Random};

use crate::mounted::Load;

const PAGE: u64 = 4096;
const MAX_LEN: u64 = 64 << 10;

/// Where a range begins, or which border it crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Region {
    Text,
    Rodata,
    Modules,
    Vmalloc,
    DirectMap,
    Vmemmap,
    Hole,
    PageBorder,
    AreaBorder,
    SegmentBorder,
}

impl Region {
    pub(crate) const COUNT: usize = 10;
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Text,
        Self::Rodata,
        Self::Modules,
        Self::Vmalloc,
        Self::DirectMap,
        Self::Vmemmap,
        Self::Hole,
        Self::PageBorder,
        Self::AreaBorder,
        Self::SegmentBorder,
    ];
}

/// Which holes of vmalloc segments the guest's own kcore fills with what was read before (K49).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StaleHoles {
    /// None: they are zeros.
    Never,
    /// Those that no area lies above.
    AboveAllAreas,
    /// Any.
    Everywhere,
}

impl StaleHoles {
    pub(crate) fn of(release: KernelRelease) -> Self {
        match release {
            KernelRelease::V5_10 => Self::AboveAllAreas,
            KernelRelease::V6_1 => Self::Everywhere,
            KernelRelease::V6_12 | KernelRelease::V7_2 => Self::Never,
        }
    }
}

/// An endless supply of ranges of one guest's kcore.
pub(crate) struct Ranges {
    random: Random,
    seed: u64,
    loads: Vec<Load>,
    /// Where the file ends.
    size: u64,
    rodata: Range<u64>,
    /// Areas as the guest lists them, guard page included, lazily freed ones left out.
    areas: Vec<Range<u64>>,
    stale_holes: StaleHoles,
    masked: usize,
    ready: VecDeque<(Region, FileRange)>,
}

impl Ranges {
    pub(crate) fn of(guest: &Guest, loads: &[Load], size: u64, stale_holes: StaleHoles) -> Self {
        let seed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_nanos();
        let seed = u64::from(seed) << 8 | 1;
        let symbols = guest.read_text("/proc/kallsyms").unwrap();
        let symbol = |name: &str| {
            let line = symbols
                .lines()
                .find(|line| line.split(' ').nth(2) == Some(name));
            let line = line.unwrap_or_else(|| panic!("the guest has no symbol {name}"));
            u64::from_str_radix(&line[..16], 16).unwrap()
        };
        let areas = guest.vmallocinfo().unwrap().into_iter();
        let live = areas
            .filter(|line| !line.rest.contains("unpurged") && !line.rest.contains("vm_map_ram"));
        Self {
            random: Random::new(seed),
            seed,
            loads: loads.to_vec(),
            size,
            rodata: symbol("__start_rodata")..symbol("__end_rodata"),
            areas: live.map(|line| line.range).collect(),
            stale_holes,
            masked: 0,
            ready: VecDeque::new(),
        }
    }

    /// What the ranges follow from.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// How many pieces of holes were left out for K49.
    pub(crate) fn masked(&self) -> usize {
        self.masked
    }

    pub(crate) fn next_range(&mut self) -> (Region, FileRange) {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return ready;
            }
            let region = Region::ALL[self.random.below(Region::COUNT as u64) as usize];
            let start = self.start(region);
            // As many short as long ones: the lengths of debuggers, and the lengths of copies.
            let longest = 1 << (self.random.below(17));
            let len = 1 + self.random.below(longest).min(MAX_LEN - 1);
            self.supply(region, start, len);
        }
    }

    fn start(&mut self, region: Region) -> u64 {
        // The order of a kcore's program headers (E3).
        let (text, vmalloc, modules) = (self.loads[0], self.loads[1], self.loads[2]);
        let ram_or_map = |physical: bool| move |load: &&Load| (load.paddr != u64::MAX) == physical;
        match region {
            Region::Text => inside(&mut self.random, &range(text)),
            Region::Rodata => inside(&mut self.random, &self.rodata.clone()),
            Region::Modules => self.in_area_of(modules),
            Region::Vmalloc => self.in_area_of(vmalloc),
            Region::DirectMap => {
                let all: Vec<Load> = self.loads[3..]
                    .iter()
                    .filter(ram_or_map(true))
                    .copied()
                    .collect();
                self.in_one_of(&all)
            }
            Region::Vmemmap => {
                let all: Vec<Load> = self.loads[3..]
                    .iter()
                    .filter(ram_or_map(false))
                    .copied()
                    .collect();
                self.in_one_of(&all)
            }
            Region::Hole => {
                // Anywhere in the kernel's half, of which all but a millionth is empty; and behind
                // the areas, which is nearer to home.
                match self.random.below(2) {
                    0 => inside(&mut self.random, &range(vmalloc)),
                    _ => inside(&mut self.random, &(lowest(&self.loads)..modules.vaddr)),
                }
            }
            Region::PageBorder => {
                let load = self.loads[self.random.below(self.loads.len() as u64) as usize];
                let page = inside(&mut self.random, &range(load)) & !(PAGE - 1);
                page.saturating_sub(1 + self.random.below(64))
                    .max(load.vaddr)
            }
            Region::AreaBorder => {
                let area = self.areas[self.random.below(self.areas.len() as u64) as usize].clone();
                let border = match self.random.below(3) {
                    0 => area.start,
                    1 => area.end - PAGE,
                    _ => area.end,
                };
                border - self.random.below(2 * PAGE)
            }
            Region::SegmentBorder => {
                let load = self.loads[self.random.below(self.loads.len() as u64) as usize];
                let border = match self.random.below(2) {
                    0 => load.vaddr,
                    _ => load.vaddr + load.size,
                };
                border - self.random.below(2 * PAGE)
            }
        }
    }

    fn in_area_of(&mut self, segment: Load) -> u64 {
        let within = range(segment);
        let areas: Vec<_> = self
            .areas
            .iter()
            .filter(|area| within.contains(&area.start))
            .cloned()
            .collect();
        let area = areas[self.random.below(areas.len() as u64) as usize].clone();
        inside(&mut self.random, &area)
    }

    fn in_one_of(&mut self, loads: &[Load]) -> u64 {
        // By size: a small first range of RAM must not get half of all reads.
        let total = loads.iter().map(|load| load.size).sum();
        let mut at = self.random.below(total);
        for load in loads {
            if at < load.size {
                return load.vaddr + at;
            }
            at -= load.size;
        }
        unreachable!("{at:#x} is below the total")
    }

    /// Queues `[start, start + len)`, without the pieces that the guest's own kcore cannot be
    /// believed about.
    fn supply(&mut self, region: Region, start: u64, len: u64) {
        let end = start + len;
        if self.stale_holes == StaleHoles::Never {
            self.push(region, start..end);
            return;
        }
        let mut at = start;
        while at < end {
            let piece = self.believable(at, end);
            match piece {
                Ok(until) => {
                    self.push(region, at..until);
                    at = until;
                }
                Err(until) => {
                    self.masked += 1;
                    at = until;
                }
            }
        }
    }

    /// Whether the guest can be believed at `at`, and up to where that holds, `end` at most. K49: in a
    /// vmalloc segment only inside of areas, and not in their guard pages (C.4); on 5.10 also below one.
    fn believable(&self, at: u64, end: u64) -> Result<u64, u64> {
        let vmalloc = self.loads[1..3].iter().map(|load| range(*load));
        let mut nearest = end;
        for segment in vmalloc {
            // Chunks are pages: the last one is read through the segment whole (K10, E14).
            let segment = segment.start..segment.end.next_multiple_of(PAGE);
            if !segment.contains(&at) {
                if at < segment.start {
                    nearest = nearest.min(segment.start);
                }
                continue;
            }
            nearest = nearest.min(segment.end);
            for area in &self.areas {
                let content = area.start..area.end - PAGE;
                if content.contains(&at) {
                    return Ok(nearest.min(content.end));
                }
                if at < content.start {
                    nearest = nearest.min(content.start);
                }
            }
            let below_an_area = self.areas.iter().any(|area| area.start > at);
            return match self.stale_holes == StaleHoles::AboveAllAreas && below_an_area {
                true => Ok(nearest),
                false => Err(nearest),
            };
        }
        Ok(nearest)
    }

    /// Queues what the file has of a range.
    fn push(&mut self, region: Region, range: Range<u64>) {
        let mut range = self.file_range(range);
        range.len = range.len.min(self.size.saturating_sub(range.offset));
        if range.len > 0 {
            self.ready.push_back((region, range));
        }
    }

    fn file_range(&self, range: Range<u64>) -> FileRange {
        // E9: the offsets of a kcore follow the addresses, also where there is no segment.
        let first = self.loads[0];
        FileRange {
            offset: first.offset - (first.vaddr - range.start.min(first.vaddr))
                + (range.start - range.start.min(first.vaddr)),
            len: range.end - range.start,
        }
    }
}

fn range(load: Load) -> Range<u64> {
    load.vaddr..load.vaddr + load.size
}

fn lowest(loads: &[Load]) -> u64 {
    loads.iter().map(|load| load.vaddr).min().unwrap()
}

fn inside(random: &mut Random, range: &Range<u64>) -> u64 {
    range.start + random.below(range.end - range.start)
}
