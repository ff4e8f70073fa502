//! Commands that say what a file of the guest's own says.

use vread_guests::Guest;

use crate::listings::decided;
use crate::program::{target, vread_stdout};

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
