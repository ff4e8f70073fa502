//! A kernel's vmalloc space made of plain lists, in any state that a real one can be in.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "each test file uses a part of it; small numbers of the tests' own"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;

use vread_addr::{ByteLen, PageCount, PhysAddr, VirtAddr, VirtRange};
use vread_iov_iter::{Destination, IovIter, PageSource, Progress, SourceFailure};
use vread_vmalloc::{PageRun, VmFlags, VmStruct, VmapArea, VmapAreaFlags, VmapSpace};

pub const PAGE: u64 = 4096;
/// Where the model's vmalloc space begins.
pub const BASE: u64 = 0xffff_c900_0000_0000;

/// The byte at physical address `phys`: never zero, and different from page to page.
pub fn content(phys: u64) -> u8 {
    let mixed = (phys ^ (phys >> 12).wrapping_mul(0x9e37_79b9)) % 251;
    u8::try_from(mixed).unwrap() + 1
}

#[derive(Default)]
pub struct Model {
    areas: RefCell<Vec<VmapArea>>,
    /// Page address to frame address.
    pages: RefCell<BTreeMap<u64, u64>>,
    /// How many areas are locked right now.
    held: Cell<u32>,
    pub searches: Cell<u32>,
    /// The frames that were read.
    pub read: RefCell<Vec<u64>>,
    /// How many copies of runs were made.
    pub copies: Cell<u32>,
    /// Set to make the next question fail.
    pub failure: Cell<Option<SourceFailure>>,
    /// The longest run that is handed out.
    pub longest_run: Cell<Option<u64>>,
    /// How many runs are handed out at once, if not one; for 0, none where nothing is mapped.
    pub runs_at_once: Cell<Option<u64>>,
}

impl Model {
    /// Lists `area` and maps its first `mapped` pages, physically scattered.
    pub fn with(self, area: VmapArea, mapped: u64) -> Self {
        for page in 0..mapped {
            let at = area.range.start().get() + page * PAGE;
            self.pages.borrow_mut().insert(at, frame_of(at));
        }
        self.areas.borrow_mut().push(area);
        self
    }

    pub fn map(&self, at: u64, frame: u64) {
        self.pages.borrow_mut().insert(at, frame);
    }

    pub fn unmap(&self, at: u64) {
        self.pages.borrow_mut().remove(&at);
    }

    /// Changes the area that starts at `at`.
    pub fn change(&self, at: u64, change: impl FnOnce(&mut VmapArea)) {
        let mut areas = self.areas.borrow_mut();
        let area = areas.iter_mut().find(|a| a.range.start().get() == at);
        change(area.unwrap());
    }

    pub fn held(&self) -> u32 {
        self.held.get()
    }

    /// What is mapped at `addr`, whatever the areas say.
    pub fn mapped_byte(&self, addr: u64) -> u8 {
        let page = self.pages.borrow().get(&(addr & !(PAGE - 1))).copied();
        page.map_or(0, |frame| content(frame + addr % PAGE))
    }
}

/// The frame that the model maps at a page: neighbours are not neighbours.
pub fn frame_of(page: u64) -> u64 {
    ((page / PAGE).wrapping_mul(0x0012_3457) % 0x0100_0000) * PAGE
}

pub struct Held<'m> {
    model: &'m Model,
    area: VmapArea,
}

impl Deref for Held<'_> {
    type Target = VmapArea;

    fn deref(&self) -> &VmapArea {
        &self.area
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.model.held.set(self.model.held.get() - 1);
    }
}

impl VmapSpace for Model {
    type Locked<'a> = Held<'a>;

