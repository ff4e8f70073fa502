//! What the arena refuses, and with which words.

mod own;

use own::{PAGE, arena, at, bytes, check_empty, put, read, show, take};
use vread_addr::{ByteLen, PageCount, Pfn, PhysAddr, VirtAddr, VirtRange};
use vread_vmalloc::{Arena, ArenaError, HeapFrames};

type Free<'a> = dyn Fn(VirtAddr) -> Result<(), ArenaError> + 'a;

#[test]
fn nonsense_is_refused_with_its_rule() {
    // V13, V20
    let arena = arena(64, 16);
    let window = arena.window();
    assert_eq!(arena.vmalloc(ByteLen::ZERO), Err(ArenaError::ZeroSize));
    for size in [64 * PAGE, 63 * PAGE + 1, u64::MAX, u64::MAX - PAGE] {
        let size = ByteLen::new(size);
        assert_eq!(
            arena.vmalloc(size),
            Err(ArenaError::TooLarge { size, window })
        );
    }
    for align in [0, 1, 2048, 3 * PAGE, u64::MAX] {
        let align = ByteLen::new(align);
        let refused = arena.vmalloc_range(bytes(1), align, window);
        assert_eq!(refused, Err(ArenaError::Alignment { align }));
    }
    let short = ArenaError::OutOfFrames {
        needed: PageCount::new(17),
        total: PageCount::new(16),
    };
    assert_eq!(arena.vmalloc(bytes(17)), Err(short));
    assert_eq!(arena.vmap(&[]), Err(ArenaError::ZeroSize));
    assert_eq!(arena.vm_map_ram(&[]), Err(ArenaError::ZeroSize));
    let frame = Pfn::new(1 << 52);
    assert_eq!(arena.vmap(&[frame]), Err(ArenaError::Frame { frame }));
    assert_eq!(arena.vm_map_ram(&[frame]), Err(ArenaError::Frame { frame }));
    assert_eq!(
        arena.ioremap(PhysAddr::new(0), ByteLen::ZERO),
        Err(ArenaError::ZeroSize)
    );
    let top = PhysAddr::new(u64::MAX - 10);
    let error = arena.ioremap(top, ByteLen::new(20)).unwrap_err();
    assert!(matches!(error, ArenaError::Frame { .. }), "{error}");
    check_empty(&arena);
}

#[test]
fn freeing_what_is_not_an_area_is_refused() {
    let arena = arena(4096, 256);
    let area = arena.vmalloc(bytes(3)).unwrap();
    let inside = ArenaError::InsideArea {
        addr: at(1),
        start: at(0),
    };
    assert_eq!(arena.vfree(at(1)), Err(inside));
    assert_eq!(arena.vrealloc(at(1), bytes(1)), Err(inside));
    for addr in [
        at(4),
        at(4095),
        at(5000),
        VirtAddr::new(0),
        VirtAddr::new(u64::MAX),
    ] {
        assert_eq!(arena.vfree(addr), Err(ArenaError::NotAnArea { addr }));
    }
    arena.vfree(area).unwrap();
    assert_eq!(arena.vfree(area), Err(ArenaError::NotAnArea { addr: area }));
    assert_eq!(
        arena.vfree(area).unwrap_err().to_string(),
        "no area starts at 0xffffc90000000000; it was freed already, or never allocated"
    );
    check_empty(&arena);
}

