//! Random operations on an arena, against a model of byte arrays.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "small numbers of the test's own"
)]

mod own;

use std::collections::BTreeMap;

use own::{BASE, PAGE, bytes, check_empty, pages, read};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use vread_addr::{ByteLen, PageCount, Pfn, PhysAddr, VirtAddr, VirtRange};
use vread_vmalloc::{
    Arena, ArenaError, FrameProvider, HeapFrames, PMD_PAGES, PageRun, VmFlags, VmapSpace,
};

const WINDOW_PAGES: u64 = 3072;
const FRAMES: u64 = 1100;
/// The frames that the model owns and maps.
const OWN_FRAMES: u64 = 80;

/// What to do; numbers are taken modulo what there is.
#[derive(Debug, Clone, Copy)]
enum Op {
    Vmalloc {
        size: u64,
    },
    VmallocAligned {
        size: u64,
        align: u32,
    },
    VmallocHuge {
        size: u64,
    },
    Vfree {
        which: usize,
    },
    Vrealloc {
        which: usize,
        size: u64,
    },
    Write {
        which: usize,
        at: u64,
        len: u64,
        byte: u8,
    },
    Vmap {
        first: u64,
        count: u64,
    },
    MapRam {
        first: u64,
        count: u64,
    },
    Unmap {
        which: usize,
    },
    Ioremap {
        phys: u64,
        size: u64,
    },
    Sparse {
        size: u64,
    },
    WriteFrame {
        frame: u64,
        byte: u8,
    },
    FreeNonsense {
        at: u64,
    },
    Purge,
    Read {
        at: u64,
        len: u64,
    },
}

fn ops() -> impl Strategy<Value = Op> {
    let which = any::<usize>;
    let size = || prop_oneof![1..3 * PAGE, 1..40 * PAGE, Just(0), Just(PAGE)];
    prop_oneof![
        6 => size().prop_map(|size| Op::Vmalloc { size }),
        2 => (size(), 0..6_u32).prop_map(|(size, align)| Op::VmallocAligned { size, align }),
        1 => (1..PMD_PAGES * PAGE * 5 / 4).prop_map(|size| Op::VmallocHuge { size }),
        5 => which().prop_map(|which| Op::Vfree { which }),
        3 => (which(), size()).prop_map(|(which, size)| Op::Vrealloc { which, size }),
        8 => (which(), any::<u64>(), 1..3 * PAGE, 1..=255_u8)
            .prop_map(|(which, at, len, byte)| Op::Write { which, at, len, byte }),
        2 => (0..OWN_FRAMES, 0..9_u64).prop_map(|(first, count)| Op::Vmap { first, count }),
        4 => (0..OWN_FRAMES, prop_oneof![0..9_u64, 60..70_u64])
            .prop_map(|(first, count)| Op::MapRam { first, count }),
        5 => which().prop_map(|which| Op::Unmap { which }),
        1 => (0..1_u64 << 40, size()).prop_map(|(phys, size)| Op::Ioremap { phys, size }),
        1 => size().prop_map(|size| Op::Sparse { size }),
        3 => (0..OWN_FRAMES, any::<u8>()).prop_map(|(frame, byte)| Op::WriteFrame { frame, byte }),
        2 => any::<u64>().prop_map(|at| Op::FreeNonsense { at }),
        1 => Just(Op::Purge),
        8 => (0..WINDOW_PAGES * PAGE, 1..20 * PAGE).prop_map(|(at, len)| Op::Read { at, len }),
    ]
}

/// A live area or mapping.
#[derive(Debug)]
enum Live {
    /// Bytes of its own, as long as its pages.
    Vmalloc(Vec<u8>),
    /// Frames of the model's, by their number in its list.
    Vmap(Vec<u64>),
    Ram(Vec<u64>),
    Ioremap,
    Sparse,
}

struct Model {
    arena: Arena<HeapFrames>,
    frames: Vec<Pfn>,
    frame_bytes: Vec<Vec<u8>>,
    live: BTreeMap<VirtAddr, Live>,
    /// How many allocations got huge pages.
    huge: u32,
}

