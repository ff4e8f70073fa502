//! The arena's rules: where areas go, what they show, and what is refused.
#![expect(clippy::panic, reason = "a source that must not be read")]

mod own;

use own::{PAGE, arena, at, bytes, check_empty, fill, pages, put, read, show, take};
use vread_addr::{ByteLen, PageCount, Pfn, PhysAddr, VirtAddr};
use vread_vmalloc::{
    Arena, ArenaError, FrameProvider, HeapFrames, VmFlags, VmallocInfo, VmapAreaFlags,
};

#[test]
fn area_has_its_pages_and_a_guard() {
    // V1, V5, V6, V7
    let arena = arena(64, 16);
    let area = arena.vmalloc(ByteLen::new(2 * PAGE + 1)).unwrap();
    let [listed] = arena.areas().try_into().unwrap();
    assert_eq!(listed.range, pages(0, 4));
    assert_eq!(listed.flags, VmapAreaFlags::empty());
    let vm = listed.vm.unwrap();
    assert_eq!((vm.flags, vm.nr_pages), (VmFlags::ALLOC, PageCount::new(3)));
    assert_eq!((vm.size, vm.usable_size()), (bytes(4), bytes(3)));
    fill(&arena, area, 3, 1);
    assert_eq!(
        show(&arena, area, 5),
        [Some(1), Some(2), Some(3), Some(0), Some(0)]
    );
    arena.vfree(area).unwrap();
    check_empty(&arena);
}

#[test]
fn new_pages_are_zeros() {
    // No allocation shows the bytes of an earlier one.
    let arena = arena(64, 4);
    let first = arena.vmalloc(bytes(4)).unwrap();
    fill(&arena, first, 4, 0xe0);
    arena.vfree(first).unwrap();
    let second = arena.vmalloc(bytes(4)).unwrap();
    assert_eq!(show(&arena, second, 4), [Some(0); 4]);
    let (_bytes, progress) = read(&arena, second, 4 * PAGE);
    assert_eq!(progress.copied, bytes(4), "content, and not a hole");
}

#[test]
fn areas_take_the_lowest_room_after_a_purge() {
    // V13, V16: freed room is not used again before a purge, and then the lowest first.
    let arena = arena(64, 64);
    let areas = [0, 1, 2, 3].map(|_| arena.vmalloc(bytes(3)).unwrap());
    assert_eq!(areas, [at(0), at(4), at(8), at(12)]);
    arena.vfree(areas[2]).unwrap();
    arena.vfree(areas[0]).unwrap();
    assert_eq!(arena.lazily_freed(), [pages(8, 4), pages(0, 4)]);
    assert_eq!(arena.vmalloc(bytes(2)).unwrap(), at(16));
    arena.purge_vmap_area_lazy();
    assert_eq!(arena.vmalloc(bytes(3)).unwrap(), at(0));
    assert_eq!(arena.vmalloc(bytes(4)).unwrap(), at(19));
    assert_eq!(arena.vmalloc(bytes(3)).unwrap(), at(8));
}

#[test]
fn full_window_is_purged_before_a_refusal() {
    // V15
    let arena = arena(8, 64);
    let first = arena.vmalloc(bytes(3)).unwrap();
    let second = arena.vmalloc(bytes(3)).unwrap();
    let refused = ArenaError::NoSpace {
        size: bytes(2),
        align: bytes(1),
        within: pages(0, 8),
    };
    assert_eq!(arena.vmalloc(bytes(1)), Err(refused));
    arena.vfree(first).unwrap();
    assert_eq!(arena.vmalloc(bytes(1)), Ok(first));
    arena.vfree(first).unwrap();
    arena.vfree(second).unwrap();
    check_empty(&arena);
}

#[test]
fn many_lazily_freed_bytes_are_purged() {
    // V16: the threshold of 32 MiB
    let arena = arena(1 << 16, 64);
    for _ in 0..9 {
        let area = arena
            .get_vm_area_sparse(ByteLen::new((4 << 20) - PAGE))
            .unwrap();
        arena.free_vm_area(area).unwrap();
    }
    assert!(arena.lazily_freed().is_empty());
}