#[test]
fn each_kind_is_freed_by_its_own_function() {
    let arena = arena(8192, 256);
    let frames = take(&arena, 65, 1);
    let areas = [
        (arena.vmalloc(bytes(1)).unwrap(), "vmalloc"),
        (arena.vmap(&frames[..1]).unwrap(), "vmap"),
        (
            arena.ioremap(PhysAddr::new(0x1000), bytes(1)).unwrap(),
            "ioremap",
        ),
        (
            arena.get_vm_area_sparse(bytes(1)).unwrap(),
            "get_vm_area_sparse",
        ),
        (arena.vm_map_ram(&frames).unwrap(), "vm_map_ram"),
        (arena.vm_map_ram(&frames[..1]).unwrap(), "vm_map_ram"),
    ];
    for (area, kind) in areas {
        let calls: [(&str, &Free); 6] = [
            ("vfree", &|addr| arena.vfree(addr)),
            ("vunmap", &|addr| arena.vunmap(addr)),
            ("iounmap", &|addr| arena.iounmap(addr)),
            ("free_vm_area", &|addr| arena.free_vm_area(addr)),
            ("vm_unmap_ram", &|addr| {
                arena.vm_unmap_ram(addr, PageCount::new(65))
            }),
            ("vm_unmap_ram", &|addr| {
                arena.vm_unmap_ram(addr, PageCount::new(1))
            }),
        ];
        let own = match kind {
            "vmalloc" => "vfree",
            "vmap" => "vunmap",
            "ioremap" => "iounmap",
            "get_vm_area_sparse" => "free_vm_area",
            _ => "vm_unmap_ram",
        };
        for (call, free) in calls.iter().filter(|(call, _)| *call != own) {
            let refused = ArenaError::WrongKind {
                addr: area,
                made_by: kind,
                call,
            };
            assert_eq!(free(area), Err(refused), "{kind} {call}");
        }
        let freed = calls.iter().filter(|(call, _)| *call == own);
        let freed = freed.filter(|(_, free)| free(area).is_ok()).count();
        assert_eq!(freed, 1, "{kind}");
    }
    arena.purge_vmap_area_lazy();
    put(&arena, frames);
    check_empty(&arena);
}

#[test]
fn freeing_twice_is_refused_for_each_kind() {
    // V20, V24
    let arena = arena(8192, 256);
    let frames = take(&arena, 65, 1);
    let areas: [(VirtAddr, &Free); 5] = [
        (arena.vmalloc(bytes(1)).unwrap(), &|addr| arena.vfree(addr)),
        (arena.vmap(&frames[..1]).unwrap(), &|addr| {
            arena.vunmap(addr)
        }),
        (
            arena.ioremap(PhysAddr::new(0x1000), bytes(1)).unwrap(),
            &|addr| arena.iounmap(addr),
        ),
        (arena.get_vm_area_sparse(bytes(1)).unwrap(), &|addr| {
            arena.free_vm_area(addr)
        }),
        (arena.vm_map_ram(&frames).unwrap(), &|addr| {
            arena.vm_unmap_ram(addr, PageCount::new(65))
        }),
    ];
    for (addr, free) in areas {
        free(addr).unwrap();
        assert_eq!(free(addr), Err(ArenaError::NotAnArea { addr }));
        arena.purge_vmap_area_lazy();
        assert_eq!(free(addr), Err(ArenaError::NotAnArea { addr }), "purged");
    }
    put(&arena, frames);
    check_empty(&arena);
}

#[test]
fn sizes_and_ranges_that_wrap_are_refused() {
    // V13: what no window can hold, whoever asks
    let arena = arena(64, 16);
    let window = arena.window();
    let area = arena.vmalloc(bytes(1)).unwrap();
    let sparse = arena.get_vm_area_sparse(bytes(4)).unwrap();
    let frames = take(&arena, 1, 1);
    assert_eq!(
        arena.vrealloc(area, ByteLen::ZERO),
        Err(ArenaError::ZeroSize)
    );
    let empty = arena.get_vm_area_sparse(ByteLen::ZERO);
    assert_eq!(empty, Err(ArenaError::ZeroSize));
    for size in [u64::MAX, u64::MAX - PAGE + 1, 1 << 63, 65 * PAGE] {
        let size = ByteLen::new(size);
        let too_large = Err(ArenaError::TooLarge { size, window });
        assert_eq!(arena.get_vm_area_sparse(size), too_large);
        assert_eq!(arena.ioremap(PhysAddr::new(0), size), too_large);
        let grown = arena.vrealloc(area, size);
        let refused = matches!(
            grown,
            Err(ArenaError::TooLarge { .. } | ArenaError::OutOfFrames { .. })
        );
        assert!(refused, "{grown:?}");
        let out = Err(ArenaError::OutOfArea {
            addr: sparse,
            len: size,
        });
        assert_eq!(arena.vm_area_unmap_pages(sparse, size), out);
    }
    // Aligned, and its end passes 2^64.
    let last = VirtAddr::new(u64::MAX - PAGE + 1);
    let out = |len| ArenaError::OutOfArea { addr: last, len };
    let two = [frames[0], frames[0]];
    assert_eq!(arena.vm_area_map_pages(last, &two), Err(out(bytes(2))));
    assert_eq!(
        arena.vm_area_unmap_pages(last, bytes(2)),
        Err(out(bytes(2)))
    );
    let few = arena.vm_unmap_ram(last, PageCount::new(2));
    assert_eq!(few, Err(ArenaError::NotAnArea { addr: last }));
    let many = arena.vm_unmap_ram(area, PageCount::new(u64::MAX));
    assert!(
        matches!(many, Err(ArenaError::WrongKind { .. })),
        "{many:?}"
    );
    // None of it left anything behind or took anything away.
    assert_eq!(show(&arena, area, 1), [Some(0)]);
    arena.vfree(area).unwrap();
    arena.free_vm_area(sparse).unwrap();
    put(&arena, frames);
    check_empty(&arena);
}

