//! A machine made up in a test: RAM, page tables and structures with any content.

use std::fs::File;
use std::io::Write;

use vread_addr::{ByteLen, FileOffset, PhysAddr, PhysRange};
use vread_physmem::PhysMem;

use crate::virt_mem::VirtMem;
use crate::{PageTable, PagingLevels};

/// RAM from physical address 0 on.
#[derive(Debug, Clone)]
pub(crate) struct ForgedRam {
    bytes: Vec<u8>,
    /// Where the top table lies.
    root: u64,
    /// The next page that no table uses yet.
    free: u64,
}

/// Where the top table of a new [`ForgedRam`] lies.
pub(crate) const ROOT: u64 = 0x1000;
/// A present table entry or leaf: present, writeable, accessed, dirty.
pub(crate) const PRESENT: u64 = 0x63;
/// A big leaf.
pub(crate) const BIG: u64 = 0xe3;

impl ForgedRam {
    pub(crate) fn new(pages: usize) -> Self {
        Self {
            bytes: vec![0; pages * 4096],
            root: ROOT,
            free: ROOT + 0x1000,
        }
    }

    /// Goes on with a second address space, whose top table lies at `root`; the tables below it follow.
    pub(crate) fn with_root(self, root: u64) -> Self {
        Self {
            root,
            free: root + 0x1000,
            ..self
        }
    }

    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap();
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn put_u64(&mut self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    pub(crate) fn get_u64(&self, at: u64) -> u64 {
        crate::fields::u64_at(&self.bytes, usize::try_from(at).unwrap()).unwrap()
    }

    /// Sets the entry for `virt` in the table of the level whose index begins at bit `shift`, making
    /// tables above it as needed.
    pub(crate) fn set_entry(&mut self, levels: PagingLevels, virt: u64, shift: u32, entry: u64) {
        let mut table = self.root;
        let mut at_shift = match levels {
            PagingLevels::Four => 39,
            PagingLevels::Five => 48,
        };
        loop {
            let place = table + (virt >> at_shift & 0x1ff) * 8;
            if at_shift == shift {
                self.put_u64(place, entry);
                return;
            }
            if self.get_u64(place) == 0 {
                let fresh = self.free;
                self.free += 0x1000;
                self.put_u64(place, fresh | PRESENT);
            }
            table = self.get_u64(place) & 0x000f_ffff_ffff_f000;
            at_shift -= 9;
        }
    }

    /// Maps the page at `virt` to `phys`, in 4 levels.
    pub(crate) fn map(&mut self, virt: u64, phys: u64) {
        self.set_entry(PagingLevels::Four, virt, 12, phys | PRESENT);
    }

    pub(crate) fn open(&self) -> PhysMem {
        self.open_live().0
    }

    /// As [`open`](Self::open), with the file behind the memory, to change it under the reader.
    pub(crate) fn open_live(&self) -> (PhysMem, File) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&self.bytes).unwrap();
        let len = ByteLen::from_usize(self.bytes.len());
        let ram = PhysRange::from_len(PhysAddr::new(0), len).unwrap();
        let mem = PhysMem::from_file(file.path(), &[(ram, FileOffset::new(0))]).unwrap();
        (mem, file.into_file())
    }
}

/// The page table of a [`ForgedRam`].
pub(crate) fn table(levels: PagingLevels) -> PageTable {
    PageTable::new(PhysAddr::new(ROOT), levels, 0)
}

/// The virtual memory of a [`ForgedRam`] with 4 levels.
pub(crate) fn virt(mem: &PhysMem) -> VirtMem<'_> {
    VirtMem {
        mem,
        table: table(PagingLevels::Four),
    }
}
