//! What every kernel's guest must do.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use vread_guests::{FileRange, Guest, GuestError, digest, pattern};

const KALLSYMS: &str = "/proc/kallsyms";
const KCORE: &str = "/proc/kcore";

/// A name and the test.
type Test = (&'static str, fn(&Guest));

pub(crate) const TESTS: [Test; 10] = [
    ("says_what_it_is", says_what_it_is),
    ("shows_real_addresses", shows_real_addresses),
    (
        "hashes_lines_and_bytes_of_a_file",
        hashes_lines_and_bytes_of_a_file,
    ),
    ("hashes_ranges_of_kcore", hashes_ranges_of_kcore),
    (
        "tells_why_a_range_ended_early",
        tells_why_a_range_ended_early,
    ),
    ("keeps_a_pattern_in_one_area", keeps_a_pattern_in_one_area),
    (
        "has_its_ram_in_the_memory_file",
        has_its_ram_in_the_memory_file,
    ),
    ("goes_on_after_a_refusal", goes_on_after_a_refusal),
    ("writes_and_runs", writes_and_runs),
    ("starts_tasks", starts_tasks),
];

fn says_what_it_is(guest: &Guest) {
    let hello = guest.hello();
    println!(
        "{} answered after {:?}",
        guest.kernel().package(),
        guest.boot_time()
    );
    assert_eq!(hello.release, guest.kernel().uname());
    assert!(hello.missing.is_empty(), "{:?}", hello.missing);
    // QEMU's translator corrupts flags at cmpxchg16b, so no guest may have it.
    let info = guest.read_text("/proc/cpuinfo").unwrap();
    assert!(info.contains(" cx8 ") && !info.contains(" cx16 "), "{info}");
    let loaded = guest.read_text("/proc/modules").unwrap();
    for module in ["dummy", "ts_bm", "sch_prio", "qemu_fw_cfg"] {
        assert!(
            hello.modules.iter().any(|name| name == module),
            "{module} was not loaded"
        );
        assert!(
            loaded
                .lines()
                .any(|line| line.starts_with(&format!("{module} "))),
            "{loaded}"
        );
    }
}

fn shows_real_addresses(guest: &Guest) {
    let text = symbol(guest, "_text");
    assert!(text >= 0xffff_ffff_8000_0000, "_text is at {text:#x}");
    assert!(!guest.vmallocinfo().unwrap().is_empty());
}

fn hashes_lines_and_bytes_of_a_file(guest: &Guest) {
    let text = guest.read(KALLSYMS).unwrap();
    assert!(text.len() > 1 << 20, "{} bytes of kallsyms", text.len());
    let lines = digest::line_chunks(&*text, 1000).unwrap();
    assert_eq!(guest.hash_lines(KALLSYMS, 1000).unwrap(), lines);
    let bytes = digest::byte_chunks(&*text, 65_537).unwrap();
    assert_eq!(guest.hash_bytes(KALLSYMS, 65_537).unwrap(), bytes);
}

/// The text of the running kernel does not change under a test that does nothing to it.
fn hashes_ranges_of_kcore(guest: &Guest) {
    let text = symbol(guest, "_text");
    let lens = [0, 1, 4095, 4096, 4097, 1 << 20, (2 << 20) + 1];
    let ranges: Vec<(u64, u64)> = lens.into_iter().map(|len| (text + 13, len)).collect();
    let hashes = guest.kcore_hash(&ranges).unwrap();
    assert_eq!(hashes.len(), ranges.len());
    for ((vaddr, len), hash) in ranges.into_iter().zip(hashes) {
        let bytes = guest.kcore_read(vaddr, len).unwrap();
        assert_eq!(bytes.len() as u64, len);
        assert_eq!((hash.got, hash.errno), (len, None));
        assert_eq!(hash.hash, digest::of(&bytes), "{len} bytes of text");
        assert_eq!(
            hash.all_zero,
            digest::is_all_zero(&bytes),
            "{len} bytes of text"
        );
    }
}

fn tells_why_a_range_ended_early(guest: &Guest) {
    let release = "/proc/sys/kernel/osrelease";
    let whole = guest.read(release).unwrap();
    let len = whole.len() as u64;
    let past_the_end = [
        FileRange { offset: 1, len },
        FileRange {
            offset: len,
            len: 1,
        },
    ];
    let hashes = guest.hash_ranges(release, &past_the_end).unwrap();
    assert_eq!(
        hashes.iter().map(|hash| hash.got).collect::<Vec<_>>(),
        [len - 1, 0]
    );
    assert_eq!(hashes[0].hash, digest::of(&whole[1..]));
    assert!(hashes.iter().all(|hash| hash.errno.is_none()));
    // A folder can be opened, but not read: EISDIR.
    let folder = guest
        .hash_ranges("/proc", &[FileRange { offset: 0, len: 1 }])
        .unwrap();
    assert_eq!((folder[0].got, folder[0].errno), (0, Some(21)));
}

/// A map's data is one virtually contiguous area, as the guest's kernel sees it in kcore.
fn keeps_a_pattern_in_one_area(guest: &Guest) {
    let map = guest.create_bpf_map(3 << 20, 11).unwrap();
    let len = map.data.end - map.data.start;
    assert_eq!(len, 3 << 20);
    for seed in [11, 12] {
        guest.fill_bpf_map(&map, seed).unwrap();
        let mut expected = vec![0; len as usize];
        pattern::fill(seed, 0, &mut expected);
        let hash = guest.kcore_hash(&[(map.data.start, len)]).unwrap()[0];
        assert_eq!(
            (hash.got, hash.hash),
            (len, digest::of(&expected)),
            "seed {seed}"
        );
        assert!(!hash.all_zero);
    }
    guest.close_bpf_map(map).unwrap();
}

/// The pages of a map, which are anywhere in the guest's RAM, are found in the file on the host.
fn has_its_ram_in_the_memory_file(guest: &Guest) {
    let pages = 16;
    let map = guest.create_bpf_map(pages * 4096, 0x5eed).unwrap();
    let mut data = vec![0; pages as usize * 4096];
    pattern::fill(0x5eed, 0, &mut data);
    let ram = File::open(guest.memory_file().unwrap()).unwrap();
    let ram_pages = ram.metadata().unwrap().len() / 4096;
    let mut found = vec![false; pages as usize];
    let mut page = [0; 4096];
    for number in 0..ram_pages {
        ram.read_exact_at(&mut page, number * 4096).unwrap();
        for (found, expected) in found.iter_mut().zip(data.chunks(4096)) {
            *found |= *expected == page;
        }
    }
    assert_eq!(found, vec![true; pages as usize]);
    guest.close_bpf_map(map).unwrap();
}

fn goes_on_after_a_refusal(guest: &Guest) {
    let refused = guest.read("/no/such/file").unwrap_err();
    assert!(
        matches!(&refused, GuestError::Refused { errno: Some(2), message }
        if message.contains("/no/such/file")),
        "{refused}"
    );
    assert_eq!(
        guest
            .read_at(KCORE, FileRange { offset: 0, len: 4 })
            .unwrap(),
        b"\x7fELF"
    );
}

fn writes_and_runs(guest: &Guest) {
    guest
        .write("/proc/sys/kernel/hostname", "vread-test")
        .unwrap();
    let ran = guest.run(&["/bin/busybox", "hostname"]).unwrap();
    assert_eq!((ran.code, &*ran.stdout), (Some(0), "vread-test\n"));
    let failed = guest
        .run(&["/bin/busybox", "cat", "/no/such/file"])
        .unwrap();
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains("No such file"), "{failed:?}");
}

fn starts_tasks(guest: &Guest) {
    let pids = guest.spawn_processes(3).unwrap();
    assert_eq!(pids.len(), 3);
    for pid in pids {
        let status = guest.read_text(&format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("\nPPid:\t1\n"), "{status}");
    }
    let tids = guest.spawn_threads(3).unwrap();
    assert_eq!(tids.len(), 3);
    for tid in tids {
        let comm = guest
            .read_text(&format!("/proc/1/task/{tid}/comm"))
            .unwrap();
        assert_eq!(comm, "vread-sleeper\n");
    }
}

fn symbol(guest: &Guest, name: &str) -> u64 {
    let text = guest.read_text(KALLSYMS).unwrap();
    let line = text
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(name))
        .unwrap();
    u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
}
