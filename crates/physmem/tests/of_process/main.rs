//! RAM that a running process has: reached in each way, never populated, never read after its end.
#![expect(
    unsafe_code,
    reason = "the VMM maps memory, and a reader's buffer that refuses"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a failure fails the test"
)]

mod vmm;
mod ways;

use std::time::{Duration, Instant};
use std::{env, fs, ptr, thread};

use libtest_mimic::{Arguments, Trial};
use rustix::mm::{self, MapFlags, ProtFlags};
use vmm::{HUGE_KINDS, KINDS, PAGE, PAGES, Ram, Vmm};
use vread_addr::{ByteLen, PhysAddr, PhysRange};
use vread_guests::{Guest, GuestConfig, KernelRelease};
use vread_iov_iter::{IovIter, PageSource, Progress, SourceFailure, Stop};
use vread_nofault::UserBuf;
use vread_physmem::{Access, AccessMode, OpenError, PhysMem, ReadError};

const LEN: usize = PAGES * PAGE;
/// The first argument that makes this program look into the process that the second one names.
const LOOK: &str = "look-into";
/// The first argument that makes it read huge pages, of which the system must have some.
const HUGE_PAGES: &str = "huge-pages";

fn main() {
    let mut args = env::args().skip(1);
    match args.next().as_deref() {
        Some(vmm::ROLE) => return vmm::be_the_vmm(),
        Some(LOOK) => return ways::look_into(args.next().unwrap().parse().unwrap()),
        Some(HUGE_PAGES) => {
            vread_nofault::install().unwrap();
            return huge_pages();
        }
        _ => {}
    }
    vread_nofault::install().unwrap();
    let mut trials = vec![
        trial("takes_the_fastest_way", ways::takes_the_fastest_way),
        trial("a_demanded_way_is_taken_or_refused", ways::a_demanded_way),
        trial("refusals_name_their_cause", ways::refusals_name_their_cause),
        trial(
            "no_permission_says_what_to_do",
            ways::no_permission_says_what_to_do,
        ),
        trial(
            "a_reader_without_a_page_stops_there",
            a_reader_without_a_page,
        ),
        trial("pages_given_back_stay_so", pages_given_back_stay_so),
        trial(
            "a_page_without_rights_is_zeros",
            a_page_without_rights_is_zeros,
        ),
        trial("many_threads_read_at_once", many_threads_read_at_once),
    ];
    for kind in KINDS {
        for access in [Access::Auto, Access::VmReadv] {
            let mut add = |name: &str, test: fn(Ram, Access)| {
                let name = format!("{name}::{kind:?}::{access:?}");
                trials.push(Trial::test(name, move || {
                    test(kind, access);
                    Ok(())
                }));
            };
            add("reads_what_is_there_now", reads_what_is_there_now);
            add("one_mapping_torn_in_three_is_one", torn_in_three);
            add("a_full_scan_populates_nothing", populates_nothing);
            add("nothing_is_read_after_its_end", nothing_after_its_end);
        }
    }
    trials.push(trial(
        "huge_pages_are_read_and_not_taken",
        huge_pages_in_a_guest,
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn copy(mem: &PhysMem, start: usize, into: &mut [u8]) -> Progress {
    let len = ByteLen::from_usize(into.len());
    let mut segment = UserBuf::new(into);
    mem.copy_run_to_iter_nofault(phys(start), len, &mut IovIter::ubuf(&mut segment))
}

fn phys(at: usize) -> PhysAddr {
    PhysAddr::new(at.try_into().unwrap())
}

/// What a page holds before the VMM fills it.
fn fresh(kind: Ram, page: usize) -> u8 {
    if kind == Ram::PrivateFile && page == 0 {
        0x11
    } else {
        0
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn reads_what_is_there_now(kind: Ram, access: Access) {
    let mut vmm = Vmm::start();
    vmm.fill(kind, 7, 0x77);
    let mem = PhysMem::of_process_with(vmm.pid(), &vmm.whole(kind), access).unwrap();
    assert!(mem.is_alive());
    vmm.fill(kind, 8, 0x88);
    let mut bytes = vec![0xee; 4 * PAGE];
    let progress = copy(&mem, 6 * PAGE, &mut bytes);
    assert_eq!(progress.advanced(), ByteLen::from_usize(4 * PAGE));
    assert_eq!(progress.stopped, None);
    for (page, want) in [
        (6, fresh(kind, 6)),
        (7, 0x77),
        (8, 0x88),
        (9, fresh(kind, 9)),
    ] {
        let got = &bytes[(page - 6) * PAGE..][..PAGE];
        assert!(got.iter().all(|byte| *byte == want), "page {page}");
    }
    let word = |page: usize| mem.read_u64(phys(page * PAGE + 8)).unwrap();
    assert_eq!(word(7), 0x7777_7777_7777_7777);
    assert_eq!(word(0), u64::from_le_bytes([fresh(kind, 0); 8]));
    // Known by now; what is written next must be seen all the same.
    vmm.fill(kind, 7, 0x17);
    vmm.fill(kind, 0, 0x01);
    assert_eq!(word(7), 0x1717_1717_1717_1717);
    assert_eq!(word(0), 0x0101_0101_0101_0101);

    // Many segments, more than fit one call, across a border of pages.
    let mut bytes = vec![0xee; 2 * PAGE];
    let mut segments: Vec<_> = bytes.chunks_mut(61).map(UserBuf::new).collect();
    let mut iter = IovIter::iovec(&mut segments);
    let all = ByteLen::from_usize(2 * PAGE);
    let progress = mem.copy_run_to_iter_nofault(phys(7 * PAGE), all, &mut iter);
    assert_eq!(progress, Progress::copied(all));
    assert!(bytes[..PAGE].iter().all(|byte| *byte == 0x17));
    assert!(bytes[PAGE..].iter().all(|byte| *byte == 0x88));
}

fn torn_in_three(kind: Ram, access: Access) {
    let mut vmm = Vmm::start();
    for page in 10..13 {
        vmm.fill(kind, page, u8::try_from(page).unwrap());
    }
    vmm.tear(kind, 11);
    let mem = PhysMem::of_process_with(vmm.pid(), &vmm.whole(kind), access).unwrap();
    let mut bytes = vec![0; LEN];
    assert_eq!(
        copy(&mem, 0, &mut bytes).advanced(),
        ByteLen::from_usize(LEN)
    );
    for (page, bytes) in bytes.chunks(PAGE).enumerate() {
        let want = if (10..13).contains(&page) {
            u8::try_from(page).unwrap()
        } else {
            fresh(kind, page)
        };
        assert!(bytes.iter().all(|byte| *byte == want), "page {page}");
    }
}

fn populates_nothing(kind: Ram, access: Access) {
    let mut vmm = Vmm::start();
    for page in [0, 5, 6, 4095] {
        vmm.fill(kind, page, 0xa5);
    }
    let keys = ["RssAnon", "RssShmem", "VmPTE", "VmSwap"];
    // Counted first: to count takes a little memory of its own, the first time.
    let sizes = |vmm: &mut Vmm| {
        let existing = vmm.existing_pages(kind);
        (keys.map(|key| vmm.status_kib(key)), existing)
    };
    let before = sizes(&mut vmm);
    if kind != Ram::PrivateFile {
        assert_eq!(before.1, 4);
    }
    let mem = PhysMem::of_process_with(vmm.pid(), &vmm.whole(kind), access).unwrap();
    let mut bytes = vec![0; 1 << 20];
    for at in (0..LEN).step_by(1 << 20) {
        let progress = copy(&mem, at, &mut bytes);
        assert_eq!(progress.stopped, None);
        if kind != Ram::PrivateFile {
            let holes = ByteLen::from_usize((1 << 20) - 4 * PAGE);
            assert!(progress.zeroed >= holes, "{:?}", progress.zeroed);
        }
    }
    for page in 0..PAGES {
        let filled = [0, 5, 6, 4095].contains(&page);
        let want = if filled {
            [0xa5; 8]
        } else {
            [fresh(kind, page); 8]
        };
        assert_eq!(
            mem.read_u64(phys(page * PAGE)),
            Ok(u64::from_le_bytes(want))
        );
    }
    let after = sizes(&mut vmm);
    if kind == Ram::PrivateFile {
        // Its pages come from the page cache, which is not the process's; only page tables may grow.
        assert_eq!(after.0[0], before.0[0]);
    } else {
        assert_eq!(after, before);
    }
}

fn nothing_after_its_end(kind: Ram, access: Access) {
    let mut vmm = Vmm::start();
    vmm.fill(kind, 3, 0x33);
    let mem = PhysMem::of_process_with(vmm.pid(), &vmm.whole(kind), access).unwrap();
    assert_eq!(mem.read_u64(phys(3 * PAGE)), Ok(0x3333_3333_3333_3333));
    vmm.end();
    // A large read asks; it needs no time to notice. (The output closes a moment before the end.)
    let deadline = Instant::now() + Duration::from_secs(10);
    while mem.is_alive() {
        assert!(Instant::now() < deadline, "the end was not noticed");
    }
    let gone = Progress::failed(SourceFailure::Gone);
    assert_eq!(copy(&mem, 0, &mut vec![0; 1 << 20]), gone);
    assert_eq!(copy(&mem, 3 * PAGE, &mut [0; 8]), gone);
    let failed = Err(ReadError::Failed {
        addr: phys(3 * PAGE),
        failure: SourceFailure::Gone,
    });
    assert_eq!(mem.read_u64(phys(3 * PAGE)), failed);
    assert!(mem.next_populated(phys(0)).is_err());
    // A zombie has its number still, but nothing to open.
    let again = PhysMem::of_process_with(vmm.pid(), &vmm.whole(kind), access);
    assert!(matches!(again, Err(OpenError::NoProcess { .. })));

    // The thread notices too, without anybody asking.
    let mut vmm = Vmm::start();
    vmm.fill(kind, 3, 0x33);
    let mem = PhysMem::of_process_with(vmm.pid(), &vmm.whole(kind), access).unwrap();
    vmm.end();
    let deadline = Instant::now() + Duration::from_secs(10);
    while mem.read_u64(phys(3 * PAGE)).is_ok() {
        assert!(Instant::now() < deadline, "the end was not noticed");
    }
}

fn a_reader_without_a_page() {
    let mut vmm = Vmm::start();
    for kind in [Ram::Memfd, Ram::Anonymous] {
        vmm.fill(kind, 0, 0x5a);
        vmm.fill(kind, 1, 0x5b);
        let mem = PhysMem::of_process(vmm.pid(), &vmm.whole(kind)).unwrap();
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping.
        let base =
            unsafe { mm::mmap_anonymous(ptr::null_mut(), 2 * PAGE, rights, MapFlags::PRIVATE) };
        let base = base.unwrap();
        let wall = base.wrapping_byte_add(PAGE);
        // SAFETY: a page of it.
        unsafe { mm::mprotect(wall, PAGE, mm::MprotectFlags::empty()) }.unwrap();
        let start = base.wrapping_byte_add(PAGE - 100);
        // SAFETY: our own mapping, to which no reference exists.
        let mut segment = unsafe { UserBuf::from_raw(start.cast(), 200) };
        let mut iter = IovIter::ubuf(&mut segment);
        let from = phys(PAGE - 50);
        let progress = mem.copy_run_to_iter_nofault(from, ByteLen::new(200), &mut iter);
        assert_eq!(progress.copied, ByteLen::new(100));
        assert_eq!(progress.zeroed, ByteLen::ZERO);
        assert_eq!(progress.stopped, Some(Stop::DestFault));
        assert_eq!(iter.count(), 100);
        // Faulted in, it goes on where it stopped.
        assert_eq!(iter.fault_in_writeable(100), 100);
        // SAFETY: a page of it.
        unsafe {
            mm::mprotect(
                wall,
                PAGE,
                mm::MprotectFlags::READ | mm::MprotectFlags::WRITE,
            )
        }
        .unwrap();
        assert_eq!(iter.fault_in_writeable(100), 0);
        let from = phys(PAGE + 50);
        let progress = mem.copy_run_to_iter_nofault(from, ByteLen::new(100), &mut iter);
        assert_eq!(progress, Progress::copied(ByteLen::new(100)));
        // SAFETY: both pages may be read now, and `segment` is not used any more.
        let got = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), 200) };
        assert!(got[..50].iter().all(|byte| *byte == 0x5a));
        assert!(got[50..].iter().all(|byte| *byte == 0x5b));
        // SAFETY: our own mapping.
        unsafe { mm::munmap(base, 2 * PAGE) }.unwrap();
    }
}

fn pages_given_back_stay_so() {
    use std::os::unix::fs::MetadataExt;
    let mut vmm = Vmm::start();
    for page in 0..PAGES {
        vmm.fill(Ram::Memfd, page, 0x5a);
    }
    let mem = PhysMem::of_process(vmm.pid(), &vmm.whole(Ram::Memfd)).unwrap();
    let mut bytes = vec![0; LEN];
    let all = ByteLen::from_usize(LEN);
    assert_eq!(copy(&mem, 0, &mut bytes), Progress::copied(all));
    let blocks = |vmm: &Vmm| -> u64 {
        let fds = fs::read_dir(format!("/proc/{}/fd", vmm.pid())).unwrap();
        let fds = fds.map(|fd| fs::metadata(fd.unwrap().path()).unwrap());
        let memfd = fds.filter(|meta| meta.is_file() && meta.size() == all.get());
        memfd.map(|meta| meta.blocks()).max().unwrap()
    };
    // What was asked a moment ago is not asked again, so the first scans may bring the pages back.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        for page in 100..300 {
            vmm.discard(Ram::Memfd, page);
        }
        let before = blocks(&vmm);
        let progress = copy(&mem, 0, &mut bytes);
        assert_eq!(progress.advanced(), all);
        assert!(bytes[100 * PAGE..300 * PAGE].iter().all(|byte| *byte == 0));
        if blocks(&vmm) == before {
            assert_eq!(progress.zeroed, ByteLen::from_usize(200 * PAGE));
            break;
        }
        assert!(Instant::now() < deadline, "pages come back with every scan");
    }
    let before = blocks(&vmm);
    for page in 0..PAGES {
        let given_back = (100..300).contains(&page);
        let want = if given_back { 0 } else { 0x5a5a_5a5a_5a5a_5a5a };
        assert_eq!(mem.read_u64(phys(page * PAGE)), Ok(want));
    }
    assert_eq!(blocks(&vmm), before);
}