impl Model {
    fn new() -> Self {
        let frames = HeapFrames::new(PageCount::new(FRAMES));
        let arena: Arena<HeapFrames> = Arena::new(pages(0, WINDOW_PAGES), frames).unwrap();
        let frames = (0..OWN_FRAMES).map(|_| arena.frames().alloc_frame().unwrap());
        Self {
            frames: frames.collect(),
            frame_bytes: (0..OWN_FRAMES).map(|_| vec![0; 4096]).collect(),
            live: BTreeMap::new(),
            huge: 0,
            arena,
        }
    }

    /// The pages of a live area that a reader may get content of, and the page behind its last.
    fn extent(start: VirtAddr, live: &Live) -> VirtRange {
        let len = match live {
            Live::Vmalloc(bytes) => ByteLen::from_usize(bytes.len()),
            Live::Vmap(frames) | Live::Ram(frames) => {
                bytes(ByteLen::from_usize(frames.len()).get())
            }
            Live::Ioremap | Live::Sparse => bytes(1),
        };
        VirtRange::from_len(start.page_start(), len).unwrap()
    }

    fn add(&mut self, start: VirtAddr, live: Live) {
        let range = Self::extent(start, &live);
        assert!(self.arena.window().contains_range(&range), "V13");
        for (other, live) in &self.live {
            assert_eq!(range.intersection(&Self::extent(*other, live)), None, "V1");
        }
        self.live.insert(start, live);
    }

    fn pick(&self, which: usize, wanted: impl Fn(&Live) -> bool) -> Option<VirtAddr> {
        let starts: Vec<VirtAddr> = self
            .live
            .iter()
            .filter(|(_, live)| wanted(live))
            .map(|(start, _)| *start)
            .collect();
        (!starts.is_empty()).then(|| starts[which % starts.len()])
    }

    fn chosen(&self, first: u64, count: u64) -> (Vec<u64>, Vec<Pfn>) {
        let numbers: Vec<u64> = (first..first + count).map(|n| n % OWN_FRAMES).collect();
        let frames = numbers
            .iter()
            .map(|n| self.frames[usize::try_from(*n).unwrap()]);
        (numbers.clone(), frames.collect())
    }

    fn free(&mut self, start: VirtAddr) {
        let freed = match self.live.remove(&start).unwrap() {
            Live::Vmalloc(_) => self.arena.vfree(start),
            Live::Vmap(_) => self.arena.vunmap(start),
            Live::Ram(frames) => {
                let count = PageCount::new(ByteLen::from_usize(frames.len()).get());
                self.arena.vm_unmap_ram(start, count)
            }
            Live::Ioremap => self.arena.iounmap(start),
            Live::Sparse => self.arena.free_vm_area(start),
        };
        freed.unwrap();
    }

    /// Whether the area has huge pages, each of them one run (V28).
    fn is_huge(&self, start: VirtAddr) -> bool {
        let mut areas = self.arena.areas().into_iter();
        let area = areas.find(|area| area.range.start() == start).unwrap();
        let vm = area.vm.unwrap();
        let is_huge = vm.flags.contains(VmFlags::ALLOW_HUGE_VMAP);
        if is_huge {
            for page in (0..vm.nr_pages.get()).step_by(usize::try_from(PMD_PAGES).unwrap()) {
                let at = start.wrapping_add(bytes(page));
                let run = self.arena.vmalloc_to_run(at, bytes(WINDOW_PAGES)).unwrap();
                assert!(matches!(run, PageRun::Mapped { .. }), "{at}");
                assert_eq!(run.len(), bytes(PMD_PAGES), "{at}");
            }
        }
        is_huge
    }

