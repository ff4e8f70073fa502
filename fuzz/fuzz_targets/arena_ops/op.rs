//! What may be done to the arena.

use arbitrary::Arbitrary;

#[derive(Arbitrary, Debug)]
pub(crate) enum Op {
    Vmalloc {
        size: u32,
    },
    VmallocRange {
        size: u32,
        align: u8,
        from: u16,
        len: u16,
    },
    Vfree {
        which: u8,
    },
    Vrealloc {
        which: u8,
        size: u32,
    },
    Write {
        which: u8,
        at: u32,
        len: u16,
        byte: u8,
    },
    Vmap {
        first: u8,
        count: u8,
    },
    VmMapRam {
        first: u8,
        count: u8,
    },
    Unmap {
        which: u8,
    },
    Ioremap {
        phys: u64,
        size: u32,
    },
    Sparse {
        size: u32,
    },
    MapSparse {
        which: u8,
        page: u8,
        count: u8,
    },
    UnmapSparse {
        which: u8,
        page: u8,
        count: u8,
    },
    WriteFrame {
        frame: u8,
        byte: u8,
    },
    Nonsense {
        addr: u64,
        call: u8,
    },
    Purge,
}
