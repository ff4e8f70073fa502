//! What several fuzz targets need: a machine's RAM that an input writes into.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use arbitrary::Arbitrary;
use rustix::fs::{MemfdFlags, memfd_create};
use vread_addr::{ByteLen, FileOffset, PhysAddr, PhysRange, VirtAddr};
use vread_linux::{PageTable, PagingLevels};
use vread_physmem::PhysMem;

/// The pages of RAM; the first ones are page tables that map all of them.
pub const PAGES: u64 = 64;
/// The pages that the tables need.
pub const TABLES_END: u64 = 5 * PAGE;
/// The bytes of a page.
pub const PAGE: u64 = 4096;
/// A present table entry or leaf.
const PRESENT: u64 = 0x63;
/// The most that one input changes.
const MAX_CHANGES: usize = 256;

/// RAM from physical address 0 on, with content that each input starts from.
pub struct Ram {
    file: File,
    /// What is open of it.
    pub mem: PhysMem,
    /// What each input starts from.
    base: Vec<u8>,
    /// The words that the last input wrote.
    dirty: BTreeSet<u64>,
    /// Where all of it is mapped, one page after another.
    at: u64,
}

/// A change of one word, by an input.
#[derive(Debug, Clone, Arbitrary)]
pub struct Change {
    word: u16,
    value: Value,
}

/// What a word may become: mostly things that lead somewhere.
#[derive(Debug, Clone, Arbitrary)]
enum Value {
    /// The address of a word in RAM.
    Pointer(u16),
    /// That of a byte.
    Odd(u32),
    /// A page table entry: page and flags.
    Entry(u8, u8),
    Small(u16),
    Halves(u32, u32),
    Any(u64),
    Text([u8; 8]),
}

impl Ram {
    /// RAM that is mapped at `at`, which is the first address of what a top-level entry covers, or a whole
    /// number of 2 MiB above.
    pub fn mapped_at(at: VirtAddr) -> Self {
        let file = memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a memfd");
        let file = File::from(file);
        file.set_len(PAGES * PAGE).expect("its length");
        let len = ByteLen::new(PAGES * PAGE);
        let ram = PhysRange::from_len(PhysAddr::new(0), len).expect("a range");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mem = PhysMem::from_file(path, &[(ram, FileOffset::new(0))]).expect("RAM");
        let mut this = Self {
            file,
            mem,
            base: vec![0; (PAGES * PAGE) as usize],
            dirty: BTreeSet::new(),
            at: at.get(),
        };
        for (table, shift) in [(1, 39), (2, 30), (3, 21)] {
            let index = at.get() >> shift & 0x1ff;
            this.set(table * PAGE + index * 8, (table + 1) * PAGE | PRESENT);
        }
        for page in 0..PAGES {
            this.set(4 * PAGE + page * 8, page * PAGE | PRESENT);
        }
        this
    }

    /// The page table that maps it.
    pub fn table(&self) -> PageTable {
        PageTable::new(PhysAddr::new(PAGE), PagingLevels::Four, 0)
    }

    /// The virtual address of what lies at `phys`.
    pub fn virt(&self, phys: u64) -> VirtAddr {
        VirtAddr::new(self.at + phys)
    }

    /// Writes a word of the content that each input starts from.
    pub fn set(&mut self, phys: u64, value: u64) {
        self.put(phys, &value.to_le_bytes());
    }

    /// As [`set`](Self::set), a pointer to what lies at `to`.
    pub fn set_pointer(&mut self, phys: u64, to: u64) {
        self.set(phys, self.at + to);
    }

    /// As [`set`](Self::set), any bytes.
    pub fn put(&mut self, phys: u64, bytes: &[u8]) {
        let start = phys as usize;
        self.base[start..start + bytes.len()].copy_from_slice(bytes);
        self.file.write_all_at(bytes, phys).expect("a write");
    }

    /// Undoes the last input's changes and makes those of the next.
    pub fn change(&mut self, changes: &[Change]) {
        for word in std::mem::take(&mut self.dirty) {
            let at = (word * 8) as usize;
            let bytes = &self.base[at..at + 8];
            self.file.write_all_at(bytes, word * 8).expect("a write");
        }
        let words = PAGES * PAGE / 8;
        for Change { word, value } in changes.iter().take(MAX_CHANGES) {
            let word = u64::from(*word) % words;
            let value = match *value {
                Value::Pointer(to) => self.at + u64::from(to) % words * 8,
                Value::Odd(to) => self.at + u64::from(to) % (words * 8),
                Value::Entry(page, flags) => {
                    u64::from(page) % (PAGES + 4) * PAGE | u64::from(flags)
                }
                Value::Small(value) => u64::from(value),
                Value::Halves(low, high) => u64::from(high) << 32 | u64::from(low),
                Value::Any(value) => value,
                Value::Text(text) => u64::from_le_bytes(text),
            };
            self.file
                .write_all_at(&value.to_le_bytes(), word * 8)
                .expect("a write");
            self.dirty.insert(word);
        }
    }
}
