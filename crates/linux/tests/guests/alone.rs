//! Guests of their own, of other kinds.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{SeekFrom, seek};
use vread_addr::{ByteLen, PhysAddr, PhysRange, VirtAddr};
use vread_guests::{Backend, Guest, GuestConfig, Kaslr, KernelRelease};
use vread_kcore::SegmentKind;
use vread_linux::{Kernel, PagingLevels};
use vread_physmem::PhysMem;

use crate::says::assert_same_vmallocinfo;
use crate::seen::{Seen, attach};

/// A name and the test.
pub(crate) type Test = (&'static str, fn(KernelRelease));

pub(crate) const TESTS: [Test; 4] = [
    ("lists_generated_code", lists_generated_code),
    (
        "withholds_pages_that_a_balloon_took",
        withholds_pages_that_a_balloon_took,
    ),
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

/// K15, G56: a page that is logically offline is zeros, whatever its memory holds.
///
/// The host may use such memory for something else; here it is overwritten. 5.10's own kcore does not
/// look at page types and shows what is there (H), so there the guest is no witness.
fn withholds_pages_that_a_balloon_took(release: KernelRelease) {
    const TAKEN: u64 = 64 << 20;
    let config = GuestConfig::new(release)
        .backend(Backend::File)
        .qemu_args(["-device", "virtio-balloon-pci"])
        .module("virtio_pci")
        .module("virtio_balloon");
    let guest = Guest::boot(&config).unwrap();
    let seen = Seen::new(&guest);
    balloon(guest.qmp_path(), (512 << 20) - TAKEN);

    let empty_before = empty_pages(&guest);
    // QEMU gives the balloon's memory back, so that it is a hole of the memory file now. Filled again, it
    // would be content.
    let is_zeros = |page: &VirtAddr| seen.read(page.get(), 4096).1.copied.get() == 0;
    let segments = seen.kernel.segments().unwrap();
    let ram = segments
        .iter()
        .filter(|segment| segment.kind == SegmentKind::Ram);
    let holes: Vec<VirtAddr> = ram
        .flat_map(|segment| {
            let first = segment.start.get();
            (first..first + segment.len.get())
                .step_by(4096)
                .map(VirtAddr::new)
        })
        .filter(is_zeros)
        .collect();
    let direct_map = seen.kernel.bases().unwrap().direct_map;
    let empty_after = empty_pages(&guest);
    let file = std::fs::File::options()
        .write(true)
        .open(guest.memory_file().unwrap())
        .unwrap();
    for hole in &holes {
        let phys = hole.checked_offset_from(direct_map).unwrap().get();
        file.write_all_at(&[0x5a; 4096], phys).unwrap();
    }

    let ranges: Vec<(u64, u64)> = holes.iter().map(|hole| (hole.get(), 4096)).collect();
    let theirs = guest.kcore_hash(&ranges).unwrap();
    let (mut withheld, mut stayed_empty) = (0, 0);
    for (hole, theirs) in holes.iter().zip(theirs) {
        if is_zeros(hole) {
            withheld += 1;
            let page = hole.checked_offset_from(direct_map).unwrap().get() / 4096;
            if empty_before.contains(&page) {
                assert!(empty_after.contains(&page), "{hole}: resident again");
                stayed_empty += 1;
            }
            assert!(theirs.all_zero || release == KernelRelease::V5_10, "{hole}");
        }
    }
    assert_eq!(withheld, TAKEN / 4096);
    assert!(stayed_empty > 0, "QEMU gave no page back");
    println!("{withheld} pages withheld, {stayed_empty} of them given back, none resident again");
}

/// The pages of the memory file that have no content. (The host may keep a block that the guest gave back.)
fn empty_pages(guest: &Guest) -> HashSet<u64> {
    let memory = std::fs::File::open(guest.memory_file().unwrap()).unwrap();
    let len = memory.metadata().unwrap().len();
    let is_hole = |page: &u64| seek(&memory, SeekFrom::Hole(page * 4096)) == Ok(page * 4096);
    (0..len / 4096).filter(is_hole).collect()
}

/// Asks for a guest of `bytes` and waits until it is one.
fn balloon(qmp: &Path, bytes: u64) {
    let mut socket = UnixStream::connect(qmp).unwrap();
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
    let mut ask = |command: &str| {
        socket.write_all(command.as_bytes()).unwrap();
        loop {
            let line = lines.next().unwrap().unwrap();
            if line.contains("\"return\"") || line.contains("\"QMP\"") {
                return line;
            }
            assert!(!line.contains("\"error\""), "{line}");
        }
    };
    ask("");
    ask(r#"{"execute":"qmp_capabilities"}"#);
    ask(&format!(
        r#"{{"execute":"balloon","arguments":{{"value":{bytes}}}}}"#
    ));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ask(r#"{"execute":"query-balloon"}"#).contains(&format!("{bytes}")) {
        assert!(
            Instant::now() < deadline,
            "the balloon never has {bytes} bytes"
        );
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

/// What the kernel adds to `/proc/kallsyms` while it runs: trampolines of the tracer, pages of probes.
fn lists_generated_code(release: KernelRelease) {
    const TRACING: &str = "/sys/kernel/tracing";
    let guest = Guest::boot(&GuestConfig::new(release).backend(Backend::File)).unwrap();
    let mounted = guest
        .run(&["/bin/busybox", "mount", "-t", "tracefs", "none", TRACING])
        .unwrap();
    assert_eq!(mounted.code, Some(0), "{mounted:?}");
    let write = |file: &str, text: &str| guest.write(&format!("{TRACING}/{file}"), text);
    write("set_ftrace_filter", "vfs_write").unwrap();
    write("current_tracer", "function").unwrap();
    // Instructions behind the start of a function that is never called. The kernel refuses an offset that
    // is not the start of one, and takes that of the tracer's own call for itself.
    let probes = format!(
        "cd {TRACING}; for n in $(seq 4 32); do echo p:n$n emergency_restart+$n >> kprobe_events; done; \
         echo 1 > events/kprobes/enable"
    );
    guest.run(&["/bin/busybox", "sh", "-c", &probes]).unwrap();
    let kernel = attach(&guest);
    let theirs = guest.read_text("/proc/kallsyms").unwrap();
    for name in ["__builtin__ftrace", "__builtin__kprobes"] {
        assert!(
            theirs.contains(&format!("\t[{name}]")),
            "the guest has no {name}"
        );
    }
    let ours: String = kernel
        .symbols()
        .unwrap()
        .iter()
        .map(|symbol| format!("{symbol}\n"))
        .collect();
    let tail = |text: &str| {
        text.lines()
            .rev()
            .take(10)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(tail(&ours), tail(&theirs));
    assert!(ours == theirs);
}
