//! `cargo xtask bench`: every figure beside a rival or a limit, in one run.

use anyhow::{Context as _, ensure};
use std::process::Command;
use vread_guests::ensure_packages;

use crate::{cargo, workspace};

const PACKAGES: [&str; 2] = ["fuse3", "qemu-system-x86"];

/// Package and bench: the whole way first, then each hot copy alone.
const BENCHES: [(&str, &str); 8] = [
    ("vread", "guest"),
    ("vread", "kernel"),
    VMLINUX,
    ("vread-kcore-fuse", "sequential"),
    ("vread-linux", "guest"),
    ("vread-physmem", "read"),
    ("vread-nofault", "copy"),
    ("vread-vmalloc", "vread_iter"),
];

/// What the read path is measured by, as ratios: the arena and `vread_iter`, then the nofault copy and its
/// fault-in.
const READ_PATH: [(&str, &str); 2] = [("vread-vmalloc", "read_path"), ("vread-nofault", "copy")];

/// What attaching, decoding and listing are measured by: against limits, and against drgn.
const KERNEL: [(&str, &str); 1] = [("vread", "kernel")];

/// The recovered file: what it takes to write it, and what it is to a debugger.
const VMLINUX: (&str, &str) = ("vread", "vmlinux");

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Part {
    /// The crates of the read path alone, without guests
    ReadPath,
    /// Attaching to each kernel, symbols, types and tasks
    Kernel,
    /// `vread vmlinux`, and the debuggers that start from its file; fetches debug packages of 300 MB each
    Vmlinux,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only a part of the benches
    #[arg(value_enum, conflicts_with = "package")]
    part: Option<Part>,
    /// Only the bench of this package, such as vread or vread-nofault
    #[arg(long)]
    package: Option<String>,
    /// Words for the bench itself, such as vmalloc for the one of package vread
    #[arg(last = true)]
    words: Vec<String>,
}

/// Runs the benches one after another.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let benches: &[_] = match arguments.part {
        None => &BENCHES,
        Some(Part::ReadPath) => &READ_PATH,
        Some(Part::Kernel) => &KERNEL,
        Some(Part::Vmlinux) => &[VMLINUX],
    };
    if !matches!(arguments.part, Some(Part::ReadPath)) {
        ensure_packages(&PACKAGES)?;
    }
    let chosen = benches.iter().filter(|(package, _)| {
        arguments
            .package
            .as_deref()
            .is_none_or(|only| only == *package)
    });
    let mut ran = false;
    for (package, bench) in chosen {
        println!("\n== {package}: {bench}");
        let status = Command::new(cargo::ours())
            .current_dir(workspace::root())
            .args([
                "bench",
                "--quiet",
                "--package",
                package,
                "--bench",
                bench,
                "--",
            ])
            .args(&arguments.words)
            .status()
            .context("cargo cannot be started")?;
        ensure!(
            status.success(),
            "cargo bench of {package} ended with {status}"
        );
        ran = true;
    }
    ensure!(
        ran,
        "no such package; one of {:?}",
        BENCHES.map(|(package, _)| package)
    );
    Ok(())
}