#[test]
fn alignment_and_window_of_a_request_are_kept() {
    // V13
    let arena = arena(256, 64);
    let low = arena.vmalloc(bytes(1)).unwrap();
    let aligned = arena
        .vmalloc_range(bytes(1), bytes(16), arena.window())
        .unwrap();
    assert_eq!((low, aligned), (at(0), at(16)));
    let within = pages(100, 10);
    assert_eq!(arena.vmalloc_range(bytes(4), bytes(1), within), Ok(at(100)));
    assert_eq!(arena.vmalloc_range(bytes(4), bytes(1), within), Ok(at(105)));
    let error = arena.vmalloc_range(bytes(1), bytes(1), within).unwrap_err();
    assert!(matches!(error, ArenaError::NoSpace { .. }), "{error}");
    // A window of exactly the size, guard page included, needs no slack for the alignment.
    let exact = pages(128, 2);
    assert_eq!(
        arena.vmalloc_range(bytes(1), bytes(128), exact),
        Ok(at(128))
    );
}

#[test]
fn mapped_frames_show_in_order_and_stay_the_callers() {
    // V29, V5
    let arena = arena(64, 16);
    let frames = take(&arena, 3, 1);
    let reversed: Vec<Pfn> = frames.iter().rev().copied().collect();
    let (one, two) = (arena.vmap(&frames).unwrap(), arena.vmap(&reversed).unwrap());
    assert_eq!(show(&arena, one, 4), [Some(1), Some(2), Some(3), Some(0)]);
    assert_eq!(show(&arena, two, 4), [Some(3), Some(2), Some(1), Some(0)]);
    let vm = arena.areas()[0].vm.unwrap();
    assert_eq!((vm.flags, vm.nr_pages), (VmFlags::MAP, PageCount::new(0)));
    arena.vunmap(one).unwrap();
    assert_eq!(show(&arena, one, 3), [Some(0); 3]);
    assert_eq!(show(&arena, two, 1), [Some(3)]);
    arena.vunmap(two).unwrap();
    assert_eq!(arena.frames().taken(), PageCount::new(3));
    put(&arena, frames);
    check_empty(&arena);
}

/// Frames that notice when they are read.
struct Untouchable(HeapFrames);

impl FrameProvider for Untouchable {
    fn total(&self) -> PageCount {
        self.0.total()
    }
    fn alloc_frame(&self) -> Option<Pfn> {
        self.0.alloc_frame()
    }
    fn free_frame(&self, frame: Pfn) {
        self.0.free_frame(frame);
    }
    fn write_frame(
        &self,
        frame: Pfn,
        offset: ByteLen,
        bytes: &[u8],
    ) -> Result<(), vread_iov_iter::SourceFailure> {
        self.0.write_frame(frame, offset, bytes)
    }
}

impl<D: vread_iov_iter::Destination> vread_iov_iter::PageSource<D> for Untouchable {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        _len: ByteLen,
        _iter: &mut vread_iov_iter::IovIter<'_, D>,
    ) -> vread_iov_iter::Progress {
        panic!("{start} was read")
    }
}

#[test]
fn device_windows_and_sparse_areas_are_never_touched() {
    // R16 b, V5
    let frames = Untouchable(HeapFrames::new(PageCount::new(16)));
    let arena: Arena<Untouchable> = Arena::new(pages(0, 64), frames).unwrap();
    arena.ioremap(PhysAddr::new(0x1000), bytes(3)).unwrap();
    let sparse = arena.get_vm_area_sparse(bytes(3)).unwrap();
    let frame = arena.frames().alloc_frame().unwrap();
    arena.vm_area_map_pages(sparse, &[frame]).unwrap();
    let mut buffer = vec![0xa5; 64 * 4096];
    let mut segment = vread_iov_iter::Plain::new(&mut buffer);
    let mut iter = vread_iov_iter::IovIter::ubuf(&mut segment);
    let progress = vread_vmalloc::vread_iter(&arena, &mut iter, at(0), bytes(64));
    assert_eq!(progress.zeroed, bytes(64));
    assert!(buffer.iter().all(|byte| *byte == 0));
}

#[test]
fn device_window_is_aligned_to_its_size() {
    // V7: to the next power of two of it
    let arena = arena(256, 16);
    arena.vmalloc(bytes(1)).unwrap();
    let device = arena
        .ioremap(PhysAddr::new(0xfed0_0040), ByteLen::new(5 * PAGE))
        .unwrap();
    assert_eq!(device, at(8).checked_add(ByteLen::new(0x40)).unwrap());
    let vm = arena.areas()[1].vm.unwrap();
    assert_eq!(vm.flags, VmFlags::IOREMAP);
    assert_eq!(vm.phys_addr, PhysAddr::new(0xfed0_0000));
    // 5 pages and 0x40 bytes take 6 pages, and a guard page.
    assert_eq!(vm.size, bytes(7));
    arena.iounmap(device).unwrap();
    arena.vfree(at(0)).unwrap();
    check_empty(&arena);
}