fn a_page_without_rights_is_zeros() {
    let mut vmm = Vmm::start();
    for page in 0..4 {
        vmm.fill(Ram::Anonymous, page, 0x5a);
    }
    let mem = PhysMem::of_process(vmm.pid(), &vmm.whole(Ram::Anonymous)).unwrap();
    vmm.protect(Ram::Anonymous, 2);
    let mut bytes = vec![0xee; 4 * PAGE];
    let progress = copy(&mem, 100, &mut bytes[..4 * PAGE - 100]);
    assert_eq!(progress.stopped, None);
    assert_eq!(progress.zeroed, ByteLen::from_usize(PAGE));
    let hole = 2 * PAGE - 100..3 * PAGE - 100;
    for (at, byte) in bytes[..4 * PAGE - 100].iter().enumerate() {
        assert_eq!(
            *byte,
            if hole.contains(&at) { 0 } else { 0x5a },
            "byte {at}"
        );
    }
}

/// How many huge pages there are is the machine's setting, so this program runs in a machine of its own.
fn huge_pages_in_a_guest() {
    let program = env::current_exe().unwrap();
    let config = GuestConfig::new(KernelRelease::V6_12)
        .memory_mib(1024)
        .answer_deadline(Duration::from_secs(300));
    let guest = Guest::boot(&config.program(&program)).unwrap();
    guest
        .write("/proc/sys/vm/nr_overcommit_hugepages", "32")
        .unwrap();
    guest.run(&["/bin/busybox", "mkdir", "-p", "/tmp"]).unwrap();
    let name = program.file_name().unwrap().to_str().unwrap();
    let ended = guest.run(&[&format!("/bin/{name}"), HUGE_PAGES]).unwrap();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    // That it ran: it says so last.
    assert_eq!(ended.stdout, "huge pages are read\n");
}

