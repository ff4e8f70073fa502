//! What `vread` prints must be what the guest's own files say.

use vread_guests::Guest;

use crate::program::{target, vread_stdout};

/// G20 to G28, G62: all symbols, modules included, line for line.
pub(crate) fn symbols_equal_kallsyms(guest: &Guest) {
    let (ours, theirs) = decided(
        || vread_stdout(["symbols", &target(guest)]),
        || guest.read_text("/proc/kallsyms").unwrap(),
    );
    let first_difference = ours.lines().zip(theirs.lines()).position(|(a, b)| a != b);
    if let Some(line) = first_difference {
        panic!(
            "line {}: outside {:?}, inside {:?}",
            line + 1,
            ours.lines().nth(line),
            theirs.lines().nth(line),
        );
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
    assert_eq!(ours, theirs);
    println!("{} symbols", ours.lines().count());
}

/// The lines of `text` in one order, without trailing blanks.
pub(crate) fn sorted(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim_end().to_owned());
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

/// V30 to V35: the same areas with the same sizes, flags, pages and callers. The order is left
/// aside: in the guest it is that of its nodes.
pub(crate) fn vmallocinfo_equals_the_guests_own(guest: &Guest) {
    let (ours, theirs) = decided(
        || sorted(&vread_stdout(["vmallocinfo", &target(guest)])),
        || sorted(&guest.read_text("/proc/vmallocinfo").unwrap()),
    );
    for line in &ours {
        assert!(theirs.contains(line), "only outside: {line}");
    }
    for line in &theirs {
        assert!(ours.contains(line), "only inside: {line}");
    }
    assert_eq!(ours, theirs);
    println!("{} areas", ours.len());
}

/// The release, the build id, and the segments of the guest's own kcore.
pub(crate) fn info_says_what_the_guest_says(guest: &Guest) {
    let info = vread_stdout(["info", &target(guest)]);
    let release = guest.read_text("/proc/sys/kernel/osrelease").unwrap();
    assert!(info.contains(release.trim()), "no {release:?} in\n{info}");
    assert!(
        info.contains("mapped"),
        "the guest's RAM is a shared file:\n{info}"
    );
    // The notes of the guest's kernel end with its build id (the last 20 bytes of the GNU note).
    let notes = guest.read("/sys/kernel/notes").unwrap();
    let gnu = notes.windows(4).position(|name| name == b"GNU\0").unwrap();
    let id: String = notes[gnu + 4..gnu + 24]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(info.contains(&id), "no build id {id} in\n{info}");
    let json = vread_stdout(["info", "--json", &target(guest)]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["kernel"]["build_id"], *id);
    let ours = json["segments"].as_array().unwrap().iter();
    let ours: Vec<(String, u64)> = ours
        .map(|segment| {
            let start = segment["start"].as_str().unwrap().to_owned();
            (start, segment["len"].as_u64().unwrap())
        })
        .collect();
    let theirs = guest.kcore_segments().unwrap().into_iter();
    let theirs: Vec<(String, u64)> = theirs
        .map(|segment| (format!("{:#x}", segment.vaddr), segment.size))
        .collect();
    assert_eq!(ours, theirs);
}

/// The kernel's own name of itself, read by symbol.
pub(crate) fn read_command_prints_the_banner(guest: &Guest) {
    let banner = guest.read_text("/proc/version").unwrap();
    let len = banner.trim_end().len().to_string();
    let raw = vread_stdout(["read", "--raw", &target(guest), "linux_banner", &len]);
    assert_eq!(raw, banner.trim_end());
    let dump = vread_stdout(["read", &target(guest), "linux_banner", "16"]);
    assert!(dump.contains("Linux version"), "{dump}");
}

/// Reads outside, inside, outside until the two outside agree: then what is inside is comparable.
pub(crate) fn decided<T: PartialEq>(outside: impl Fn() -> T, inside: impl Fn() -> T) -> (T, T) {
    const TRIES: usize = 10;
    let mut before = outside();
    for _ in 0..TRIES {
        let theirs = inside();
        let after = outside();
        if before == after {
            return (after, theirs);
        }
        before = after;
    }
    panic!("the guest changed during each of {TRIES} readings");
}