#[test]
fn sparse_pages_come_and_go() {
    // V5
    let arena = arena(64, 16);
    let sparse = arena.get_vm_area_sparse(bytes(8)).unwrap();
    let frames = take(&arena, 2, 1);
    arena.vm_area_map_pages(at(3), &frames).unwrap();
    let taken = ArenaError::AlreadyMapped { addr: at(3) };
    assert_eq!(arena.vm_area_map_pages(at(2), &frames), Err(taken));
    arena.vm_area_map_pages(at(1), &frames).unwrap();
    let missing = ArenaError::NotMapped { addr: at(5) };
    assert_eq!(arena.vm_area_unmap_pages(at(3), bytes(3)), Err(missing));
    arena.vm_area_unmap_pages(at(3), bytes(2)).unwrap();
    let out = ArenaError::OutOfArea {
        addr: at(7),
        len: bytes(2),
    };
    assert_eq!(arena.vm_area_map_pages(at(7), &frames), Err(out));
    assert_eq!(arena.vm_area_unmap_pages(at(7), bytes(2)), Err(out));
    arena.free_vm_area(sparse).unwrap();
    put(&arena, frames);
    check_empty(&arena);
}

#[test]
fn short_mappings_share_a_block() {
    // V21 to V24, V26, R26: runs are rounded up to a power of two and never taken twice.
    let arena = arena(4096, 256);
    let frames = take(&arena, 12, 1);
    let three = arena.vm_map_ram(&frames[..3]).unwrap();
    let five = arena.vm_map_ram(&frames[3..8]).unwrap();
    let one = arena.vm_map_ram(&frames[8..9]).unwrap();
    assert_eq!((three, five, one), (at(0), at(4), at(12)));
    let [block] = arena.areas().try_into().unwrap();
    assert_eq!(block.range, pages(0, 1024));
    assert_eq!(block.flags, VmapAreaFlags::RAM | VmapAreaFlags::BLOCK);
    assert_eq!(block.vm, None);
    let shown = [1, 2, 3, 0, 4, 5, 6, 7, 8, 0, 0, 0, 9, 0].map(Some);
    assert_eq!(show(&arena, at(0), 14), shown);
    // R25: a page is itself wherever the read starts.
    for page in 0..14 {
        assert_eq!(
            show(&arena, at(page), 1),
            shown[usize::try_from(page).unwrap()..][..1]
        );
    }
    arena.vm_unmap_ram(three, PageCount::new(3)).unwrap();
    assert_eq!(show(&arena, at(0), 4), [Some(0); 4]);
    let again = arena.vm_map_ram(&frames[9..10]).unwrap();
    assert_eq!(again, at(13), "V24: dirty pages are not used again");
    arena.vm_unmap_ram(five, PageCount::new(5)).unwrap();
    arena.vm_unmap_ram(one, PageCount::new(1)).unwrap();
    arena.vm_unmap_ram(again, PageCount::new(1)).unwrap();
    assert_eq!(arena.areas().len(), 1, "the block stays for the next run");
    arena.purge_vmap_area_lazy();
    put(&arena, frames);
    check_empty(&arena);
}

#[test]
fn spent_block_is_freed_as_a_whole() {
    // V24
    let arena = arena(4096, 256);
    let frames = take(&arena, 64, 1);
    let runs: Vec<VirtAddr> = (0..16)
        .map(|_| arena.vm_map_ram(&frames).unwrap())
        .collect();
    assert_eq!(runs.last(), Some(&at(15 * 64)));
    // The next one opens another block.
    let next = arena.vm_map_ram(&frames).unwrap();
    assert_eq!(next, at(1024));
    for run in &runs {
        assert_eq!(arena.areas().len(), 2);
        arena.vm_unmap_ram(*run, PageCount::new(64)).unwrap();
    }
    assert_eq!(arena.areas().len(), 1);
    assert_eq!(arena.lazily_freed(), [pages(0, 1024)]);
    arena.vm_unmap_ram(next, PageCount::new(64)).unwrap();
    arena.purge_vmap_area_lazy();
    put(&arena, frames);
    check_empty(&arena);
}

