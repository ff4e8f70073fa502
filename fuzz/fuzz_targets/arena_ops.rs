//! Any sequence of allocations, mappings and frees, sensible or not: the arena against arrays of bytes and
//! a list of pages (V1, V6, V10, V13 to V16, V20, V21, V24, V26, V29, R16).
#![no_main]
#![forbid(unsafe_code)]

#[path = "arena_ops/op.rs"]
mod op;

use std::cell::RefCell;
use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use vread_addr::{ByteLen, PageCount, Pfn, PhysAddr, VirtAddr, VirtRange};
use vread_iov_iter::{IovIter, Plain};
use vread_vmalloc::{Arena, ArenaError, FrameProvider, HeapFrames, vread_iter};

use crate::op::Op;

const PAGE: u64 = 4096;
const BASE: u64 = 0xffff_c900_0000_0000;
/// Room for a block of short mappings, wherever it is aligned, and some more.
const WINDOW: u64 = 2304;
const FRAMES: u64 = 96;
/// Frames of the caller's own, more than a block gives to one mapping.
const OWN: usize = 66;
const MAX_OPS: usize = 48;
/// The window is looked at so many pages at a time: they fit into a processor's own cache.
const PIECE: u64 = 16;
static ZEROS: [u8; (PIECE * PAGE) as usize] = [0; (PIECE * PAGE) as usize];

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; ZEROS.len()]);
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

impl Live {
    /// How many pages may show something.
    fn pages(&self) -> u64 {
        match self {
            Self::Vmalloc(content) => pages_of(content.len() as u64),
            Self::Vmap(frames) | Self::Ram(frames) => frames.len() as u64,
            Self::Ioremap => 0,
            Self::Sparse(pages) => *pages,
        }
    }
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

/// Which page of the window `addr` lies in.
fn page_of(addr: VirtAddr) -> u64 {
    (addr.get() - BASE) / PAGE
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

    /// The runs of pages in no area, lowest first, and with `lazy` also those that wait for a purge.
    ///
    /// As ranges: a look at each page is slow where every branch is counted.
    fn free_runs(&self, lazy: bool) -> Vec<VirtRange> {
        let mut taken: Vec<VirtRange> = self.arena.areas().iter().map(|area| area.range).collect();
        if !lazy {
            taken.extend(self.arena.lazily_freed());
        }
        taken.sort_by_key(VirtRange::start);
        let mut free = Vec::new();
        let mut end = window().start();
        for range in taken {
            assert!(range.start() >= end, "two areas on one page");
            free.extend(VirtRange::new(end, range.start()).filter(|run| !run.is_empty()));
            end = range.end();
        }
        assert!(end <= window().end(), "an area outside of the window");
        free.extend(VirtRange::new(end, window().end()).filter(|run| !run.is_empty()));
        free
    }

    /// Where an area of `pages` pages must go (V13, V15).
    fn lowest(&self, pages: u64, align: u64, within: VirtRange) -> Option<VirtAddr> {
        let exact = within.len() == bytes(pages);
        let needed = if align > PAGE && !exact {
            pages * PAGE + align - 1
        } else {
            pages * PAGE
        };
        let fit = |free: &[VirtRange]| {
            free.iter().find_map(|run| {
                let start = run.start().max(within.start());
                let start = start.get().next_multiple_of(align);
                let end = start + pages * PAGE;
                let fits = run.len().get() >= needed
                    && end <= run.end().get()
                    && end <= within.end().get();
                fits.then(|| VirtAddr::new(start))
            })
        };
        fit(&self.free_runs(false)).or_else(|| fit(&self.free_runs(true)))
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
    ///
    /// It is read in pieces, into one buffer that stays in a cache: fresh memory for every input is what a
    /// sanitizer is slowest at. Slices are compared as such: so is a look at each byte.
    fn check(&self) {
        BUFFER.with_borrow_mut(|buffer| {
            for piece in 0..WINDOW / PIECE {
                let first = piece * PIECE;
                buffer.fill(0xa5);
                let mut segment = Plain::new(buffer);
                let mut iter = IovIter::ubuf(&mut segment);
                let progress = vread_iter(&self.arena, &mut iter, at(first), bytes(PIECE));
                assert_eq!(progress.advanced(), bytes(PIECE));
                self.check_pages(first, buffer);
            }
        });
    }

    /// `found`, read from page `first` on, is what the model has there.
    fn check_pages(&self, first: u64, found: &[u8]) {
        let mut touching = self.live.range(..at(first + PIECE)).rev();
        let none = touching
            .next()
            .is_none_or(|(start, live)| page_of(*start) + live.pages() <= first);
        if none {
            assert!(found == ZEROS, "bytes in free pages from page {first} on");
            return;
        }
        for (page, found) in (first..).zip(found.chunks_exact(PAGE as usize)) {
            let own;
            let expected = match self.live.range(..=at(page)).next_back() {
                Some((start, live)) if page - page_of(*start) < live.pages() => {
                    let page = (page - page_of(*start)) as usize;
                    match live {
                        Live::Vmalloc(content) => &content[page * PAGE as usize..],
                        Live::Vmap(frames) | Live::Ram(frames) => {
                            own = [self.own_bytes[frames[page]]; PAGE as usize];
                            &own
                        }
                        Live::Ioremap | Live::Sparse(_) => &ZEROS,
                    }
                }
                _ => &ZEROS,
            };
            let expected = &expected[..PAGE as usize];
            if expected != found {
                let wrong = expected.iter().zip(found).position(|(a, b)| a != b);
                panic!("byte {wrong:?} of page {page} differs");
            }
        }
    }
}

fuzz_target!(|ops: Vec<Op>| {
    let mut model = Model::new();
    for op in ops.iter().take(MAX_OPS) {
        model.apply(op);
        model.free_runs(false);
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
