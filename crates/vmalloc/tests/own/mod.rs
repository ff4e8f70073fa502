//! An arena of a mebibyte or so, and reading it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "each test file uses a part of it; small numbers of the tests' own"
)]

use std::sync::{Arc, OnceLock};

use vread_addr::{ByteLen, PageCount, Pfn, PhysAddr, VirtAddr, VirtRange};
use vread_iov_iter::{Destination, IovIter, PageSource, Plain, Progress, SourceFailure};
use vread_vmalloc::{Arena, FrameProvider, HeapFrames, vread_iter};

pub const PAGE: u64 = 4096;
pub const BASE: u64 = 0xffff_c900_0000_0000;

pub fn arena(window_pages: u64, frames: u64) -> Arena<HeapFrames> {
    let window = pages(0, window_pages);
    Arena::new(window, HeapFrames::new(PageCount::new(frames))).unwrap()
}

/// The address of page `page` of the window.
pub fn at(page: u64) -> VirtAddr {
    VirtAddr::new(BASE + page * PAGE)
}

pub fn pages(first: u64, count: u64) -> VirtRange {
    VirtRange::from_len(at(first), bytes(count)).unwrap()
}

/// The bytes of `count` pages.
pub fn bytes(count: u64) -> ByteLen {
    ByteLen::new(count * PAGE)
}

pub fn read<P>(arena: &Arena<P>, addr: VirtAddr, len: u64) -> (Vec<u8>, Progress)
where
    P: FrameProvider + for<'a> PageSource<Plain<'a>>,
{
    let mut buffer = vec![0xa5; usize::try_from(len).unwrap()];
    let mut segment = Plain::new(&mut buffer);
    let mut iter = IovIter::ubuf(&mut segment);
    let progress = vread_iter(arena, &mut iter, addr, ByteLen::new(len));
    assert_eq!(progress.stopped, None);
    assert_eq!(progress.advanced(), ByteLen::new(len));
    (buffer, progress)
}

/// What the pages from `first` on show: one byte each if it fills the page, `None` if they differ.
pub fn show(arena: &Arena<HeapFrames>, first: VirtAddr, count: u64) -> Vec<Option<u8>> {
    let (buffer, _progress) = read(arena, first, count * PAGE);
    let one = |page: &[u8]| {
        let byte = page.first().copied();
        byte.filter(|byte| page.iter().all(|other| other == byte))
    };
    buffer.chunks(4096).map(one).collect()
}

/// Fills `count` pages from `addr` with `first`, `first + 1` and so on.
pub fn fill(arena: &Arena<HeapFrames>, addr: VirtAddr, count: u8, first: u8) {
    for page in 0..count {
        let at = addr.wrapping_add(bytes(u64::from(page)));
        arena.write(at, &[first + page; 4096]).unwrap();
    }
}

/// Frames of the caller's, full of `first`, `first + 1` and so on.
pub fn take(arena: &Arena<HeapFrames>, count: u8, first: u8) -> Vec<Pfn> {
    (0..count)
        .map(|n| {
            let frame = arena.frames().alloc_frame().unwrap();
            let content = [first + n; 4096];
            arena
                .frames()
                .write_frame(frame, ByteLen::ZERO, &content)
                .unwrap();
            frame
        })
        .collect()
}

/// Gives them back.
pub fn put(arena: &Arena<HeapFrames>, frames: Vec<Pfn>) {
    frames
        .into_iter()
        .for_each(|frame| arena.frames().free_frame(frame));
}

/// That nothing is left: no area, no frame, and all of the window is free.
pub fn check_empty(arena: &Arena<HeapFrames>) {
    assert_eq!(arena.areas(), []);
    assert_eq!(arena.frames().taken(), PageCount::new(0), "leaked frames");
    arena.purge_vmap_area_lazy();
    assert_eq!(arena.lazily_freed(), []);
    let all = arena.window().len().checked_sub(bytes(1)).unwrap();
    let area = arena.get_vm_area_sparse(all).unwrap();
    assert_eq!(area, arena.window().start());
    arena.free_vm_area(area).unwrap();
}

type Hook = Box<dyn Fn(&Arena<Watched>) + Send + Sync>;

/// Frames that call back when one is taken or given back: the arena can be looked at in the middle.
pub struct Watched {
    pub frames: HeapFrames,
    arena: OnceLock<std::sync::Weak<Arena<Watched>>>,
    on_alloc: OnceLock<Hook>,
    on_free: OnceLock<Hook>,
}

impl Watched {
    pub fn arena(window_pages: u64, frames: u64) -> Arc<Arena<Watched>> {
        let frames = Watched {
            frames: HeapFrames::new(PageCount::new(frames)),
            arena: OnceLock::new(),
            on_alloc: OnceLock::new(),
            on_free: OnceLock::new(),
        };
        let arena = Arc::new(Arena::new(pages(0, window_pages), frames).unwrap());
        let _set = arena.frames().arena.set(Arc::downgrade(&arena));
        arena
    }

    pub fn on_alloc(&self, hook: impl Fn(&Arena<Watched>) + Send + Sync + 'static) {
        assert!(self.on_alloc.set(Box::new(hook)).is_ok());
    }

    pub fn on_free(&self, hook: impl Fn(&Arena<Watched>) + Send + Sync + 'static) {
        assert!(self.on_free.set(Box::new(hook)).is_ok());
    }

    fn call(&self, hook: &OnceLock<Hook>) {
        if let Some(hook) = hook.get() {
            hook(&self.arena.get().unwrap().upgrade().unwrap());
        }
    }
}

impl FrameProvider for Watched {
    fn total(&self) -> PageCount {
        self.frames.total()
    }
    fn alloc_frame(&self) -> Option<Pfn> {
        self.call(&self.on_alloc);
        self.frames.alloc_frame()
    }
    fn free_frame(&self, frame: Pfn) {
        self.call(&self.on_free);
        self.frames.free_frame(frame);
    }
    fn write_frame(&self, frame: Pfn, offset: ByteLen, bytes: &[u8]) -> Result<(), SourceFailure> {
        self.frames.write_frame(frame, offset, bytes)
    }
}

impl<D: Destination> PageSource<D> for Watched {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        self.frames.copy_run_to_iter_nofault(start, len, iter)
    }
}