#[test]
fn long_mapping_gets_an_area_without_guard() {
    // V21, V6
    let arena = arena(4096, 256);
    let frames = take(&arena, 65, 1);
    let area = arena.vm_map_ram(&frames).unwrap();
    let [listed] = arena.areas().try_into().unwrap();
    assert_eq!(
        (listed.range, listed.flags, listed.vm),
        (pages(0, 65), VmapAreaFlags::RAM, None)
    );
    assert_eq!(show(&arena, at(64), 2), [Some(65), Some(0)]);
    let out = ArenaError::OutOfArea {
        addr: area,
        len: bytes(66),
    };
    assert_eq!(arena.vm_unmap_ram(area, PageCount::new(66)), Err(out));
    arena.vm_unmap_ram(area, PageCount::new(65)).unwrap();
    put(&arena, frames);
    check_empty(&arena);
}

#[test]
fn shrink_gives_the_tail_back_in_place() {
    // V10, R13: size and end stay, the number of pages does not.
    let arena = arena(64, 16);
    let area = arena.vmalloc(bytes(5)).unwrap();
    fill(&arena, area, 5, 1);
    assert_eq!(arena.vrealloc(area, ByteLen::new(2 * PAGE - 1)), Ok(area));
    assert_eq!(arena.frames().taken(), PageCount::new(2));
    assert_eq!(show(&arena, area, 4), [Some(1), Some(2), Some(0), Some(0)]);
    let [listed] = arena.areas().try_into().unwrap();
    let vm = listed.vm.unwrap();
    assert_eq!(
        (listed.range, vm.size, vm.nr_pages),
        (pages(0, 6), bytes(6), PageCount::new(2))
    );
    // What was cut off cannot be written either.
    assert!(arena.write(at(2), &[1]).is_err());
    // Inside a page, nothing changes.
    assert_eq!(arena.vrealloc(area, ByteLen::new(PAGE + 1)), Ok(area));
    assert_eq!(arena.vrealloc(area, bytes(2)), Ok(area));
    assert_eq!(show(&arena, area, 2), [Some(1), Some(2)]);
    arena.vfree(area).unwrap();
    check_empty(&arena);
}

#[test]
fn growth_moves_the_area_and_keeps_its_bytes() {
    // V10
    let arena = arena(64, 16);
    let area = arena.vmalloc(bytes(2)).unwrap();
    fill(&arena, area, 2, 1);
    let grown = arena.vrealloc(area, bytes(4)).unwrap();
    assert_ne!(grown, area);
    assert_eq!(
        show(&arena, grown, 5),
        [Some(1), Some(2), Some(0), Some(0), Some(0)]
    );
    assert_eq!(show(&arena, area, 2), [Some(0); 2]);
    assert_eq!(arena.vfree(area), Err(ArenaError::NotAnArea { addr: area }));
    assert_eq!(arena.frames().taken(), PageCount::new(4));
    // A refusal leaves everything as it was.
    let error = arena.vrealloc(grown, bytes(17)).unwrap_err();
    assert!(matches!(error, ArenaError::OutOfFrames { .. }), "{error}");
    let error = arena.vrealloc(grown, bytes(64)).unwrap_err();
    assert!(matches!(error, ArenaError::TooLarge { .. }), "{error}");
    assert_eq!(
        arena.vrealloc(grown, ByteLen::ZERO),
        Err(ArenaError::ZeroSize)
    );
    assert_eq!(show(&arena, grown, 2), [Some(1), Some(2)]);
    arena.vfree(grown).unwrap();
    check_empty(&arena);
}

#[test]
fn info_lists_areas_as_the_kernel_does() {
    // V30 to V35
    let arena = arena(8192, 256);
    let frames = take(&arena, 65, 1);
    let freed = arena.vmalloc(bytes(3)).unwrap();
    arena.vmalloc(bytes(2)).unwrap();
    arena.vmap(&frames[..1]).unwrap();
    arena.ioremap(PhysAddr::new(0xfed0_0000), bytes(1)).unwrap();
    arena.get_vm_area_sparse(bytes(1)).unwrap();
    arena.vm_map_ram(&frames).unwrap();
    arena.vfree(freed).unwrap();
    let lines: Vec<String> = arena
        .vmallocinfo()
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "0xffffc90000004000-0xffffc90000007000   12288 pages=2 vmalloc",
        "0xffffc90000007000-0xffffc90000009000    8192 vmap",
        "0xffffc90000009000-0xffffc9000000b000    8192 phys=0x00000000fed00000 ioremap",
        "0xffffc9000000b000-0xffffc9000000d000    8192 sparse",
        "0xffffc9000000d000-0xffffc9000004e000  266240 vm_map_ram",
        "0xffffc90000000000-0xffffc90000004000   16384 unpurged vm_area",
    ];
    assert_eq!(lines, expected);
    assert!(matches!(arena.vmallocinfo()[5], VmallocInfo::Unpurged(range) if range == pages(0, 4)));
}