    /// What `size` bytes may be refused for, or the new area's bytes.
    fn check_size(&self, size: u64, got: Result<VirtAddr, ArenaError>) -> Option<VirtAddr> {
        match got {
            Err(ArenaError::ZeroSize) => assert_eq!(size, 0),
            Err(ArenaError::OutOfFrames { needed, .. }) => {
                let free = FRAMES - self.arena.frames().taken().get();
                assert!(needed.get() > free, "{needed:?} of {free}");
            }
            Err(ArenaError::NoSpace { .. }) => {}
            Err(error) => unreachable!("{error}"),
            Ok(start) => {
                assert_ne!(size, 0);
                return Some(start);
            }
        }
        None
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Vmalloc { size } => {
                let got = self.arena.vmalloc(ByteLen::new(size));
                if let Some(start) = self.check_size(size, got) {
                    self.add(start, Live::Vmalloc(vec![0; pages_of(size)]));
                }
            }
            Op::VmallocAligned { size, align } => {
                let align = ByteLen::new(PAGE << align);
                let window = self.arena.window();
                let got = self.arena.vmalloc_range(ByteLen::new(size), align, window);
                if let Some(start) = self.check_size(size, got) {
                    assert!(start.get().is_multiple_of(align.get()), "V13");
                    self.add(start, Live::Vmalloc(vec![0; pages_of(size)]));
                }
            }
            Op::VmallocHuge { size } => {
                let got = self.arena.vmalloc_huge(ByteLen::new(size));
                if let Some(start) = self.check_size(size, got) {
                    let mut size = size;
                    if self.is_huge(start) {
                        self.huge += 1;
                        size = size.next_multiple_of(PMD_PAGES * PAGE);
                    }
                    self.add(start, Live::Vmalloc(vec![0; pages_of(size)]));
                }
            }
            Op::Vfree { which } => {
                if let Some(start) = self.pick(which, |live| matches!(live, Live::Vmalloc(_))) {
                    self.free(start);
                }
            }
            Op::Vrealloc { which, size } => {
                let Some(start) = self.pick(which, |live| matches!(live, Live::Vmalloc(_))) else {
                    return;
                };
                let was_huge = self.is_huge(start);
                let got = self.arena.vrealloc(start, ByteLen::new(size));
                let Live::Vmalloc(had) = &self.live[&start] else {
                    return;
                };
                let had = had.len();
                if let Err(ArenaError::OutOfFrames { needed, .. }) = got {
                    // Only the pages on top are needed.
                    assert!(needed.get() * PAGE < u64::try_from(pages_of(size)).unwrap());
                }
                if got.is_err() {
                    assert!(size == 0 || pages_of(size) > had);
                    return;
                }
                let moved = got.unwrap();
                assert_eq!(moved == start, pages_of(size) <= had, "V10");
                let Some(Live::Vmalloc(mut bytes)) = self.live.remove(&start) else {
                    return;
                };
                // V10: huge pages stay.
                if !(moved == start && was_huge) {
                    bytes.resize(pages_of(size), 0);
                }
                self.add(moved, Live::Vmalloc(bytes));
            }
            Op::Write {
                which,
                at,
                len,
                byte,
            } => {
                let Some(start) = self.pick(which, |live| matches!(live, Live::Vmalloc(_))) else {
                    return;
                };
                let Some(Live::Vmalloc(bytes)) = self.live.get_mut(&start) else {
                    return;
                };
                let at = usize::try_from(at).unwrap() % bytes.len();
                let len = usize::try_from(len).unwrap();
                let addr = start.checked_add(ByteLen::from_usize(at)).unwrap();
                let done = self.arena.write(addr, &vec![byte; len]);
                match bytes.get_mut(at..at + len) {
                    Some(target) => {
                        done.unwrap();
                        target.fill(byte);
                    }
                    None => assert!(matches!(done, Err(ArenaError::OutOfArea { .. }))),
                }
            }
            Op::Vmap { first, count } => {
                let (numbers, frames) = self.chosen(first, count);
                let got = self.arena.vmap(&frames);
                if let Some(start) = self.check_size(count, got) {
                    self.add(start, Live::Vmap(numbers));
                }
            }
            Op::MapRam { first, count } => {
                let (numbers, frames) = self.chosen(first, count);
                let got = self.arena.vm_map_ram(&frames);
                if let Some(start) = self.check_size(count, got) {
                    self.add(start, Live::Ram(numbers));
                }
            }
            Op::Unmap { which } => {
                if let Some(start) = self.pick(which, |live| !matches!(live, Live::Vmalloc(_))) {
                    self.free(start);
                }
            }
            Op::Ioremap { phys, size } => {
                let got = self.arena.ioremap(PhysAddr::new(phys), ByteLen::new(size));
                if let Some(start) = self.check_size(size, got) {
                    self.add(start, Live::Ioremap);
                }
            }
            Op::Sparse { size } => {
                let got = self.arena.get_vm_area_sparse(ByteLen::new(size));
                if let Some(start) = self.check_size(size, got) {
                    self.add(start, Live::Sparse);
                }
            }
            Op::WriteFrame { frame, byte } => {
                let number = usize::try_from(frame).unwrap();
                let frames = self.arena.frames();
                frames
                    .write_frame(self.frames[number], ByteLen::ZERO, &[byte; 4096])
                    .unwrap();
                self.frame_bytes[number].fill(byte);
            }
            Op::FreeNonsense { at } => {
                let addr = VirtAddr::new(BASE + at % (WINDOW_PAGES * PAGE));
                if !self.live.contains_key(&addr) {
                    assert!(self.arena.vfree(addr).is_err());
                    assert!(self.arena.vm_unmap_ram(addr, PageCount::new(1)).is_err());
                }
            }
            Op::Purge => self.arena.purge_vmap_area_lazy(),
            Op::Read { at, len } => {
                let addr = VirtAddr::new(BASE + at);
                let (bytes, _progress) = read(&self.arena, addr, len);
                assert!(bytes == self.expected(addr, len), "{addr} {len:#x}");
                self.check_find(addr);
            }
        }
    }

    /// An area is found by any of its addresses, and by no other.
    fn check_find(&self, addr: VirtAddr) {
        let found = self.arena.find_vmap_area(addr);
        let mut all = self.arena.areas().into_iter().map(|area| area.range);
        assert_eq!(found, all.find(|range| range.contains(addr)), "{addr}");
        let mut live = self.live.iter();
        let live = live.find_map(|(start, live)| {
            let extent = Self::extent(*start, live);
            extent.contains(addr).then_some(extent)
        });
        if let Some(extent) = live {
            assert!(found.is_some_and(|found| found.contains_range(&extent)));
        }
    }

    fn expected(&self, addr: VirtAddr, len: u64) -> Vec<u8> {
        let wanted = VirtRange::from_len(addr, ByteLen::new(len)).unwrap();
        let mut out = vec![0; usize::try_from(len).unwrap()];
        for (start, live) in &self.live {
            let content: Vec<u8> = match live {
                Live::Vmalloc(bytes) => bytes.clone(),
                Live::Vmap(numbers) | Live::Ram(numbers) => {
                    let number = |n: &u64| self.frame_bytes[usize::try_from(*n).unwrap()].clone();
                    numbers.iter().flat_map(number).collect()
                }
                Live::Ioremap | Live::Sparse => continue,
            };
            let range = VirtRange::from_len(*start, ByteLen::from_usize(content.len())).unwrap();
            if let Some(shared) = range.intersection(&wanted) {
                let offset = |base: VirtAddr| {
                    let len = shared.start().checked_offset_from(base);
                    len.unwrap().to_usize().unwrap()
                };
                let len = shared.len().to_usize().unwrap();
                let (to, from) = (offset(addr), offset(*start));
                out[to..to + len].copy_from_slice(&content[from..from + len]);
            }
        }
        out
    }

    fn finish(mut self) {
        let all = self.expected(VirtAddr::new(BASE), WINDOW_PAGES * PAGE);
        let (bytes, _progress) = read(&self.arena, VirtAddr::new(BASE), WINDOW_PAGES * PAGE);
        assert!(bytes == all);
        while let Some(start) = self.live.keys().next().copied() {
            self.free(start);
        }
        self.arena.purge_vmap_area_lazy();
        for frame in &self.frames {
            self.arena.frames().free_frame(*frame);
        }
        check_empty(&self.arena);
    }
}

/// The bytes of the pages that `size` bytes need.
fn pages_of(size: u64) -> usize {
    usize::try_from(size.div_ceil(PAGE) * PAGE).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Short sequences, which shrink to something a person can read.
    #[test]
    fn short_sequences_match_byte_arrays(ops in prop::collection::vec(ops(), 0..120)) {
        let mut model = Model::new();
        for op in ops {
            model.apply(op);
        }
        model.finish();
    }
}

#[test]
fn ten_thousand_operations_match_byte_arrays() {
    for seed in 0..2 {
        let mut config = ProptestConfig::with_cases(1);
        config.rng_seed = RngSeed::Fixed(seed);
        config.max_shrink_iters = 2000;
        let mut runner = TestRunner::new(config);
        let sequences = prop::collection::vec(ops(), 10_000);
        let result = runner.run(&sequences, |ops| {
            let mut model = Model::new();
            // Later there is seldom room for a huge page.
            model.apply(Op::VmallocHuge { size: 2 << 20 });
            assert_eq!(model.huge, 1);
            for op in ops {
                model.apply(op);
            }
            model.finish();
            Ok(())
        });
        result.unwrap();
    }
}
