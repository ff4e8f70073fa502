//! Any sequence of allocations, mappings and frees, sensible or not: the arena against arrays of bytes and
//! a list of pages (V1, V6, V10, V13 to V16, V20, V21, V24, V26, V29, R16).
#![no_main]
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vread_addr::{ByteLen, PageCount, Pfn, PhysAddr, VirtAddr, VirtRange};
use vread_iov_iter::{IovIter, Plain};
use vread_vmalloc::{Arena, ArenaError, FrameProvider, HeapFrames, vread_iter};

const PAGE: u64 = 4096;
const BASE: u64 = 0xffff_c900_0000_0000;
/// Room for a block of short mappings, wherever it is aligned, and some more.
const WINDOW: u64 = 2304;
const FRAMES: u64 = 96;
/// Frames of the caller's own, more than a block gives to one mapping.
const OWN: usize = 66;
const MAX_OPS: usize = 48;

#[derive(Arbitrary, Debug)]
enum Op {
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

#[derive(Debug)]
enum Live {
    Vmalloc(Vec<u8>),
    /// Which of the caller's frames.
    Vmap(Vec<usize>),
    Ram(Vec<usize>),
    Ioremap,
    Sparse(u64),
}

struct Model {
    arena: Arena<HeapFrames>,
    own: Vec<Pfn>,
    own_bytes: Vec<u8>,
    live: BTreeMap<VirtAddr, Live>,
}

fn at(page: u64) -> VirtAddr {
    VirtAddr::new(BASE + page * PAGE)
}

fn bytes(pages: u64) -> ByteLen {
    ByteLen::new(pages * PAGE)
}

fn window() -> VirtRange {
    VirtRange::from_len(at(0), bytes(WINDOW)).unwrap()
}

fn pages_of(size: u64) -> u64 {
    size.div_ceil(PAGE)
}

impl Model {
    fn new() -> Self {
        let arena = Arena::new(window(), HeapFrames::new(PageCount::new(FRAMES + 66))).unwrap();
        let own = (0..OWN).map(|_| arena.frames().alloc_frame().unwrap());
        Self {
            own: own.collect(),
            own_bytes: vec![0; OWN],
            live: BTreeMap::new(),
            arena,
        }
    }

    /// Which pages are in no area, and with `lazy` also those that wait for a purge.
    fn free_pages(&self, lazy: bool) -> Vec<bool> {
        let mut free = vec![true; WINDOW as usize];
        let mut taken: Vec<VirtRange> = self.arena.areas().iter().map(|area| area.range).collect();
        if !lazy {
            taken.extend(self.arena.lazily_freed());
        }
        for range in taken {
            let first = (range.start().get() - BASE) / PAGE;
            for page in first..first + range.len().get() / PAGE {
                assert!(free[page as usize], "two areas on one page");
                free[page as usize] = false;
            }
        }
        free
    }

    /// Where an area of `pages` pages must go (V13, V15).
    fn lowest(&self, pages: u64, align: u64, within: VirtRange) -> Option<VirtAddr> {
        let fit = |free: &[bool]| {
            let exact = within.len() == bytes(pages);
            let needed = if align > PAGE && !exact {
                pages * PAGE + align - 1
            } else {
                pages * PAGE
            };
            let mut page = 0;
            while page < WINDOW {
                let run = free[page as usize..]
                    .iter()
                    .take_while(|free| **free)
                    .count() as u64;
                if run * PAGE >= needed {
                    let start = at(page).max(within.start()).get().next_multiple_of(align);
                    let end = start + pages * PAGE;
                    if end <= at(page + run).get() && end <= within.end().get() {
                        return Some(VirtAddr::new(start));
                    }
                }
                page += run.max(1);
            }
            None
        };
        fit(&self.free_pages(false)).or_else(|| fit(&self.free_pages(true)))
    }

    fn nth(&self, which: u8, wanted: impl Fn(&Live) -> bool) -> Option<VirtAddr> {
        let fitting: Vec<VirtAddr> = self
            .live
            .iter()
            .filter(|(_, live)| wanted(live))
            .map(|(addr, _)| *addr)
            .collect();
        (!fitting.is_empty()).then(|| fitting[usize::from(which) % fitting.len()])
    }

    fn chosen(&self, first: u8, count: u8) -> Vec<usize> {
        (0..usize::from(count) % 72)
            .map(|n| (usize::from(first) + n) % OWN)
            .collect()
    }

    fn frames(&self, chosen: &[usize]) -> Vec<Pfn> {
        chosen.iter().map(|frame| self.own[*frame]).collect()
    }

