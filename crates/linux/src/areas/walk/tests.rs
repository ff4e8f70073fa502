use super::super::forge::{self, DIRECT, Forged, HEAD, RECORDS, VMALLOC, at};
use super::*;
use crate::areas::lazily_freed;
use crate::forged::virt;
use vread_vmalloc::VmFlags;

#[test]
fn reads_a_list_with_its_descriptors() {
    // G50, G53.
    let forged = Forged::new(&[(0, 3), (3, 5), (8, 9)]);
    assert_eq!(forged.read(), Ok(vec![(0, 3), (3, 5), (8, 9)]));
    let mem = forged.ram.open();
    let first = forged.reader().read_busy(virt(&mem)).unwrap()[0];
    let vm = first.area.vm.unwrap();
    assert_eq!(
        (vm.size, vm.flags),
        (ByteLen::new(3 * 4096), VmFlags::ALLOC)
    );
    assert_eq!(first.vm_at, Some(VirtAddr::new(DIRECT + at(0) + 128)));
    assert_eq!(Forged::new(&[]).read(), Ok(vec![]));
}

#[test]
fn drops_areas_out_of_order_or_without_a_descriptor() {
    // G73: overlapping and unsorted ones are dropped, the rest is read.
    assert_eq!(
        Forged::new(&[(0, 3), (2, 5), (8, 9)]).read(),
        Ok(vec![(0, 3), (8, 9)])
    );
    assert_eq!(Forged::new(&[(8, 9), (0, 3)]).read(), Ok(vec![(8, 9)]));
    let mut forged = Forged::new(&[(0, 3), (3, 5)]);
    forged.ram.put_u64(at(0) + forge::VM, DIRECT + 0x7000_0000);
    assert_eq!(forged.read(), Ok(vec![(3, 5)]));
}

#[test]
fn refuses_a_list_that_does_not_hold_together() {
    // G73: not page aligned, empty, backwards, and a list that leads back into itself.
    for (start, end) in [
        (VMALLOC + 8, VMALLOC + 4096),
        (VMALLOC, VMALLOC),
        (VMALLOC + 4096, VMALLOC),
    ] {
        let mut forged = Forged::new(&[(0, 3), (3, 5)]);
        forged.ram.put_u64(at(1), start);
        forged.ram.put_u64(at(1) + 8, end);
        assert!(
            matches!(forged.read(), Err(LinuxError::Torn { .. })),
            "{start:#x}"
        );
    }
    let mut rho = Forged::new(&[(0, 3), (3, 5), (8, 9)]);
    rho.ram
        .put_u64(at(2) + forge::LIST, DIRECT + at(1) + forge::LIST);
    assert!(matches!(rho.read(), Err(LinuxError::Torn { .. })));
    let mut lost = Forged::new(&[(0, 3)]);
    lost.ram.put_u64(at(0) + forge::LIST, 0x1234);
    assert!(lost.read().is_err());
}

#[test]
fn leaves_a_circle_of_areas_that_were_already_seen() {
    // G73: 1 and 2 lead to each other and back, so that no link is wrong, only the order.
    let mut circle = Forged::new(&[(0, 3), (3, 5), (8, 9)]);
    let node = |area: u64| DIRECT + at(area) + forge::LIST;
    circle.ram.put_u64(at(2) + forge::LIST, node(1));
    circle.ram.put_u64(at(1) + forge::LIST + 8, node(2));
    let error = circle.read().unwrap_err();
    let limit = MAX_DROPPED;
    assert!(
        matches!(error, LinuxError::TooMany { limit: at, .. } if at == limit),
        "{error}"
    );
}

#[test]
fn gives_up_where_it_gets_ahead_and_back_again() {
    // G73: 1 is in the list but does not point back, so it is taken for one that is being put in; what
    // follows it is none. Going on behind 0 leads to 1 again, and so on.
    let mut forged = Forged::new(&[(0, 3), (3, 5), (8, 9)]);
    forged
        .ram
        .put_u64(at(1) + forge::LIST + 8, DIRECT + RECORDS);
    forged.ram.put_u64(at(2) + 8, 0);
    assert!(matches!(forged.read(), Err(LinuxError::Torn { .. })));
}

#[test]
fn leaves_a_stack_that_leads_round() {
    // G73, V11: areas that were freed, in no order and singly linked.
    let mut forged = Forged::new(&[(0, 3), (3, 5), (8, 9)]);
    let mut reader = forged.reader();
    reader.freed = FreedIndex::Stack {
        head: VirtAddr::new(DIRECT + HEAD),
        link: 40,
    };
    let node = |area: u64| DIRECT + at(area) + forge::LIST;
    let mut read = |last: u64| {
        forged.ram.put_u64(at(2) + forge::LIST, last);
        let mem = forged.ram.open();
        lazily_freed(&reader, virt(&mem)).map(|areas| areas.len())
    };
    assert_eq!(read(0), Ok(3));
    for back in 0..3 {
        assert!(
            matches!(
                read(node(back)),
                Err(LinuxError::TooMany { limit: ..10, .. })
            ),
            "{back}"
        );
    }
}

