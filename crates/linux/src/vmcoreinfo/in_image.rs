use vread_addr::{ByteLen, PAGE_SIZE, PhysAddr, PhysRange, VirtAddr};
use vread_physmem::{PhysMem, ReadError};

use super::Candidate;
use super::find::{candidate_at, may_start};
use crate::bases::START_KERNEL_MAP;
use crate::fields::u64_at;
use crate::{LinuxError, PageTable, PagingLevels};

/// How much of an image is looked at: its writable part has 10 to 30 MiB (G73).
const MAX_WRITABLE: ByteLen = ByteLen::new(256 << 20);
/// How many pointers are followed (G73); an image has a few thousand that begin a page.
const MAX_POINTERS: u32 = 1 << 17;
/// How much is read at once.
const BLOCK_LEN: ByteLen = ByteLen::new(64 << 10);
/// The bits of an entry: present, writable, and a leaf above the last level (G3).
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const LEAF: u64 = 1 << 7;
const ADDRESS_BITS: u64 = 0x000f_ffff_ffff_f000;
/// What an entry of the last level but one maps.
const BIG_PAGE: ByteLen = ByteLen::new(2 << 20);
const TABLE_LEN: usize = 4096;

/// A search for VMCOREINFO through the pointers that a kernel's image has to it, beginning at a page
/// table that a processor uses. What it costs follows from the size of the image, not of RAM.
///
/// Nothing but the page table is known at first, so every pointer to the start of a page in the image's
/// writable part is followed: two of them are `vmcoreinfo_data` and `vmcoreinfo_note` (N1, N3).
pub(crate) struct InImage<'m> {
    mem: &'m PhysMem,
    table: PageTable,
    /// The image's writable part, as it lies in physical memory, last piece first.
    ranges: Vec<PhysRange>,
    block: Vec<u8>,
    /// The next word of `block` to look at.
    at: usize,
    pointers_left: u32,
}

impl<'m> InImage<'m> {
    /// A search of the image that the table at `root` maps; one that finds nothing where it maps none.
    pub(crate) fn new(
        mem: &'m PhysMem,
        root: PhysAddr,
        levels: PagingLevels,
    ) -> Result<Self, LinuxError> {
        let mut ranges = writable_image(mem, root, levels)?;
        ranges.reverse();
        Ok(Self {
            mem,
            table: PageTable::new(root, levels, 0),
            ranges,
            block: Vec::new(),
            at: 0,
            pointers_left: MAX_POINTERS,
        })
    }

    /// The next page that a pointer leads to and that reads like VMCOREINFO.
    pub(crate) fn next(&mut self) -> Result<Option<Candidate>, LinuxError> {
        loop {
            while let Some(word) = u64_at(&self.block, self.at) {
                self.at = self.at.saturating_add(8);
                if !may_point_to_page(word) {
                    continue;
                }
                let Some(left) = self.pointers_left.checked_sub(1) else {
                    return Ok(None);
                };
                self.pointers_left = left;
                if let Some(page) = self.table.translate(self.mem, VirtAddr::new(word))?
                    && may_start(read(self.mem.read_u64(page))?.unwrap_or_default())
                    && let Some(candidate) = candidate_at(self.mem, page)
                {
                    return Ok(Some(candidate));
                }
            }
            if !self.next_block()? {
                return Ok(None);
            }
        }
    }

    /// Reads on; whether there was more.
    fn next_block(&mut self) -> Result<bool, LinuxError> {
        let Some(range) = self.ranges.pop() else {
            return Ok(false);
        };
        let len = range.len().min(BLOCK_LEN);
        let rest = range
            .start()
            .checked_add(len)
            .and_then(|start| PhysRange::new(start, range.end()));
        self.ranges.extend(rest.filter(|rest| !rest.is_empty()));
        self.at = 0;
        self.block.resize(len.to_usize_clamped(), 0);
        if read(self.mem.read(range.start(), &mut self.block))?.is_none() {
            self.block.clear();
        }
        Ok(true)
    }
}

/// Whether a word may be the address of a page in the kernel's half, outside of its image.
fn may_point_to_page(word: u64) -> bool {
    const LOWEST_OF_FIVE_LEVELS: u64 = 0xff00 << 48;
    word & PAGE_SIZE.low_mask() == 0
        && (LOWEST_OF_FIVE_LEVELS..START_KERNEL_MAP.get()).contains(&word)
}

/// The writable part of the image that the table at `root` maps, in the order of its addresses.
fn writable_image(
    mem: &PhysMem,
    root: PhysAddr,
    levels: PagingLevels,
) -> Result<Vec<PhysRange>, LinuxError> {
    let mut ranges: Vec<PhysRange> = Vec::new();
    let mut left = MAX_WRITABLE;
    let mut push = |start: u64, len: ByteLen| {
        let Some(range) = PhysRange::from_len(PhysAddr::new(start), len.min(left)) else {
            return;
        };
        left = left.saturating_sub(range.len());
        match ranges.last_mut() {
            Some(last) if last.end() == range.start() => {
                *last = PhysRange::new(last.start(), range.end()).unwrap_or(*last);
            }
            _ if range.is_empty() => {}
            _ => ranges.push(range),
        }
    };
    let Some(big) = table_of_image(mem, root, levels)? else {
        return Ok(ranges);
    };
    for entry in entries(mem, big)? {
        if entry & PRESENT == 0 || entry & WRITABLE == 0 {
            continue;
        }
        let target = entry & ADDRESS_BITS;
        if entry & LEAF != 0 {
            push(target & !BIG_PAGE.low_mask(), BIG_PAGE);
            continue;
        }
        for entry in entries(mem, PhysAddr::new(target))? {
            if entry & PRESENT != 0 && entry & WRITABLE != 0 {
                push(entry & ADDRESS_BITS, PAGE_SIZE);
            }
        }
    }
    Ok(ranges)
}

