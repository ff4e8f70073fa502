//! The arena alive: areas come, go, grow, shrink and move while gdb and dd read the mount.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "small numbers of the test's own"
)]

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::arena::{Mount, is_mounted};
use crate::command::{assert_refused, vread};
use rustix::process::Signal;

const WINDOW: u64 = 0xffff_c900_0000_0000;
/// What the arena shows at rest ends here; the changing areas lie above.
const QUIET_END: u64 = 0x86_000;
const CHANGING: u64 = 8 << 20;
const READING: Duration = Duration::from_secs(60);

/// What one address showed last, so that it never shows anything older.
#[derive(Default)]
struct Seen {
    rounds: HashMap<u64, u64>,
    words: u64,
    zeros: u64,
    moved: u64,
}

impl Seen {
    /// Checks that `found` was once true of the word at `offset` of the window.
    fn check(&mut self, offset: u64, found: u64, by: &str) {
        self.words += 1;
        if found == 0 {
            self.zeros += 1;
            return;
        }
        let (round, moves, place) = (found >> 40, found >> 39 & 1, found & 0x7f_ffff_ffff);
        let what = format!("{by}: {found:#018x} at {:#x}", WINDOW + offset);
        match moves {
            0 => assert_eq!(place, offset / 8, "of another address: {what}"),
            _ => assert_eq!(place % 512, offset / 8 % 512, "of another place: {what}"),
        }
        self.moved += moves;
        let newest = self.rounds.entry(offset).or_default();
        // A moved page brings its own round along, which may be older than what was here before.
        assert!(
            round >= *newest || moves == 1,
            "older than round {newest}: {what}"
        );
        *newest = (*newest).max(round);
    }
}

/// Where the window stands in `kcore`.
fn data_offset(kcore: &Path) -> u64 {
    let head = fs::File::open(kcore).unwrap();
    let mut phdr = [0; 56];
    std::os::unix::fs::FileExt::read_exact_at(&head, &mut phdr, 64 + 56).unwrap();
    u64::from_le_bytes(phdr[8..16].try_into().unwrap())
}

/// Reads a part of the window with dd.
fn dd(kcore: &Path, data: u64, offset: u64, len: u64, seen: &mut Seen) {
    let dd = Command::new("dd")
        .arg(format!("if={}", kcore.display()))
        .args(["bs=65536", "iflag=skip_bytes,count_bytes", "status=none"])
        .arg(format!("skip={}", data + offset))
        .arg(format!("count={len}"))
        .output()
        .unwrap();
    assert!(
        dd.status.success(),
        "{}",
        String::from_utf8_lossy(&dd.stderr)
    );
    assert_eq!(dd.stdout.len() as u64, len);
    for (n, bytes) in (0..).zip(dd.stdout.chunks_exact(8)) {
        let found = u64::from_le_bytes(bytes.try_into().unwrap());
        seen.check(offset + n * 8, found, "dd");
    }
}

/// Reads the first words of the pages of a part of the window with gdb.
fn gdb(kcore: &Path, offset: u64, pages: u64, seen: &mut Seen) {
    let mut gdb = Command::new("gdb");
    gdb.args(["-batch", "-nx", "-ex"]);
    gdb.arg(format!("core-file {}", kcore.display()));
    for page in 0..pages {
        let at = WINDOW + offset + page * 4096;
        gdb.args(["-ex", &format!("x/8gx {at:#x}")]);
    }
    let ran = gdb.output().expect("gdb runs; install gdb");
    let text = String::from_utf8_lossy(&ran.stdout);
    let mut lines = 0;
    for line in text.lines().filter(|line| line.starts_with("0xffffc9")) {
        let (at, words) = line.split_once(':').unwrap();
        let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
        for (n, found) in (0..).zip(words.split_whitespace()) {
            seen.check(hex(at) - WINDOW + n * 8, hex(found), "gdb");
        }
        lines += 1;
    }
    assert_eq!(
        lines,
        pages * 4,
        "{text}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[test]
fn gdb_and_dd_see_what_was_once_true_while_areas_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let mount = Mount::start_with(dir.path(), &["--churn"]);
    let kcore = dir.path().join("kcore");
    let data = data_offset(&kcore);
    let (mut by_dd, mut by_gdb) = (Seen::default(), Seen::default());
    let (mut dds, mut gdbs) = (0, 0);
    let started = Instant::now();
    while started.elapsed() < READING {
        for _ in 0..4 {
            dd(&kcore, data, QUIET_END, CHANGING, &mut by_dd);
            dds += 1;
        }
        gdb(&kcore, QUIET_END + gdbs % 4 * 0x10_000, 64, &mut by_gdb);
        gdbs += 1;
    }
    for (seen, runs, by) in [(&by_dd, dds, "dd"), (&by_gdb, gdbs, "gdb")] {
        println!(
            "{by}: {runs} runs, {} words, {} of them zeros, {} moved; newest round {:?}",
            seen.words,
            seen.zeros,
            seen.moved,
            seen.rounds.values().max(),
        );
        assert!(seen.zeros < seen.words, "{by} saw nothing but holes");
    }
    assert!(by_dd.moved > 0, "dd saw no page on its way");
    let newest = by_dd.rounds.values().max().copied().unwrap_or(0);
    assert!(newest > 100, "the areas hardly changed: {newest} rounds");
    assert_eq!(mount.end(Signal::INT), Some(0));
    assert!(!is_mounted(dir.path()));
}

#[test]
fn churn_is_refused_for_a_guest() {
    let dir = tempfile::tempdir().unwrap();
    let ran = vread(&[&"mount", &"qemu:/nowhere.sock", &dir.path(), &"--churn"]);
    assert_refused(&ran, &["--churn", "arena"]);
}
