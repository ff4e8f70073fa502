//! `vread vmlinux` against its own limits.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use vread_guests::{Guest, ensure_packages};

use crate::program::{succeed, target};
use crate::rounds::median;

const ROUNDS: usize = 7;
const LIMIT: Duration = Duration::from_secs(3);
const LIMIT_MIB: u64 = 512;

/// Time and memory of writing the file from nothing: attaching is in it.
pub(crate) fn bench(guest: &Guest, recovered: &Path) {
    ensure_packages(&["time"]).unwrap();
    let (mut times, mut most_kib) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        // A program of its own, so that its memory is not counted together with ours.
        let output = succeed(
            Command::new("time")
                .args(["--format", "%e %M", env!("CARGO_BIN_EXE_vread")])
                .args(["vmlinux", &target(guest), "-o"])
                .arg(recovered),
        );
        let said = String::from_utf8(output.stderr).unwrap();
        let words: Vec<&str> = said.lines().last().unwrap().split(' ').collect();
        times.push(Duration::from_secs_f64(words[0].parse().unwrap()));
        most_kib = words[1].parse::<u64>().unwrap().max(most_kib);
    }
    let time = median(times).as_secs_f64();
    let mib = most_kib as f64 / 1024.0;
    println!(
        "vread vmlinux, a file of {} MiB (median of {ROUNDS}, largest memory)",
        fs::metadata(recovered).unwrap().len() >> 20
    );
    println!(
        "  {time:>8.2} s     limit {} s, ratio {:.2}",
        LIMIT.as_secs(),
        time / LIMIT.as_secs_f64()
    );
    println!(
        "  {mib:>8.0} MiB   limit {LIMIT_MIB} MiB, ratio {:.2}; pages of the guest that it mapped are counted",
        mib / LIMIT_MIB as f64
    );
}
