//! The process that stays: it has the guest and its clean image, and starts workers until all seeds are done.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use vread_guests::KernelRelease;

use crate::image;
use crate::worker::Work;

/// After so many failures the rest of the seeds would say the same.
const MAX_FAILURES: usize = 20;

/// How many bytes the allocator of a worker keeps from step to step.
const RETAINED: &str = "1073741824";

/// Runs the images of `seeds`, of a guest with this kernel.
pub(crate) fn run(kernel: KernelRelease, seeds: Range<u64>) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (clean, forged) = (dir.path().join("clean"), dir.path().join("forged"));
    let guest = image::stopped_guest(kernel, &forged);
    image::copy(&forged, &clean);
    let (mut next, mut failures) = (seeds.start, Vec::new());
    while next < seeds.end && failures.len() < MAX_FAILURES {
        let work = Work {
            image: forged.clone(),
            target: format!("qemu:{}", guest.qmp_path().display()),
            report: dir.path().join("report"),
            seeds: next..seeds.end,
        };
        let said = work_on(&work, dir.path());
        next = said.next;
        failures.extend(said.failures);
        for line in said.figures {
            println!("{kernel}: {line}");
        }
        if next < seeds.end {
            image::copy(&clean, &forged);
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let list = failures.join("\n");
    Err(format!(
        "{kernel}, seeds {seeds:?}:\n{list}\nVREAD_FORGED_SEED=N VREAD_KERNELS={kernel} runs one of them again"
    ))
}

/// What a worker left behind.
struct Said {
    /// The seed after the last one that was begun.
    next: u64,
    failures: Vec<String>,
    figures: Vec<String>,
}

/// Runs a worker to its end, whatever that is.
fn work_on(work: &Work, dir: &Path) -> Said {
    File::create(&work.report).expect("a report");
    let program = std::env::current_exe().expect("our own path");
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| {
        let path = dir.join(name);
        // Appended to, since the worker empties it now and then.
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .expect("a file for its output")
    });
    let mut command = Command::new(program);
    work.set_env(&mut command);
    let status = command
        // Where it writes its files.
        .current_dir(dir)
        // What a step frees is kept for the next: half of the time would go into pages that the kernel has
        // to clear again.
        .env("MALLOC_TRIM_THRESHOLD_", RETAINED)
        .env("MALLOC_MMAP_THRESHOLD_", RETAINED)
        .stdout(stdout)
        .stderr(stderr)
        .status()
        .expect("a worker");
    let report = BufReader::new(File::open(&work.report).expect("the report"));
    let mut said = Said {
        next: work.seeds.start,
        failures: Vec::new(),
        figures: Vec::new(),
    };
    let mut ended = false;
    for line in report.lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("begin", seed)) => said.next = seed.parse::<u64>().expect("a seed") + 1,
            Some(("fail", what)) => said.failures.push(what.to_owned()),
            Some(("figure", what)) => said.figures.push(what.to_owned()),
            _ => ended |= line == "end",
        }
    }
    if !ended {
        let last = fs::read_to_string(dir.join("stderr")).unwrap_or_default();
        let tail = last.lines().rev().take(12).collect::<Vec<_>>();
        let tail: Vec<_> = tail
            .into_iter()
            .rev()
            .map(|line| line.escape_debug().to_string())
            .collect();
        let seed = said.next.saturating_sub(1);
        said.failures.push(format!(
            "seed {seed}: the worker ended with {status}: {}",
            tail.join("\n  ")
        ));
        // One that did not get as far as its first seed would not the next time.
        said.next = said.next.max(work.seeds.start + 1);
    }
    said
}
