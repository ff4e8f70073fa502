//! The correct rule for block areas (R26) beside the one that Linux has published (R24), for every
//! used-map of a block of 16 pages and every page that a read can start at.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "small numbers of the test's own"
)]

mod model;

use model::{BASE, Model, PAGE, bare};
use vread_addr::{ByteLen, PhysAddr, VirtAddr};
use vread_iov_iter::{Destination, IovIter, PageSource, Plain, Progress, SourceFailure};
use vread_vmalloc::{PageRun, VmapArea, VmapAreaFlags, VmapSpace, vread_iter};

const BLOCK_PAGES: u32 = 16;

/// R24 as published, on a block whose page `p` is used and holds `p + 1` if bit `p` is set: what each of
/// the `count` pages from page `start` on gets. Offsets in a page play no part here.
fn published(used: u16, start: u32, count: u32) -> Vec<u8> {
    let page = |p: u32| match used.checked_shr(p).unwrap_or(0) & 1 {
        1 => u8::try_from(p).unwrap() + 1,
        _ => 0,
    };
    let mut out = Vec::new();
    let left = |out: &Vec<u8>| count - u32::try_from(out.len()).unwrap();
    let mut at = start;
    for (run, end) in runs(used) {
        if left(&out) == 0 {
            break;
        }
        if at < run {
            let zeros = (run - at).min(left(&out));
            out.extend((0..zeros).map(|_| 0));
            at += zeros;
        }
        // One page too many (the end is exclusive), and from the run's start instead of from `at`.
        let pages = (end - run + 1).min(left(&out));
        out.extend((run..run + pages).map(page));
        at += pages;
    }
    let zeros = left(&out);
    out.extend((0..zeros).map(|_| 0));
    out
}

/// The pages that the published rule reads through the page tables on the way.
fn published_reads(used: u16, start: u32, count: u32) -> Vec<u32> {
    let mut reads = Vec::new();
    let (mut at, end) = (start, start + count);
    for (run, run_end) in runs(used) {
        at = at.max(run);
        let pages = (run_end - run + 1).min(end.saturating_sub(at));
        reads.extend(run..run + pages);
        at += pages;
    }
    reads
}

/// The runs of set bits, lowest first, as half-open ranges.
fn runs(used: u16) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for page in (0..BLOCK_PAGES).filter(|page| used >> page & 1 == 1) {
        match runs.last_mut() {
            Some((_, end)) if *end == page => *end += 1,
            _ => runs.push((page, page + 1)),
        }
    }
    runs
}

/// A block of which page `p` is mapped if bit `p` of the map is set; all its bytes are `p + 1` then.
struct Block {
    area: VmapArea,
    used: u16,
    pages: Vec<[u8; 4096]>,
}

impl Block {
    fn new() -> Self {
        Self {
            area: bare(
                0,
                u64::from(BLOCK_PAGES),
                VmapAreaFlags::RAM | VmapAreaFlags::BLOCK,
            ),
            used: 0,
            pages: (1..=16).map(|byte| [byte; 4096]).collect(),
        }
    }

    fn page(&self, page: u32) -> u8 {
        match self.used.checked_shr(page).unwrap_or(0) & 1 {
            1 => u8::try_from(page).unwrap() + 1,
            _ => 0,
        }
    }

    /// What `len` bytes from byte `offset` of page `start` read as through `vread_iter`.
    fn read(&self, start: u32, offset: u64, buffer: &mut [u8]) -> Progress {
        let len = ByteLen::from_usize(buffer.len());
        let mut segment = Plain::new(buffer);
        let mut iter = IovIter::ubuf(&mut segment);
        let addr = VirtAddr::new(BASE + u64::from(start) * PAGE + offset);
        let progress = vread_iter(self, &mut iter, addr, len);
        assert_eq!(progress.advanced(), len);
        progress
    }
}

impl VmapSpace for Block {
    type Locked<'a> = &'a VmapArea;

    fn find_vmap_area_exceed_addr_lock(
        &self,
        addr: VirtAddr,
        _within: ByteLen,
    ) -> Result<Option<&VmapArea>, SourceFailure> {
        Ok(Some(&self.area).filter(|area| area.range.end() > addr))
    }