    fn vmalloc(&mut self, size: u64, align: u64, within: VirtRange) {
        let taken = self.arena.frames().taken().get();
        let room = self.arena.frames().total().get() - taken;
        let pages = pages_of(size);
        let valid = size != 0 && align.is_power_of_two() && align >= PAGE;
        let expected = if valid && (pages + 1) * PAGE <= within.len().get() {
            self.lowest(pages + 1, align, within)
        } else {
            None
        };
        let found = self
            .arena
            .vmalloc_range(ByteLen::new(size), ByteLen::new(align), within);
        match found {
            Ok(addr) => {
                assert_eq!(Some(addr), expected);
                self.live
                    .insert(addr, Live::Vmalloc(vec![0; (pages * PAGE) as usize]));
            }
            Err(error) => {
                assert!(expected.is_none() || pages > room, "{error}");
                assert_eq!(
                    self.arena.frames().taken().get(),
                    taken,
                    "leaked by {error}"
                );
            }
        }
    }

    fn apply(&mut self, op: &Op) {
        let is_vmalloc = |live: &Live| matches!(live, Live::Vmalloc(_));
        match *op {
            Op::Vmalloc { size } => self.vmalloc(u64::from(size % (40 << 12)), PAGE, window()),
            Op::VmallocRange {
                size,
                align,
                from,
                len,
            } => {
                let align = if align >= 64 {
                    u64::from(align)
                } else {
                    1 << (align % 24)
                };
                let within = VirtRange::from_len(
                    at(u64::from(from) % WINDOW),
                    bytes(u64::from(len) % (WINDOW - u64::from(from) % WINDOW)),
                );
                self.vmalloc(u64::from(size % (20 << 12)), align, within.unwrap());
            }
            Op::Vfree { which } => {
                if let Some(addr) = self.nth(which, is_vmalloc) {
                    self.arena.vfree(addr).unwrap();
                    self.live.remove(&addr);
                    assert!(self.arena.vfree(addr).is_err(), "freed twice");
                }
            }
            Op::Vrealloc { which, size } => self.vrealloc(which, u64::from(size % (40 << 12))),
            Op::Write {
                which,
                at,
                len,
                byte,
            } => {
                if let Some(addr) = self.nth(which, is_vmalloc)
                    && let Some(Live::Vmalloc(content)) = self.live.get_mut(&addr)
                {
                    let offset = at as usize % (content.len() + 2);
                    let data = vec![byte; usize::from(len)];
                    let to = addr.checked_add(ByteLen::from_usize(offset)).unwrap();
                    let fits = offset + data.len() <= content.len();
                    let written = self.arena.write(to, &data);
                    assert_eq!(written.is_ok(), fits, "{written:?}");
                    if fits {
                        content[offset..offset + data.len()].copy_from_slice(&data);
                    }
                }
            }
            Op::Vmap { first, count } => {
                let chosen = self.chosen(first, count);
                if let Ok(addr) = self.arena.vmap(&self.frames(&chosen)) {
                    self.live.insert(addr, Live::Vmap(chosen));
                }
            }
            Op::VmMapRam { first, count } => {
                let chosen = self.chosen(first, count);
                if let Ok(addr) = self.arena.vm_map_ram(&self.frames(&chosen)) {
                    self.live.insert(addr, Live::Ram(chosen));
                }
            }
            Op::Unmap { which } => {
                let mapping = |live: &Live| !is_vmalloc(live);
                if let Some(addr) = self.nth(which, mapping) {
                    self.unmap(addr);
                }
            }
            Op::Ioremap { phys, size } => {
                let size = ByteLen::new(u64::from(size % (9 << 12)));
                if let Ok(addr) = self.arena.ioremap(PhysAddr::new(phys), size) {
                    self.live.insert(addr.page_start(), Live::Ioremap);
                }
            }
            Op::Sparse { size } => {
                let size = u64::from(size % (20 << 12));
                if let Ok(addr) = self.arena.get_vm_area_sparse(ByteLen::new(size)) {
                    self.live.insert(addr, Live::Sparse(pages_of(size)));
                }
            }
            Op::MapSparse { which, page, count } => {
                let sparse = |live: &Live| matches!(live, Live::Sparse(_));
                if let Some(addr) = self.nth(which, sparse) {
                    let to = addr.checked_add(bytes(u64::from(page % 24))).unwrap();
                    let chosen = self.chosen(page, count % 8);
                    let _may_be_taken = self.arena.vm_area_map_pages(to, &self.frames(&chosen));
                }
            }
            Op::UnmapSparse { which, page, count } => {
                let sparse = |live: &Live| matches!(live, Live::Sparse(_));
                if let Some(addr) = self.nth(which, sparse) {
                    let from = addr.checked_add(bytes(u64::from(page % 24))).unwrap();
                    let len = bytes(u64::from(count % 8));
                    let _may_not_be_there = self.arena.vm_area_unmap_pages(from, len);
                }
            }
            Op::WriteFrame { frame, byte } => {
                let frame = usize::from(frame) % OWN;
                self.own_bytes[frame] = byte;
                let page = [byte; PAGE as usize];
                let frames = self.arena.frames();
                frames
                    .write_frame(self.own[frame], ByteLen::ZERO, &page)
                    .unwrap();
            }
            Op::Nonsense { addr, call } => self.nonsense(addr, call),
            Op::Purge => self.arena.purge_vmap_area_lazy(),
        }
    }

