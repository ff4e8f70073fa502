//! The bytes of kernel memory, against what the guest's own kcore gives.

use std::ops::Range;

use vread_addr::VirtAddr;
use vread_guests::{Guest, digest, pattern};
use vread_vmalloc::{AreaContent, PageRun, VmFlags};

use crate::seen::{Seen, Test};

pub(crate) const TESTS: [Test; 7] = [
    (
        "reads_while_areas_come_and_go",
        reads_while_areas_come_and_go,
    ),
    ("reads_text_and_rodata", reads_text_and_rodata),
    (
        "follows_an_area_through_its_life",
        follows_an_area_through_its_life,
    ),
    ("reads_the_direct_map", reads_the_direct_map),
    ("reads_every_quiet_area", reads_every_quiet_area),
    ("withholds_device_memory", withholds_device_memory),
    ("reads_page_descriptors", reads_page_descriptors),
];

/// K14, K17: text and read-only data do not change.
fn reads_text_and_rodata(guest: &Guest) {
    let seen = Seen::new(guest);
    let find = |name| seen.kernel.kallsyms().unwrap().find(name).unwrap().get();
    for (from, to) in [("_stext", "_etext"), ("__start_rodata", "__end_rodata")] {
        let (from, to) = (find(from), find(to));
        let pieces: Vec<(u64, u64)> = (from..to)
            .step_by(65_521)
            .map(|at| (at, 65_521.min(to - at)))
            .collect();
        let theirs = guest.kcore_hash(&pieces).unwrap();
        for ((at, len), theirs) in pieces.into_iter().zip(theirs) {
            let (ours, _) = seen.read(at, len);
            assert_eq!(theirs.got, len);
            assert_eq!(digest::of(&ours), theirs.hash, "{len} bytes at {at:#x}");
        }
    }
}

/// R3 to R18, G54: an area that comes, changes and goes after attaching is seen as it is.
fn follows_an_area_through_its_life(guest: &Guest) {
    let seen = Seen::new(guest);
    // Walks the areas before the new one exists.
    let _ = seen.read(seen.kernel.bases().unwrap().vmalloc.get(), 1 << 20);
    let map = guest.create_bpf_map(3 << 20, 1).unwrap();
    let len = map.data.end - map.data.start;
    let mut expected = vec![0; usize::try_from(len).unwrap()];
    for seed in [1, 2] {
        guest.fill_bpf_map(&map, seed).unwrap();
        pattern::fill(seed, 0, &mut expected);
        let (ours, progress) = seen.read(map.data.start, len);
        assert!(ours == expected, "seed {seed}");
        assert_eq!(progress.copied.get(), len);
        let (word, _) = seen.read(map.data.start + 8 * 4321, 8);
        assert_eq!(word, expected[8 * 4321..8 * 4322]);
        assert!(
            words(&seen, &map.data) == words_of(&expected),
            "seed {seed}"
        );
    }
    // The guard page behind it, and the bytes before it, are there and zero or another area's.
    let (around, _) = seen.read(map.area.start, map.area.end - map.area.start);
    let guard = &around[around.len() - 4096..];
    assert!(guard.iter().all(|byte| *byte == 0));
    let data = map.data.start;
    guest.close_bpf_map(map).unwrap();
    // The map is freed by a worker, some time later: until then its content is right.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let (ours, progress) = seen.read(data, len);
        if progress.copied.get() == 0 {
            assert!(ours.iter().all(|byte| *byte == 0));
            let gone = words(&seen, &(data..data + len));
            assert!(gone.iter().all(Option::is_none));
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the area never goes");
    }
}

/// All words of the range, in an order without neighbours, put back into theirs.
fn words(seen: &Seen, range: &Range<u64>) -> Vec<Option<u64>> {
    // Shares no factor with a number of words in pages.
    const STRIDE: u64 = 7919;
    let count = (range.end - range.start) / 8;
    let order: Vec<u64> = (0..count).map(|n| n * STRIDE % count).collect();
    let addrs: Vec<VirtAddr> = order
        .iter()
        .map(|word| VirtAddr::new(range.start + 8 * word))
        .collect();
    let mut found = vec![None; addrs.len()];
    seen.kernel.vread_words(&addrs, &mut found);
    let mut words = vec![None; addrs.len()];
    for (place, word) in order.iter().zip(found) {
        words[usize::try_from(*place).unwrap()] = word;
    }
    words
}

fn words_of(bytes: &[u8]) -> Vec<Option<u64>> {
    let words = bytes.chunks_exact(8);
    words
        .map(|word| Some(u64::from_le_bytes(word.try_into().unwrap())))
        .collect()
}

/// E16, E21: a page of an area is the same page in the direct map.
fn reads_the_direct_map(guest: &Guest) {
    let seen = Seen::new(guest);
    let map = guest.create_bpf_map(1 << 20, 99).unwrap();
    for page in (map.data.start..map.data.end).step_by(4096) {
        let addr = vread_addr::VirtAddr::new(page);
        let run = seen
            .kernel
            .translate_run(addr, vread_addr::PAGE_SIZE)
            .unwrap();
        let PageRun::Mapped { phys, .. } = run else {
            panic!("{page:#x} is not mapped");
        };
        let direct = seen.kernel.bases().unwrap().direct_map_of(phys).unwrap();
        let (ours, progress) = seen.read(direct.get(), 4096);
        assert_eq!(progress.copied.get(), 4096);
        let mut expected = [0; 4096];
        pattern::fill(99, (page - map.data.start) / 8, &mut expected);
        assert!(ours == expected, "page at {page:#x}");
    }
    guest.close_bpf_map(map).unwrap();
}

