//! Pages of RAM that hold something, and must not be read all the same: the guest's own kcore gives zeros.

use vread_addr::{PhysAddr, VirtAddr};
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease, pattern};
use vread_linux::Kernel;

use crate::alone::Test;
use crate::seen::Seen;

pub(crate) const TESTS: [Test; 2] = [
    ("withholds_poisoned_pages", withholds_poisoned_pages),
    (
        "withholds_pages_without_a_direct_map",
        withholds_pages_without_a_direct_map,
    ),
];

const PAGE: usize = 4096;
const PAGES: usize = 16;

/// K15, G56: a page with a fault in its memory is zeros. The fault is injected; the page's content is
/// still there, and is not given.
fn withholds_poisoned_pages(release: KernelRelease) {
    const DEBUGFS: &str = "/sys/kernel/debug/hwpoison/corrupt-pfn";
    if matches!(release, KernelRelease::V5_10 | KernelRelease::V6_1) {
        // Debian builds these without memory failure handling, so that no page is ever marked.
        let guest = Guest::boot(&GuestConfig::new(release).backend(Backend::File)).unwrap();
        let symbols = guest.read_text("/proc/kallsyms").unwrap();
        let handles_failures = |line: &str| line.split(' ').nth(2) == Some("memory_failure");
        assert!(symbols.lines().count() > 10_000 && !symbols.lines().any(handles_failures));
        let seen = Seen::new(&guest);
        assert_eq!(seen.kernel.vmcoreinfo().number("PG_hwpoison"), None);
        println!("the guest's kernel has no memory_failure: no page is ever poisoned");
        return;
    }
    let config = GuestConfig::new(release)
        .backend(Backend::File)
        .module("hwpoison-inject");
    let guest = Guest::boot(&config).unwrap();
    let seen = Seen::new(&guest);
    let map = guest.create_bpf_map((PAGES * PAGE) as u64, 7).unwrap();
    let pages: Vec<PhysAddr> = (map.data.start..map.data.end)
        .step_by(PAGE)
        .map(|addr| translate(&seen.kernel, addr))
        .collect();
    for page in pages.iter().step_by(2) {
        // The kernel marks the page first and then finds that it can do nothing for a page of its own.
        let _ = guest.write(DEBUGFS, &format!("{:#x}", page.get() >> 12));
    }
    let console = guest.console().unwrap();
    let (mut given, mut withheld) = (0, 0);
    for (index, page) in pages.iter().enumerate() {
        let content = expected(7, index);
        assert_eq!(raw(&seen.kernel, *page), content, "still there");
        let ours = assert_as_inside(&guest, &seen, *page);
        match index % 2 {
            0 => {
                assert!(ours.iter().all(|byte| *byte == 0), "{page}\n{console}");
                withheld += 1;
            }
            _ => {
                assert_eq!(ours, content, "{page}");
                given += 1;
            }
        }
    }
    println!("{withheld} poisoned pages withheld, {given} between them given");
}

/// K17, G5: a page that the kernel has taken out of its direct map is zeros there.
fn withholds_pages_without_a_direct_map(release: KernelRelease) {
    const SEED: u64 = 0x5ec2e7;
    const ENOSYS: i32 = 38;
    let config = GuestConfig::new(release)
        .backend(Backend::File)
        .kernel_args(["secretmem.enable=1"]);
    let guest = Guest::boot(&config).unwrap();
    let kept = guest.keep_secret_memory((PAGES * PAGE) as u64, SEED);
    if release == KernelRelease::V5_10 {
        // It came with 5.14.
        let errno = match kept.unwrap_err() {
            vread_guests::GuestError::Refused { errno, .. } => errno,
            other => panic!("{other}"),
        };
        assert_eq!(errno, Some(ENOSYS));
        println!("the guest's kernel has no memfd_secret: no page leaves the direct map for it");
        return;
    }
    kept.unwrap();
    let seen = Seen::new(&guest);
    let memory = std::fs::read(guest.memory_file().unwrap()).unwrap();
    for index in 0..PAGES {
        let content = expected(SEED, index);
        let mut places = memory.chunks_exact(PAGE).enumerate();
        let place = places.find_map(|(pfn, page)| (page == content).then_some(pfn));
        let page = PhysAddr::new(place.unwrap() as u64 * 4096);
        let direct = seen.kernel.bases().unwrap().direct_map_of(page).unwrap();
        let mapped = seen.kernel.page_table();
        assert_eq!(mapped.translate(seen.kernel.phys_mem(), direct), Ok(None));
        let ours = assert_as_inside(&guest, &seen, page);
        assert!(ours.iter().all(|byte| *byte == 0), "{page}");
    }
    println!("{PAGES} pages without a direct map read as zeros");
}

/// The page in the direct map, which is the same from inside.
fn assert_as_inside(guest: &Guest, seen: &Seen, page: PhysAddr) -> Vec<u8> {
    let direct = seen.kernel.bases().unwrap().direct_map_of(page).unwrap();
    let (ours, _) = seen.read(direct.get(), PAGE as u64);
    let theirs = guest.kcore_read(direct.get(), PAGE as u64).unwrap();
    assert_eq!(ours, theirs, "{page}");
    ours
}

fn translate(kernel: &Kernel, addr: u64) -> PhysAddr {
    let table = kernel.page_table();
    let found = table.translate(kernel.phys_mem(), VirtAddr::new(addr));
    found.unwrap().unwrap()
}

/// What the machine's memory holds, whatever the kernel says about it.
fn raw(kernel: &Kernel, page: PhysAddr) -> Vec<u8> {
    let mut bytes = vec![0; PAGE];
    kernel.phys_mem().read(page, &mut bytes).unwrap();
    bytes
}

fn expected(seed: u64, page: usize) -> Vec<u8> {
    let mut bytes = vec![0; PAGE];
    pattern::fill(
        seed,
        page as u64 * (PAGE as u64 / pattern::WORD_BYTES),
        &mut bytes,
    );
    bytes
}