    fn find_vmap_area_exceed_addr_lock(
        &self,
        addr: VirtAddr,
        within: ByteLen,
    ) -> Result<Option<Held<'_>>, SourceFailure> {
        assert_eq!(self.held.get(), 0, "R28: one area is held at a time");
        assert!(!within.is_zero(), "a search for no bytes");
        self.searches.set(self.searches.get() + 1);
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let areas = self.areas.borrow();
        let above = areas.iter().filter(|area| area.range.end() > addr);
        let found = above.min_by_key(|area| area.range.start());
        Ok(found.map(|area| {
            self.held.set(1);
            Held {
                model: self,
                area: *area,
            }
        }))
    }

    fn vmalloc_to_run(&self, addr: VirtAddr, max: ByteLen) -> Result<PageRun, SourceFailure> {
        assert_eq!(
            self.held.get(),
            1,
            "R22: pages are looked up under the lock"
        );
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let offset = addr.get() % PAGE;
        let page = addr.get() - offset;
        let pages = self.pages.borrow();
        let first = pages.get(&page).copied();
        let follows = |n: u64| match (first, pages.get(&(page + n * PAGE))) {
            (Some(first), Some(frame)) => *frame == first + n * PAGE,
            (None, None) => true,
            _ => false,
        };
        let more = (1..64).take_while(|n| follows(*n)).count();
        let len = (u64::try_from(more).unwrap() + 1) * PAGE - offset;
        let longest = self.longest_run.get().unwrap_or(u64::MAX);
        let len = ByteLen::new(len.min(longest)).min(max);
        Ok(match first {
            Some(frame) => PageRun::Mapped {
                phys: PhysAddr::new(frame + offset),
                len,
            },
            None => PageRun::Hole { len },
        })
    }

    fn vmalloc_to_runs(
        &self,
        addr: VirtAddr,
        max: ByteLen,
    ) -> impl Iterator<Item = Result<PageRun, SourceFailure>> {
        let page = addr.page_start().get();
        let count = match self.runs_at_once.get() {
            Some(0) => u64::from(self.pages.borrow().contains_key(&page)),
            runs => runs.unwrap_or(1),
        };
        let mut at = addr;
        (0..count).map(move |_| {
            let run = self.vmalloc_to_run(at, max)?;
            at = at.wrapping_add(run.len());
            Ok(run)
        })
    }
}

impl<D: Destination> PageSource<D> for Model {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        assert_eq!(self.held.get(), 1, "R22: pages are read under the lock");
        self.copies.set(self.copies.get() + 1);
        let start = start.get();
        let bytes: Vec<u8> = (start..start + len.get()).map(content).collect();
        let mut read = self.read.borrow_mut();
        read.extend((start / PAGE..=(start + len.get() - 1) / PAGE).map(|frame| frame * PAGE));
        let done = iter.copy_to_iter_nofault(&bytes);
        Progress::copied(ByteLen::from_usize(done)).or_dest_fault(len)
    }
}

/// An area of `pages` pages at page `at` of the space, with its guard page if it has one, and its
/// descriptor.
pub fn described(at: u64, pages: u64, flags: VmFlags) -> VmapArea {
    let owned = flags.contains(VmFlags::ALLOC);
    VmapArea {
        range: range(at, pages),
        flags: VmapAreaFlags::empty(),
        vm: Some(VmStruct {
            size: ByteLen::new(pages * PAGE),
            flags,
            nr_pages: PageCount::new(if owned { pages - 1 } else { 0 }),
            phys_addr: PhysAddr::new(0),
            caller: VirtAddr::new(0),
        }),
    }
}

/// An area without descriptor.
pub fn bare(at: u64, pages: u64, flags: VmapAreaFlags) -> VmapArea {
    VmapArea {
        range: range(at, pages),
        flags,
        vm: None,
    }
}

pub fn range(at: u64, pages: u64) -> VirtRange {
    let start = VirtAddr::new(BASE + at * PAGE);
    VirtRange::from_len(start, ByteLen::new(pages * PAGE)).unwrap()
}

/// Reads `len` bytes from `addr` into memory that is always there.
pub fn read(model: &Model, addr: u64, len: usize) -> (Vec<u8>, Progress) {
    let mut buffer = vec![0xa5; len];
    let mut segment = vread_iov_iter::Plain::new(&mut buffer);
    let mut iter = IovIter::ubuf(&mut segment);
    let len = ByteLen::from_usize(len);
    let progress = vread_vmalloc::vread_iter(model, &mut iter, VirtAddr::new(addr), len);
    assert_eq!(model.held(), 0, "an area is still locked");
    (buffer, progress)
}
