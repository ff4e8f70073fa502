//! Memory of known content in vmalloc space, through each way of reading a guest.

use std::ops::Range;

use vread_guests::{Backend, BpfMap, Guest, GuestConfig, KernelRelease, pattern};

use crate::mounted::{KcoreFile, Mounted};
use crate::program::{target, vread_stdout};

const BYTES: u64 = 16 << 20;

/// The guest's RAM is a shared file, mapped on this side.
pub(crate) fn mapped(release: KernelRelease) {
    let guest = Guest::boot(&GuestConfig::new(release).backend(Backend::Memfd)).unwrap();
    read_back(&guest, "mapped");
    // The same guest, read the other way.
    read_back(&guest, "vm-readv");
}

/// The guest's RAM is QEMU's private memory.
pub(crate) fn through_the_vmm(release: KernelRelease) {
    let guest = Guest::boot(&GuestConfig::new(release).backend(Backend::Anonymous)).unwrap();
    read_back(&guest, "vm-readv");
}

/// RAM on both sides of the PCI hole.
pub(crate) fn above_4_gib(release: KernelRelease) {
    let config = GuestConfig::new(release).memory_mib(5120);
    let guest = Guest::boot(&config.clone().backend(Backend::Memfd)).unwrap();
    read_back(&guest, "mapped");
    drop(guest);
    let guest = Guest::boot(&config.backend(Backend::Anonymous)).unwrap();
    read_back(&guest, "auto");
}

fn read_back(guest: &Guest, access: &str) {
    let map = guest.create_bpf_map(BYTES, 1).unwrap();
    let area = found_outside(guest, &map);
    assert_eq!(area, map.area);
    let mounted = Mounted::with_access(guest, access);
    let kcore = KcoreFile::open(&mounted.kcore());
    for seed in [1, 2] {
        if seed == 2 {
            // The same mount must see what changes under it.
            guest.fill_bpf_map(&map, seed).unwrap();
        }
        let mut expected = vec![0; (map.data.end - map.data.start) as usize];
        pattern::fill(seed, 0, &mut expected);
        let ours = kcore.read_virt(map.data.start, expected.len());
        let difference = ours
            .iter()
            .zip(&expected)
            .position(|(ours, theirs)| ours != theirs);
        assert_eq!(difference, None, "{access}, seed {seed}");
    }
    // The guard page behind it (V6, R14).
    assert_eq!(kcore.read_virt(map.area.end - 4096, 4096), vec![0; 4096]);
    guest.close_bpf_map(map).unwrap();
}

/// The area as `vread` lists it, found by who asked for it and by its size.
fn found_outside(guest: &Guest, map: &BpfMap) -> Range<u64> {
    let size = (map.area.end - map.area.start).to_string();
    let listing = vread_stdout(["vmallocinfo", &target(guest)]);
    let mut found = listing.lines().filter(|line| {
        line.contains("array_map_alloc") && line.split_whitespace().nth(1) == Some(&size)
    });
    let line = found
        .next()
        .unwrap_or_else(|| panic!("no array map of {size} bytes in\n{listing}"));
    assert_eq!(found.next(), None);
    let (start, end) = line
        .split_whitespace()
        .next()
        .unwrap()
        .split_once('-')
        .unwrap();
    let address = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    address(start)..address(end)
}