    fn vmalloc_to_run(&self, addr: VirtAddr, max: ByteLen) -> Result<PageRun, SourceFailure> {
        let offset = addr.get() - BASE;
        let len = ByteLen::new(PAGE - offset % PAGE).min(max);
        Ok(match self.page(u32::try_from(offset / PAGE).unwrap()) {
            0 => PageRun::Hole { len },
            _ => PageRun::Mapped {
                phys: PhysAddr::new(offset),
                len,
            },
        })
    }
}

impl<D: Destination> PageSource<D> for Block {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        let page = self.pages.get(usize::try_from(start.get() / PAGE).unwrap());
        let done = iter.copy_to_iter_nofault(&page.unwrap()[..len.to_usize().unwrap()]);
        Progress::copied(ByteLen::from_usize(done)).or_dest_fault(len)
    }
}

#[test]
fn every_used_map_and_every_start_page() {
    let mut block = Block::new();
    let (mut checked, mut differs) = (0_u32, 0_u32);
    let mut whole = vec![0xa5; 16 * 4096];
    for used in 0..=u16::MAX {
        block.used = used;
        let mapping: Vec<u8> = (0..BLOCK_PAGES).map(|page| block.page(page)).collect();
        let progress = block.read(0, 0, &mut whole);
        assert_eq!(progress.copied.get(), u64::from(used.count_ones()) * PAGE);
        for (page, byte) in whole.chunks(4096).zip(&mapping) {
            assert!(page == [*byte; 4096], "{used:#x}");
        }
        for start in 0..BLOCK_PAGES {
            let mapping = &mapping[usize::try_from(start).unwrap()..];
            // R26: the first bytes of the page and its last are its own, wherever a read starts.
            let (mut first, mut last) = ([0xa5; 8], [0xa5; 1]);
            let _progress = block.read(start, 0, &mut first);
            let _progress = block.read(start, PAGE - 1, &mut last);
            assert_eq!((first, last), ([mapping[0]; 8], [mapping[0]]));

            // R25 a: wrong from the page behind the first used one on, for one page (how kcore reads) as
            // for the rest of the block.
            let wrong = used != 0 && start > used.trailing_zeros();
            assert_eq!(published(used, start, 1) != mapping[..1], wrong);
            let rest = BLOCK_PAGES - start;
            assert_eq!(published(used, start, rest) != mapping, wrong);
            checked += 1;
            differs += u32::from(wrong);
        }
    }
    // For a lowest used page f there are 2^(15 - f) maps and 15 - f later pages to start at.
    let predicted: u32 = (0..16).map(|f| (1 << (15 - f)) * (15 - f)).sum();
    println!(
        "{checked} cases: ours is the mapping in all, the published rule differs in {differs}"
    );
    assert_eq!((checked, differs), (16 << 16, predicted));
}

#[test]
fn page_behind_a_run_is_read_by_the_published_rule() {
    // R25 b: the published length of the run [0, 2) is three pages, so that the page behind it is asked
    // for as if it were used.
    assert_eq!(runs(0b0011), [(0, 2)]);
    assert_eq!(published(0b0011, 0, 4), [1, 2, 0, 0]);
    assert_eq!(published_reads(0b0011, 0, 4), [0, 1, 2]);
    assert_eq!(published_reads(0b1011, 0, 6), [0, 1, 2, 3, 4]);
    // Ours copies no page that is not in use.
    let mut block = Block::new();
    block.used = 0b1011;
    let progress = block.read(0, 0, &mut [0xa5; 6 * 4096]);
    assert_eq!(progress.copied, ByteLen::new(3 * PAGE));
}

#[test]
fn any_start_inside_a_page_reads_that_page() {
    // R26 for starts that are not page aligned, in the kernel's worked example: run [0, 4).
    let flags = VmapAreaFlags::RAM | VmapAreaFlags::BLOCK;
    let model = Model::default().with(bare(0, 16, flags), 4);
    for at in (0..6 * PAGE).step_by(509) {
        let (bytes, _progress) = model::read(&model, BASE + at, 5000);
        let wanted: Vec<u8> = (at..at + 5000)
            .map(|at| model.mapped_byte(BASE + at))
            .collect();
        assert!(bytes == wanted, "{at:#x}");
    }
}
