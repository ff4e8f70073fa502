//! Every command on the arena: output, exit codes, pipes. No guest is needed here.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::command::{assert_refused, command, poll, vread};
use rustix::process::{Pid, Signal};
use serde_json::Value;

const GREETING: &str = "This is vmalloc memory of an arena inside vread.\n";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn info_says_what_it_is() {
    let ran = vread(&[&"info", &"arena"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(
        ran.stdout.contains("ffffc90000000000    64 MiB vmalloc"),
        "{ran:?}"
    );
    let ran = vread(&[&"info", &"arena", &"--json"]);
    let info = json(&ran.stdout);
    assert_eq!(info["target"], "arena");
    assert_eq!(info["segments"][0]["start"], "0xffffc90000000000");
    assert_eq!(info["segments"][0]["len"], 64 << 20);
}

#[test]
fn read_shows_bytes_with_their_addresses() {
    let ran = vread(&[&"read", &"arena", &"greeting+8", &"19"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(
        ran.stdout,
        "ffffc90000000008: 766d 616c 6c6f 6320 6d65 6d6f 7279 206f  vmalloc memory o\n\
         ffffc90000000018: 6620 61                                  f a\n"
    );
    // As /proc/kallsyms prints addresses, too.
    let same = vread(&[&"read", &"arena", &"ffffc90000000008", &"0x13"]);
    assert_eq!(same.stdout, ran.stdout);
}

#[test]
fn read_gives_raw_bytes_and_json() {
    let length = GREETING.len().to_string();
    let ran = vread(&[&"read", &"arena", &"greeting", &length, &"--raw"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), GREETING));
    let ran = vread(&[&"read", &"arena", &"pattern+0x1000", &"16", &"--json"]);
    let read = json(&ran.stdout);
    assert_eq!(read["bytes"], "00100000000000000810000000000000");
    assert_eq!((&read["length"], &read["holes"]), (&16.into(), &0.into()));
}

#[test]
fn read_of_many_chunks_is_one_piece() {
    let output = command()
        .args(["read", "arena", "0xffffc90000000000", "3M", "--raw"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout.len(), 3 << 20);
    let start = 0x43_000;
    let pattern = output.stdout[start..start + (256 << 10)].chunks(8);
    let expected = (0_u64..).step_by(8);
    assert!(
        pattern
            .zip(expected)
            .all(|(word, at)| word == at.to_le_bytes())
    );
}

#[test]
fn read_counts_holes_and_exits_1() {
    // The greeting has one page and a guard page behind it.
    let ran = vread(&[&"read", &"arena", &"greeting+4088", &"16"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    assert!(
        ran.stderr.contains("8 of 16 bytes are not there"),
        "{ran:?}"
    );
    // Outside of every segment it is one hole.
    let ran = vread(&[&"read", &"arena", &"0xffff800000000000", &"16", &"--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(json(&ran.stdout)["holes"], 16);
}

#[test]
fn read_of_nothing_succeeds() {
    let ran = vread(&[&"read", &"arena", &"greeting", &"0"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (Some(0), "", "")
    );
}

#[test]
fn symbols_by_part_pattern_and_address() {
    let all = vread(&[&"symbols", &"arena"]);
    assert!(
        all.stdout.starts_with("ffffc90000000000 d greeting\n"),
        "{all:?}"
    );
    let part = vread(&[&"symbols", &"arena", &"eet"]);
    assert_eq!(part.stdout, "ffffc90000000000 d greeting\n");
    assert_eq!(vread(&[&"symbols", &"arena", &"g*g"]).stdout, part.stdout);
    let none = vread(&[&"symbols", &"arena", &"g*x"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""), "{none:?}");
    let covering = vread(&[&"symbols", &"arena", &"0xffffc90000000010"]);
    assert_eq!(covering.stdout, "greeting+0x10/0x2000\n");
    let none = vread(&[&"symbols", &"arena", &"0xffffc90000002000"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""), "{none:?}");
    let ran = vread(&[&"symbols", &"arena", &"g*", &"--json"]);
    let symbols = json(&ran.stdout);
    assert_eq!(symbols[0]["name"], "greeting");
    assert_eq!(symbols[0]["address"], "0xffffc90000000000");
}

#[test]
fn vmallocinfo_lists_areas() {
    let ran = vread(&[&"vmallocinfo", &"arena"]);
    assert!(
        ran.stdout
            .starts_with("0xffffc90000000000-0xffffc90000002000    8192 pages=1 vmalloc\n"),
        "{ran:?}"
    );
    let areas = json(&vread(&[&"vmallocinfo", &"arena", &"--json"]).stdout);
    assert_eq!(areas[0]["end"], "0xffffc90000002000");
    assert_eq!(areas[0]["description"], "pages=1 vmalloc");
}

#[test]
fn a_pipe_that_is_closed_early_is_a_success() {
    let mut child = command()
        .args(["read", "arena", "pattern", "32M"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 64]).unwrap();
    drop(stdout);
    let ran = child.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert_eq!(ran.stderr, b"", "{ran:?}");
}

#[test]
fn an_output_that_is_full_is_a_failure() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command()
        .args(["info", "arena"])
        .stdout(full)
        .output()
        .unwrap();
    assert_refused(
        &crate::command::Ran::from(output),
        &["cannot write the output", "No space left"],
    );
}

/// A `vread mount arena`, ended on drop.
pub(crate) struct Mount {
    child: Child,
}

impl Mount {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    pub(crate) fn start_with(dir: &Path, words: &[&str]) -> Self {
        let mut child = command()
            .args(["mount", "arena"])
            .arg(dir)
            .args(words)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says so once it is mounted.
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut lines = stderr.lines();
        let mut said = String::new();
        while !said.contains("leave with Ctrl-C") {
            said = lines.next().expect("it is mounted").unwrap();
        }
        Self { child }
    }

    /// Sends `signal` and gives the exit code.
    pub(crate) fn end(mut self, signal: Signal) -> Option<i32> {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
        poll("the mount ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn is_mounted(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut points = mounts.lines().map(|line| line.split(' ').nth(4));
    points.any(|point| point == dir.to_str())
}

/// Where the greeting stands in `kcore`: the offset of the first and only segment.
fn greeting_offset(kcore: &File) -> u64 {
    let mut phdr = [0; 56];
    kcore.read_exact_at(&mut phdr, 64 + 56).unwrap();
    u64::from_le_bytes(phdr[8..16].try_into().unwrap())
}

#[test]
fn mount_serves_live_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mount = Mount::start(dir.path());
    let kcore = File::open(dir.path().join("kcore")).unwrap();
    let at = greeting_offset(&kcore);
    let mut text = vec![0; GREETING.len()];
    kcore.read_exact_at(&mut text, at).unwrap();
    assert_eq!(text, GREETING.as_bytes());
    // The clock moves from one read to the next.
    let clock = || {
        let mut word = [0; 8];
        kcore.read_exact_at(&mut word, at + 0x84_000).unwrap();
        u64::from_le_bytes(word)
    };
    let first = clock();
    assert!(clock() > first && first > 0);
    assert_eq!(mount.end(Signal::TERM), Some(0));
    assert!(!is_mounted(dir.path()));
}

/// What `command` is when it has started, with a standard error that nobody reads.
fn unheard(mut command: Command) -> Child {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    child
}

#[test]
fn mount_goes_on_where_nobody_hears_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut mount = command();
    mount.args(["mount", "arena"]).arg(dir.path());
    let mount = Mount {
        child: unheard(mount),
    };
    poll("the mount", || is_mounted(dir.path()).then_some(()));
    let kcore = File::open(dir.path().join("kcore")).unwrap();
    assert_ne!(greeting_offset(&kcore), 0);
    assert_eq!(mount.end(Signal::TERM), Some(0));
}

#[test]
fn an_error_that_nobody_hears_has_its_exit_code() {
    let mut read = command();
    read.args(["read", "arena", "no_such_symbol", "8"]);
    assert_eq!(unheard(read).wait().unwrap().code(), Some(2));
}

#[test]
fn mount_ends_on_interrupt_with_a_file_open() {
    let dir = tempfile::tempdir().unwrap();
    let mount = Mount::start(dir.path());
    let kcore = File::open(dir.path().join("kcore")).unwrap();
    assert_eq!(mount.end(Signal::INT), Some(0));
    assert!(!is_mounted(dir.path()));
    assert!(kcore.read_at(&mut [0], 0).is_err());
}

#[test]
fn mount_ends_when_unmounted_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let mut mount = Mount::start(dir.path());
    let unmount = Command::new("fusermount3")
        .arg("-u")
        .arg(dir.path())
        .status();
    assert!(unmount.unwrap().success());
    let status = poll("the mount ends", || mount.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn mount_clears_what_a_crash_left() {
    let dir = tempfile::tempdir().unwrap();
    let crashed = Mount::start(dir.path());
    assert_eq!(crashed.end(Signal::KILL), None);
    let error = fs::metadata(dir.path()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    let mount = Mount::start(dir.path());
    assert!(File::open(dir.path().join("vmcore")).is_ok());
    assert_eq!(mount.end(Signal::INT), Some(0));
    assert!(!is_mounted(dir.path()));
}

#[test]
fn mount_refuses_a_live_mount() {
    let dir = tempfile::tempdir().unwrap();
    let mount = Mount::start(dir.path());
    let again = vread(&[&"mount", &"arena", &dir.path()]);
    assert_refused(
        &again,
        &[
            dir.path().to_str().unwrap(),
            "already a mount",
            "fusermount3 -u",
        ],
    );
    assert_eq!(mount.end(Signal::INT), Some(0));
}