#[test]
fn unmapping_a_run_that_is_not_there_is_refused() {
    // V24: twice, with another count, at another page, unaligned
    let arena = arena(4096, 256);
    let frames = take(&arena, 4, 1);
    let run = arena.vm_map_ram(&frames).unwrap();
    let count = PageCount::new;
    for (page, pages) in [(0, 3), (0, 5), (1, 4), (4, 1), (1023, 64)] {
        let missing = ArenaError::NotMapped { addr: at(page) };
        assert_eq!(arena.vm_unmap_ram(at(page), count(pages)), Err(missing));
    }
    let odd = run.checked_add(ByteLen::new(1)).unwrap();
    let unaligned = ArenaError::Unaligned { addr: odd };
    assert_eq!(arena.vm_unmap_ram(odd, count(4)), Err(unaligned));
    arena.vm_unmap_ram(run, count(4)).unwrap();
    let missing = ArenaError::NotMapped { addr: run };
    assert_eq!(arena.vm_unmap_ram(run, count(4)), Err(missing));
    arena.purge_vmap_area_lazy();
    let gone = ArenaError::NotAnArea { addr: run };
    assert_eq!(arena.vm_unmap_ram(run, count(4)), Err(gone));
    assert_eq!(arena.vm_unmap_ram(run, count(0)), Err(gone));
    put(&arena, frames);
    check_empty(&arena);
}

#[test]
fn writes_stay_in_one_area() {
    let arena = arena(64, 16);
    let area = arena.vmalloc(bytes(2)).unwrap();
    let next = arena.vmalloc(bytes(2)).unwrap();
    arena
        .write(at(0).checked_add(ByteLen::new(PAGE - 2)).unwrap(), &[7; 4])
        .unwrap();
    let (bytes_read, _progress) = read(&arena, area, 2 * PAGE);
    assert_eq!(bytes_read[4093..4099], [0, 7, 7, 7, 7, 0]);
    let last = at(2).checked_sub(ByteLen::new(1)).unwrap();
    arena.write(last, &[9]).unwrap();
    for (addr, len) in [
        (last, 2),
        (at(2), 1),
        (at(60), 1),
        (VirtAddr::new(u64::MAX), 1),
    ] {
        let out = ArenaError::OutOfArea {
            addr,
            len: ByteLen::from_usize(len),
        };
        assert_eq!(arena.write(addr, &vec![1; len]), Err(out));
    }
    assert_eq!(show(&arena, next, 2), [Some(0), Some(0)]);
    // No bytes are no write: anywhere in an area.
    assert_eq!(arena.write(at(2), &[]), Ok(()));
}

#[test]
fn window_must_be_whole_pages_above_zero() {
    // V12
    let frames = || HeapFrames::new(PageCount::new(1));
    let range = |start, len| VirtRange::from_len(VirtAddr::new(start), ByteLen::new(len)).unwrap();
    for window in [
        range(0, 0x1000),
        range(0x1001, 0x1000),
        range(0x1000, 0xfff),
        range(0x1000, 0),
    ] {
        let refused = Arena::<HeapFrames>::new(window, frames()).unwrap_err();
        assert_eq!(refused, ArenaError::Window { window });
    }
}