/// C.4: every area whose content stays, page by page, is what the guest's own kcore gives.
fn reads_every_quiet_area(guest: &Guest) {
    let seen = Seen::new(guest);
    let areas = seen.kernel.walk_areas().unwrap();
    let (mut compared, mut moving, mut different) = (0, 0, Vec::new());
    for known in areas {
        let (AreaContent::Pages { len } | AreaContent::Zeros { len }) = known.area.content() else {
            continue;
        };
        // Only what has a descriptor: what others read as is spec K49 on 6.1, and R25 on 6.12.
        if known.area.vm.is_none() {
            continue;
        }
        let pages: Vec<(u64, u64)> = (0..len.get().div_ceil(4096).min(4096))
            .map(|page| (known.area.range.start().get() + page * 4096, 4096))
            .collect();
        let before = guest.kcore_hash(&pages).unwrap();
        let ours: Vec<_> = pages
            .iter()
            .map(|(at, len)| digest::of(&seen.read(*at, *len).0))
            .collect();
        let after = guest.kcore_hash(&pages).unwrap();
        for (((page, before), after), ours) in pages.iter().zip(&before).zip(&after).zip(&ours) {
            if before.hash != after.hash {
                moving += 1;
            } else if before.hash != *ours {
                different.push(page.0);
            } else {
                compared += 1;
            }
        }
    }
    println!(
        "{compared} pages equal, {moving} moving, {} different",
        different.len()
    );
    assert!(compared > 1000, "{compared} pages were compared");
    // A page may have changed and changed back between the two looks, as stacks do; but not every time.
    different.retain(|page| {
        (0..10).all(|_| {
            let theirs = || guest.kcore_hash(&[(*page, 4096)]).unwrap()[0].hash;
            let before = theirs();
            let ours = digest::of(&seen.read(*page, 4096).0);
            before != ours && before == theirs()
        })
    });
    assert!(different.is_empty(), "{different:#x?}");
}

/// V5, R16: windows to devices are zeros, wherever they point.
fn withholds_device_memory(guest: &Guest) {
    let seen = Seen::new(guest);
    let areas = seen.kernel.walk_areas().unwrap();
    let windows: Vec<_> = areas
        .iter()
        .filter(|known| {
            known
                .area
                .vm
                .is_some_and(|vm| vm.flags.contains(VmFlags::IOREMAP))
        })
        .collect();
    assert!(windows.len() > 2, "{} windows", windows.len());
    for window in windows {
        let len = window.area.range.len().get();
        let (bytes, progress) = seen.read(window.area.range.start().get(), len);
        assert!(bytes.iter().all(|byte| *byte == 0));
        assert_eq!(progress.copied.get(), 0);
    }
}

/// E18: the descriptors of text pages do not change.
fn reads_page_descriptors(guest: &Guest) {
    let seen = Seen::new(guest);
    let stext = seen.kernel.vmcoreinfo().symbol("_stext").unwrap();
    let page = seen
        .kernel
        .page_table()
        .translate(seen.kernel.phys_mem(), stext)
        .unwrap();
    let pfn = page.unwrap().get() >> 12;
    let at = seen.kernel.bases().unwrap().vmemmap.get() + pfn * 64;
    let (ours, _) = seen.read(at, 64 * 64);
    let theirs = guest.kcore_read(at, 64 * 64).unwrap();
    assert!(ours.iter().any(|byte| *byte != 0));
    assert_eq!(ours, theirs);
}

/// G52, G71: a guest that starts processes all the time makes and frees areas (their stacks) while they are
/// walked and read.
fn reads_while_areas_come_and_go(guest: &Guest) {
    const SOME_TIME: std::time::Duration = std::time::Duration::from_secs(5);
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
    let seen = Seen::new(guest);
    let churn = "(while true; do /bin/busybox true; done) > /dev/null 2>&1 & echo $!";
    let started = guest.run(&["/bin/busybox", "sh", "-c", churn]).unwrap();
    let map = guest.create_bpf_map(2 << 20, 5).unwrap();
    let len = map.data.end - map.data.start;
    let mut expected = vec![0; usize::try_from(len).unwrap()];
    pattern::fill(5, 0, &mut expected);
    let begin = std::time::Instant::now();
    let (mut walks, mut changes, mut torn) = (0_u32, 0_u32, 0_u32);
    let mut last = Vec::new();
    // On a busy machine a walk and its reads may take a second.
    while begin.elapsed() < SOME_TIME || (changes <= 10 && begin.elapsed() < PATIENCE) {
        match seen.kernel.walk_areas() {
            Ok(areas) => {
                changes += u32::from(areas != last);
                // Every area that could be read is read, through hints that grow old.
                for known in areas.iter().step_by(7) {
                    let start = known.area.range.start().get();
                    let _ = seen.read(start, known.area.range.len().get().min(1 << 16));
                }
                last = areas;
            }
            Err(error) => {
                println!("{error}");
                torn += 1;
            }
        }
        walks += 1;
        let (ours, progress) = seen.read(map.data.start, len);
        assert!(ours == expected);
        assert_eq!(progress.copied.get(), len);
        seen.kernel.vmallocinfo().unwrap();
    }
    println!("{walks} walks, {changes} of them other than the one before, {torn} torn");
    guest.close_bpf_map(map).unwrap();
    guest
        .run(&["/bin/busybox", "kill", started.stdout.trim()])
        .unwrap();
    assert!(changes > 10, "nothing changed: {started:?}");
    assert_eq!(torn, 0);
}