/// The table whose entries map the image's range of 1 GiB, 2 MiB each.
fn table_of_image(
    mem: &PhysMem,
    root: PhysAddr,
    levels: PagingLevels,
) -> Result<Option<PhysAddr>, LinuxError> {
    let shifts: &[u32] = match levels {
        PagingLevels::Four => &[39, 30],
        PagingLevels::Five => &[48, 39, 30],
    };
    let mut table = root.page_start();
    for shift in shifts {
        let index = START_KERNEL_MAP.get() >> shift & 0x1ff;
        let entry = table.checked_add(ByteLen::new(index << 3));
        let entry = match entry {
            Some(at) => read(mem.read_u64(at))?.unwrap_or_default(),
            None => 0,
        };
        if entry & PRESENT == 0 || entry & LEAF != 0 {
            return Ok(None);
        }
        table = PhysAddr::new(entry & ADDRESS_BITS);
    }
    Ok(Some(table))
}

/// The entries of a table; none where it is not in RAM.
fn entries(mem: &PhysMem, table: PhysAddr) -> Result<Vec<u64>, LinuxError> {
    let mut bytes = [0; TABLE_LEN];
    let found = read(mem.read(table, &mut bytes))?;
    let words = bytes.chunks_exact(8).filter_map(|word| u64_at(word, 0));
    Ok(match found {
        Some(()) => words.collect(),
        None => Vec::new(),
    })
}

/// What was read, or `None` where it is not RAM.
fn read<T>(result: Result<T, ReadError>) -> Result<Option<T>, LinuxError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::Failed { failure, .. }) => Err(failure.into()),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forged::{BIG, ForgedRam, PRESENT as ENTRY, ROOT};

    const IMAGE: u64 = 0xffff_ffff_8100_0000;
    const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
    const TEXT: &[u8] = b"OSRELEASE=6.1\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff81000000\n\
        SYMBOL(swapper_pg_dir)=ffffffff81000000\nSYMBOL(_stext)=ffffffff81000000\n";

    /// An image of one read-only and two writable pages, the last of which points to VMCOREINFO.
    fn with_image(pages: usize) -> ForgedRam {
        let mut ram = ForgedRam::new(pages);
        ram.set_entry(
            PagingLevels::Four,
            IMAGE,
            12,
            0x2_0000 | (ENTRY & !WRITABLE),
        );
        ram.map(IMAGE + 0x1000, 0x3_0000);
        ram.map(IMAGE + 0x2000, 0x3_1000);
        ram.map(DIRECT_MAP + 0x5000, 0x5_0000);
        ram.put(0x5_0000, TEXT);
        ram
    }

    fn pages(ram: &ForgedRam) -> Vec<u64> {
        let mem = ram.open();
        let mut search = InImage::new(&mem, PhysAddr::new(ROOT), PagingLevels::Four).unwrap();
        std::iter::from_fn(|| search.next().unwrap())
            .map(|candidate| candidate.page.get())
            .collect()
    }

    #[test]
    fn follows_a_pointer_in_the_writable_part_only() {
        // N1: `vmcoreinfo_data` is a variable.
        let mut ram = with_image(128);
        assert_eq!(pages(&ram), []);
        ram.put_u64(0x2_0100, DIRECT_MAP + 0x5000);
        assert_eq!(pages(&ram), [], "read-only data is not searched");
        ram.put_u64(0x3_1ff8, DIRECT_MAP + 0x5000);
        assert_eq!(pages(&ram), [0x5_0000]);
        ram.put_u64(0x3_0000, DIRECT_MAP + 0x5008);
        assert_eq!(pages(&ram), [0x5_0000], "the text begins its page");
    }

    #[test]
    fn finds_nothing_behind_a_table_that_maps_no_image() {
        let mut ram = with_image(128);
        ram.put_u64(0x3_1ff8, DIRECT_MAP + 0x5000);
        ram.set_entry(PagingLevels::Four, IMAGE, 39, 0);
        assert_eq!(pages(&ram), []);
        ram.set_entry(PagingLevels::Four, IMAGE, 39, 0xf_ffff_f000 | ENTRY);
        assert_eq!(pages(&ram), [], "a table outside of RAM");
    }

    #[test]
    fn looks_at_a_bounded_part_of_a_forged_image() {
        // G73: every entry is a leaf over the same RAM, which is full of pointers to one page.
        let mut ram = with_image(1024);
        let table = ram.get_u64(ROOT + 511 * 8) & ADDRESS_BITS;
        let big = ram.get_u64(table + 510 * 8) & ADDRESS_BITS;
        for entry in 0..512 {
            ram.put_u64(big + entry * 8, 0x20_0000 | BIG);
        }
        let mem = ram.open();
        let ranges = writable_image(&mem, PhysAddr::new(ROOT), PagingLevels::Four).unwrap();
        let total: u64 = ranges.iter().map(|range| range.len().get()).sum();
        assert_eq!(total, MAX_WRITABLE.get());
        for word in (0x20_0000_u64..0x40_0000).step_by(8) {
            ram.put_u64(word, DIRECT_MAP + 0x6000);
        }
        assert_eq!(pages(&ram), []);
    }
}