fn huge_pages() {
    const HUGE_PAGE: usize = 512;
    for kind in HUGE_KINDS {
        for access in [Access::Auto, Access::VmReadv] {
            let mut vmm = Vmm::start_with_huge_pages();
            // A byte in the second and one in the last of eight huge pages.
            let filled = [HUGE_PAGE + 3, 8 * HUGE_PAGE - 1];
            for page in filled {
                vmm.fill(kind, page, 0x5a);
            }
            // Not from its start: RAM is cut at odd places.
            let [(whole, addr)] = vmm.whole(kind);
            let skip = ByteLen::new(0x3000);
            let range = PhysRange::new(whole.start().wrapping_add(skip), whole.end()).unwrap();
            let ranges = [(range, addr.wrapping_add(skip))];
            let mem = PhysMem::of_process_with(vmm.pid(), &ranges, access).unwrap();
            let is_mapped = kind == Ram::HugeMemfd && access == Access::Auto;
            assert_eq!(mem.access_mode() == AccessMode::Mapped, is_mapped);
            let before = vmm.status_kib("HugetlbPages");
            let taken = || {
                let info = fs::read_to_string("/proc/meminfo").unwrap();
                let line = info.lines().find(|line| line.starts_with("HugePages_Surp"));
                line.unwrap().to_owned()
            };
            let taken_before = taken();
            for _ in 0..2 {
                let mut bytes = vec![0xee; LEN];
                let progress = copy(&mem, 0, &mut bytes);
                assert_eq!(progress.advanced(), ByteLen::from_usize(LEN));
                for (page, bytes) in bytes.chunks(PAGE).enumerate() {
                    let want = if filled.contains(&page) { 0x5a } else { 0 };
                    assert!(
                        bytes.iter().all(|byte| *byte == want),
                        "{kind:?} page {page}"
                    );
                }
                for page in 3..PAGES {
                    let word = mem.read_u64(phys(page * PAGE)).unwrap();
                    let want = if filled.contains(&page) { 0x5a } else { 0 };
                    assert_eq!(word.to_le_bytes(), [want; 8]);
                }
            }
            assert_eq!(vmm.status_kib("HugetlbPages"), before);
            assert_eq!(taken(), taken_before);
        }
    }
    println!("huge pages are read");
}

fn many_threads_read_at_once() {
    let mut vmm = Vmm::start();
    for kind in [Ram::Memfd, Ram::Anonymous] {
        for page in 0..64 {
            vmm.fill(kind, page, u8::try_from(page + 1).unwrap());
        }
        let mem = PhysMem::of_process(vmm.pid(), &vmm.whole(kind)).unwrap();
        let read = |first: usize| {
            let mut bytes = vec![0; 8 * PAGE];
            for turn in 0..200 {
                let page = (first * 13 + turn * 7) % 56;
                assert_eq!(
                    copy(&mem, page * PAGE, &mut bytes).advanced(),
                    ByteLen::from_usize(8 * PAGE)
                );
                for (page, bytes) in (page..).zip(bytes.chunks(PAGE)) {
                    assert!(bytes.iter().all(|byte| usize::from(*byte) == page + 1));
                }
                let word = mem.read_u64(phys(page * PAGE)).unwrap();
                assert_eq!(word.to_le_bytes(), [u8::try_from(page + 1).unwrap(); 8]);
            }
        };
        thread::scope(|scope| {
            for first in 0..8 {
                scope.spawn(move || read(first));
            }
        });
    }
}