#[test]
fn knows_an_area_again_only_while_it_is_the_same() {
    let forged = Forged::new(&[(0, 3), (3, 5)]);
    let mem = forged.ram.open();
    let reader = forged.reader();
    let known = reader.read_busy(virt(&mem)).unwrap()[1];
    assert_eq!(reader.read_again(&mem, &known), Some(known.area));
    let changed = |place: u64, value: u64| {
        let mut ram = forged.ram.clone();
        ram.put_u64(place, value);
        reader.read_again(&ram.open(), &known)
    };
    assert_eq!(changed(at(1) + 8, VMALLOC + 4 * 4096), None, "another end");
    assert_eq!(
        changed(at(1) + forge::VM, DIRECT + at(0) + 128),
        None,
        "another descriptor"
    );
    // V16: what was freed is unlinked: it points to itself, or its neighbour not to it.
    let own = DIRECT + at(1) + forge::LIST;
    assert_eq!(changed(at(1) + forge::LIST + 8, own), None, "unlinked");
    assert_eq!(
        changed(at(0) + forge::LIST, DIRECT + HEAD),
        None,
        "passed over"
    );
    // What it is may change, and is then read as it is now.
    let flags = changed(at(1) + 128 + forge::VM_FLAGS, 1).and_then(|area| area.vm);
    assert_eq!(flags.map(|vm| vm.flags), Some(VmFlags::IOREMAP));
}

#[test]
fn bounds_the_number_of_nodes() {
    // G73: 1 to 128, and the array wholly in RAM.
    let mut forged = Forged::new(&[(0, 3)]);
    let (array, count) = (0x1_0000_u64, 0x1_0010_u64);
    let mut reader = forged.reader();
    reader.index = AreaIndex::Nodes {
        array: VirtAddr::new(DIRECT + array),
        count: VirtAddr::new(DIRECT + count),
    };
    // One node whose list is the one at `HEAD`.
    forged.ram.put_u64(array, DIRECT + HEAD - forge::NODE_BUSY);
    let mut read = |nodes: u64| {
        forged.ram.put_u64(count, nodes);
        let mem = forged.ram.open();
        reader.read_busy(virt(&mem)).map(|areas| areas.len())
    };
    assert_eq!(read(1), Ok(1));
    for nodes in [0, 129, 0xffff_ffff] {
        assert!(
            matches!(read(nodes), Err(LinuxError::Malformed { .. })),
            "{nodes} nodes"
        );
    }
    assert!(read(128).is_err(), "most of the array is outside RAM");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_change_to_the_lists_is_survived(
        changes in proptest::collection::vec((0_u64..0x300, proptest::prelude::any::<u64>(), 0_u64..3), 1..8),
    ) {
        let mut forged = Forged::new(&[(0, 3), (3, 5), (8, 9)]);
        for (place, value, kind) in changes {
            let value = match kind {
                0 => value,
                1 => DIRECT + RECORDS + value % 0x300 * 8,
                _ => VMALLOC + value % 16 * 4096,
            };
            forged.ram.put_u64(RECORDS + place * 8 % 0x300, value);
        }
        if let Ok(areas) = forged.read() {
            proptest::prop_assert!(areas.iter().all(|(start, end)| start < end));
        }
    }
}

#[test]
fn walks_a_list_that_changes_all_the_time() {
    // G71: an area comes and goes in the order of the kernel's own stores, and the walk goes on behind
    // the last area that stays. It is there or not; all others always are.
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    let areas: Vec<(u64, u64)> = (0..12).map(|n| (n * 2, n * 2 + 2)).collect();
    let forged = Forged::new(&areas);
    let (mem, file) = forged.ram.open_live();
    let reader = forged.reader();
    let done = AtomicBool::new(false);
    let node = |area: u64| DIRECT + at(area) + forge::LIST;
    let churn = || {
        let put = |area: u64, offset: u64, value: u64| {
            let place = at(area) + forge::LIST + offset;
            file.write_all_at(&value.to_le_bytes(), place).unwrap();
        };
        while !done.load(Ordering::Relaxed) {
            // `list_del_init` of area 6, and its return between 5 and 7.
            put(7, 8, node(5));
            put(5, 0, node(7));
            put(6, 0, node(6));
            put(6, 8, node(6));
            put(7, 8, node(6));
            put(6, 0, node(7));
            put(6, 8, node(5));
            put(5, 0, node(6));
        }
    };
    let walks: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(churn);
        let walks = (0..3000).map(|_| reader.read_busy(virt(&mem)).map(|areas| areas.len()));
        let walks = walks.collect();
        // Nothing before this panics, or the other thread would go on.
        done.store(true, Ordering::Relaxed);
        walks
    });
    let count =
        |wanted: &Result<usize, LinuxError>| walks.iter().filter(|walk| *walk == wanted).count();
    let (with, without) = (count(&Ok(12)), count(&Ok(11)));
    println!("{with} walks with the area, {without} without");
    let other = walks.iter().find(|walk| !matches!(walk, Ok(11 | 12)));
    assert_eq!(other, None);
    assert!(with > 0 && without > 0);
}
