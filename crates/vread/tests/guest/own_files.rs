//! Commands that say what a file of the guest's own says.

use std::process::Command;

use vread_guests::Guest;

use crate::listings::{decided, sorted};
use crate::mounted::Mounted;
use crate::program::{succeed, target, vread_stdout};

/// The banner and the command line, letter for letter.
pub(crate) fn listing_version_and_cmdline(guest: &Guest) {
    for command in ["version", "cmdline"] {
        let theirs = guest.read_text(&format!("/proc/{command}")).unwrap();
        let ours = vread_stdout([command, &target(guest)]);
        assert_eq!(ours.trim_end(), theirs.trim_end(), "{command}");
        assert!(ours.len() > 20, "{ours:?}");
        let json = vread_stdout([command, &target(guest), "--json"]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let text = json.as_object().unwrap().values().next().unwrap();
        assert_eq!(text, theirs.trim_end(), "{command}");
    }
}

/// G56.
pub(crate) fn listing_iomem(guest: &Guest) {
    let (ours, theirs) = decided(
        || vread_stdout(["iomem", &target(guest)]),
        || guest.read_text("/proc/iomem").unwrap(),
    );
    assert_eq!(ours, theirs);
    assert!(ours.contains("System RAM"), "{ours}");
}

/// G62: names, sizes, who uses what, and where it is.
pub(crate) fn listing_lsmod(guest: &Guest) {
    let (ours, theirs) = decided(
        || vread_stdout(["lsmod", &target(guest), "--json"]),
        || guest.read_text("/proc/modules").unwrap(),
    );
    let ours: Vec<serde_json::Value> = serde_json::from_str(&ours).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let ours: Vec<String> = ours
        .iter()
        .map(|module| {
            let users = module["used_by"].as_array().unwrap().iter();
            let users: String = users.map(|user| text(user) + ",").collect();
            let permanent = module["permanent"].as_bool().unwrap();
            let users = match (users.as_str(), permanent) {
                ("", false) => "-",
                (users, true) => &format!("{users}[permanent],"),
                (users, false) => users,
            };
            let base = text(&module["base"]).replace("0x", "");
            let taints = match text(&module["taints"]).as_str() {
                "" => String::new(),
                letters => format!(" ({letters})"),
            };
            format!(
                "{} {} {} {users} {} 0x{base:0>16}{taints}",
                text(&module["name"]),
                module["size"],
                module["references"],
                text(&module["state"]),
            )
        })
        .collect();
    let theirs: Vec<&str> = theirs.lines().collect();
    assert_eq!(ours, theirs);
    let used = theirs.iter().filter(|line| !line.contains(" - "));
    assert!(used.count() >= 2, "no module uses another: {theirs:#?}");
    println!("{} modules", theirs.len());
}

/// The files of the mount that are called as the guest's own ones say the same: read by `cat` and copied by
/// `cp`, as users do.
pub(crate) fn listing_mounted_files(guest: &Guest) {
    let mounted = Mounted::new(guest);
    let dir = mounted.kcore().parent().unwrap().to_owned();
    let cat = |name: &str| succeed(Command::new("cat").arg(dir.join(name))).stdout;
    for (name, own) in [
        ("kallsyms", "/proc/kallsyms"),
        ("iomem", "/proc/iomem"),
        ("modules", "/proc/modules"),
        ("cmdline", "/proc/cmdline"),
        ("version", "/proc/version"),
        ("btf", "/sys/kernel/btf/vmlinux"),
    ] {
        let (ours, theirs) = decided(|| cat(name), || guest.read(own).unwrap());
        // Taints are followed by a space in some, nothing else differs.
        assert!(
            ours == theirs,
            "{name}: {} and {} bytes",
            ours.len(),
            theirs.len()
        );
    }
    let (ours, theirs) = decided(
        || sorted(&String::from_utf8(cat("vmallocinfo")).unwrap()),
        || sorted(&guest.read_text("/proc/vmallocinfo").unwrap()),
    );
    assert_same(&ours, &theirs);
    let (ours, theirs) = decided(
        || String::from_utf8(cat("kmsg")).unwrap(),
        || guest.run(&["/bin/busybox", "dmesg", "-r"]).unwrap().stdout,
    );
    let trimmed = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    };
    assert_same(&trimmed(&ours), &trimmed(&theirs));
    let info = String::from_utf8(cat("vmcoreinfo")).unwrap();
    let release = guest.hello().release.clone();
    assert!(
        info.starts_with(&format!("OSRELEASE={release}\n")),
        "{info}"
    );
    // A copy is whole, whether or not the size is known before.
    for name in ["iomem", "btf"] {
        let copy = tempfile::NamedTempFile::new().unwrap();
        succeed(Command::new("cp").arg(dir.join(name)).arg(copy.path()));
        assert!(std::fs::read(copy.path()).unwrap() == cat(name), "{name}");
    }
    // Each open looks anew.
    guest
        .write("/dev/kmsg", "vread: seen by the next opener\n")
        .unwrap();
    let log = String::from_utf8(cat("kmsg")).unwrap();
    assert!(log.contains("] vread: seen by the next opener\n"), "{log}");
    assert_eq!(
        mounted.stderr().matches("EIO").count(),
        0,
        "{}",
        mounted.stderr()
    );
}