    fn vrealloc(&mut self, which: u8, size: u64) {
        let Some(addr) = self.nth(which, |live| matches!(live, Live::Vmalloc(_))) else {
            return;
        };
        let taken = self.arena.frames().taken();
        match self.arena.vrealloc(addr, ByteLen::new(size)) {
            Ok(new) => {
                let Some(Live::Vmalloc(mut content)) = self.live.remove(&addr) else {
                    unreachable!();
                };
                let len = (pages_of(size) * PAGE) as usize;
                assert_eq!(
                    new == addr,
                    len <= content.len(),
                    "V10: grows elsewhere, shrinks in place"
                );
                content.resize(len, 0);
                self.live.insert(new, Live::Vmalloc(content));
            }
            Err(error) => {
                assert_eq!(self.arena.frames().taken(), taken, "leaked by {error}");
            }
        }
    }

    fn unmap(&mut self, addr: VirtAddr) {
        match self.live.remove(&addr) {
            Some(Live::Vmalloc(_)) => self.arena.vfree(addr).unwrap(),
            Some(Live::Vmap(_)) => self.arena.vunmap(addr).unwrap(),
            Some(Live::Ram(frames)) => {
                let count = PageCount::new(frames.len() as u64);
                self.arena.vm_unmap_ram(addr, count).unwrap();
                assert!(
                    self.arena.vm_unmap_ram(addr, count).is_err(),
                    "unmapped twice"
                );
            }
            Some(Live::Ioremap) => self.arena.iounmap(addr).unwrap(),
            Some(Live::Sparse(_)) => self.arena.free_vm_area(addr).unwrap(),
            None => {}
        }
    }

    /// Calls for what is not there change nothing.
    fn nonsense(&mut self, addr: u64, call: u8) {
        let addr = match addr % 3 {
            0 => VirtAddr::new(addr),
            1 => VirtAddr::new(BASE + addr % (WINDOW * PAGE)),
            _ => at(addr % WINDOW),
        };
        let sensible = self
            .live
            .keys()
            .any(|start| *start == addr || (call % 6 == 3 && *start == addr.page_start()));
        if sensible {
            return;
        }
        let result: Result<(), ArenaError> = match call % 6 {
            0 => self.arena.vfree(addr),
            1 => self.arena.vunmap(addr),
            2 => self
                .arena
                .vm_unmap_ram(addr, PageCount::new(u64::from(call) * 3)),
            3 => self.arena.iounmap(addr),
            4 => self.arena.free_vm_area(addr),
            _ => self.arena.vrealloc(addr, bytes(1)).map(|_| ()),
        };
        let error = result.unwrap_err();
        assert!(
            error.to_string().contains("0x"),
            "names no address: {error}"
        );
    }

    /// All of the window shows what it should.
    fn check(&self) {
        let mut expected = vec![0; (WINDOW * PAGE) as usize];
        for (addr, live) in &self.live {
            let offset = (addr.get() - BASE) as usize;
            let mut put = |bytes: &[u8], at: usize| {
                expected[offset + at..offset + at + bytes.len()].copy_from_slice(bytes);
            };
            match live {
                Live::Vmalloc(content) => put(content, 0),
                Live::Vmap(frames) | Live::Ram(frames) => {
                    for (n, frame) in frames.iter().enumerate() {
                        put(&[self.own_bytes[*frame]; PAGE as usize], n * PAGE as usize);
                    }
                }
                Live::Ioremap | Live::Sparse(_) => {}
            }
        }
        let mut found = vec![0xa5; expected.len()];
        let mut segment = Plain::new(&mut found);
        let mut iter = IovIter::ubuf(&mut segment);
        let progress = vread_iter(&self.arena, &mut iter, at(0), bytes(WINDOW));
        assert_eq!(progress.advanced(), bytes(WINDOW));
        // As slices first: a look at each byte is slow where every branch is counted.
        if expected != found {
            let wrong = expected.iter().zip(&found).position(|(a, b)| a != b);
            panic!("byte {wrong:?} differs");
        }
    }
}

fuzz_target!(|ops: Vec<Op>| {
    let mut model = Model::new();
    for op in ops.iter().take(MAX_OPS) {
        model.apply(op);
        model.free_pages(false);
    }
    model.check();
    // Nothing is left of anything.
    let live: Vec<VirtAddr> = model.live.keys().copied().collect();
    for addr in live {
        model.unmap(addr);
    }
    model.check();
    model.arena.purge_vmap_area_lazy();
    assert_eq!(model.arena.areas(), []);
    for frame in &model.own {
        model.arena.frames().free_frame(*frame);
    }
    assert_eq!(
        model.arena.frames().taken(),
        PageCount::new(0),
        "leaked frames"
    );
    let all = model.arena.get_vm_area_sparse(bytes(WINDOW - 1));
    assert_eq!(all, Ok(at(0)), "leaked room");
});
