//! Guests of their own, of other kinds.

use vread_addr::{ByteLen, PhysAddr, PhysRange, VirtAddr};
use vread_guests::{Backend, Guest, GuestConfig, Kaslr, KernelRelease};
use vread_linux::{Kernel, PagingLevels};
use vread_physmem::PhysMem;

use crate::says::assert_same_vmallocinfo;
use crate::seen::Seen;

/// A name and the test.
type Test = (&'static str, fn(KernelRelease));

pub(crate) const TESTS: [Test; 2] = [
    (
        "reads_four_levels_without_kaslr",
        reads_four_levels_without_kaslr,
    ),
    ("counts_pages_by_node", counts_pages_by_node),
];

/// G2, E9, E19, N15.
fn reads_four_levels_without_kaslr(release: KernelRelease) {
    let config = GuestConfig::new(release)
        .backend(Backend::File)
        .cpu_model("max,la57=off")
        .kaslr(Kaslr::Off);
    let guest = Guest::boot(&config).unwrap();
    let seen = Seen::new(&guest);
    assert_eq!(seen.kernel.page_table().levels(), PagingLevels::Four);
    assert_eq!(seen.kernel.kaslr_offset().get(), 0);
    let bases = seen.kernel.bases().unwrap();
    let all = [bases.direct_map, bases.vmalloc, bases.vmemmap].map(|base| base.get());
    let fixed = [
        0xffff_8880_0000_0000,
        0xffff_c900_0000_0000,
        0xffff_ea00_0000_0000,
    ];
    assert_eq!(all, fixed);
    for theirs in guest.kcore_segments().unwrap() {
        let offset = seen
            .image
            .offset_of(vread_addr::VirtAddr::new(theirs.vaddr))
            .unwrap();
        assert_eq!(offset.get(), theirs.offset, "{theirs:?}");
    }
}

/// V31: the counts behind `N0=` and `N1=`, on a machine with two nodes of memory.
fn counts_pages_by_node(release: KernelRelease) {
    const NODE_LEN: u64 = 256 << 20;
    let dir = tempfile::tempdir().unwrap();
    let paths = ["node0", "node1"].map(|name| dir.path().join(name));
    let mut args = Vec::new();
    for (node, path) in paths.iter().enumerate() {
        let path = path.display();
        args.push("-object".to_owned());
        args.push(format!(
            "memory-backend-file,id=node{node},size={NODE_LEN},mem-path={path},share=on"
        ));
        args.push("-numa".to_owned());
        args.push(format!("node,nodeid={node},memdev=node{node},cpus={node}"));
    }
    let config = GuestConfig::new(release)
        .memory_mib(512)
        .qemu_args(args.iter().map(String::as_str));
    let guest = Guest::boot(&config).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", guest.pid())).unwrap();
    let mut ranges = Vec::new();
    for (node, path) in (0_u64..).zip(&paths) {
        let path = path.display().to_string();
        let line = maps.lines().find(|line| line.ends_with(&path)).unwrap();
        let start = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        let phys = PhysAddr::new(node * NODE_LEN);
        let range = PhysRange::from_len(phys, ByteLen::new(NODE_LEN)).unwrap();
        ranges.push((range, VirtAddr::new(start)));
    }
    let mem = PhysMem::of_process(guest.pid(), &ranges).unwrap();
    let kernel = Kernel::attach(mem).unwrap();
    let maps: Vec<_> = (0..8)
        .map(|seed| guest.create_bpf_map(1 << 20, seed).unwrap())
        .collect();
    guest
        .run(&["/bin/busybox", "taskset", "2", "/bin/busybox", "true"])
        .unwrap();
    let text = assert_same_vmallocinfo(&guest, &kernel);
    assert!(text.contains(" N0=") && text.contains(" N1="), "{text}");
    for map in maps {
        guest.close_bpf_map(map).unwrap();
    }
}