/// The totals are those of the lines.
pub(crate) fn listing_vmallocinfo_totals(guest: &Guest) {
    let json = |words: &[&str]| -> Vec<serde_json::Value> {
        let target = target(guest);
        let words = words.iter().copied().chain([target.as_str(), "--json"]);
        serde_json::from_str(&vread_stdout(words)).unwrap()
    };
    let sum = |list: &[serde_json::Value]| -> u64 {
        list.iter().map(|item| item["size"].as_u64().unwrap()).sum()
    };
    let (lines, totals) = decided(
        || json(&["vmallocinfo"]),
        || json(&["vmallocinfo", "--totals"]),
    );
    assert_eq!(sum(&lines), sum(&totals));
    let areas: u64 = totals.iter().map(|t| t["areas"].as_u64().unwrap()).sum();
    assert_eq!(areas, lines.len() as u64);
    assert!(
        totals.len() > 10 && totals.len() < lines.len(),
        "{totals:?}"
    );
    assert!(totals.is_sorted_by_key(|t| std::cmp::Reverse(t["size"].as_u64())));
}

/// `--pause` stops the guest for as long as the command reads, and no longer.
pub(crate) fn listing_under_pause(guest: &Guest) {
    let uptime = || guest.read_text("/proc/uptime").unwrap();
    let before = uptime();
    let ran = crate::program::succeed(crate::program::vread().args([
        "symbols",
        &target(guest),
        "--pause",
    ]));
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.contains("the guest was paused for"), "{said:?}");
    // It answers, so it runs; and a command that fails lets it run on too.
    assert_ne!(uptime(), before);
    let mut failing = crate::program::vread();
    let ran = failing.args(["read", "--pause", &target(guest), "no_such_symbol", "8"]);
    let ran = ran.output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.contains("the guest was paused for"), "{said:?}");
    assert!(said.contains("no_such_symbol"), "{said:?}");
    assert_ne!(uptime(), before);
}

/// G63: every line of the log, as the guest's own syslog gives them, level and time in front; and every
/// record, as its /dev/kmsg gives them.
pub(crate) fn listing_dmesg(guest: &Guest) {
    // Levels, facilities and lines of our own.
    for text in [
        "<3>vread: an error\n",
        "<14>vread: of user space\n",
        "<5>one\ntwo\nthree\n",
    ] {
        guest.write("/dev/kmsg", text).unwrap();
    }
    let run = |words: &[&str]| guest.run(words).unwrap().stdout;
    let (ours, theirs) = decided(
        || vread_stdout(["dmesg", &target(guest), "--raw"]),
        || run(&["/bin/busybox", "dmesg", "-r"]),
    );
    let trimmed = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    };
    assert_same(&trimmed(&ours), &trimmed(&theirs));
    // What a program writes gets the facility of users.
    assert!(
        ours.contains("<11>[") && ours.contains("] three"),
        "no lines of ours"
    );
    // Reading /dev/kmsg waits for more at its end.
    let (ours, theirs) = decided(
        || vread_stdout(["dmesg", &target(guest), "--json"]),
        || {
            run(&[
                "/bin/busybox",
                "timeout",
                "1",
                "/bin/busybox",
                "cat",
                "/dev/kmsg",
            ])
        },
    );
    let ours: Vec<serde_json::Value> = serde_json::from_str(&ours).unwrap();
    let ours: Vec<String> = ours
        .iter()
        .filter(|record| record["open"] == false)
        .flat_map(kmsg_lines)
        .collect();
    assert_same(&ours, &trimmed(&theirs));
    println!("{} lines", theirs.lines().count());
}

/// Equal lines; where not, the first that differs is told.
#[track_caller]
pub(crate) fn assert_same(ours: &[String], theirs: &[String]) {
    for (number, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(ours, theirs, "line {}", number + 1);
    }
    let (some, more) = (ours.len().min(theirs.len()), ours.len().max(theirs.len()));
    let longer = if ours.len() > some { ours } else { theirs };
    assert_eq!(
        some,
        more,
        "lines that one side lacks: {:#?}",
        &longer[some..]
    );
}

/// A record as /dev/kmsg prints it.
fn kmsg_lines(record: &serde_json::Value) -> Vec<String> {
    let number = |key: &str| record[key].as_u64().unwrap();
    let text = |key: &str| record[key].as_str().map(str::to_owned);
    let priority = number("facility") << 3 | number("level");
    let micros = number("time_ns") / 1000;
    let mut escaped = String::new();
    for byte in text("text").unwrap().bytes() {
        match byte {
            b' '..=b'~' if byte != b'\\' => escaped.push(char::from(byte)),
            _ => escaped += &format!("\\x{byte:02x}"),
        }
    }
    let mut lines = vec![format!("{priority},{},{micros},-;{escaped}", number("seq"))];
    lines.extend(text("subsystem").map(|subsystem| format!(" SUBSYSTEM={subsystem}")));
    lines.extend(text("device").map(|device| format!(" DEVICE={device}")));
    lines
        .iter()
        .map(|line| line.trim_end().to_owned())
        .collect()
}
