//! `cargo xtask bench`: every figure beside a rival or a limit, in one run.

use anyhow::{Context as _, ensure};
use std::process::Command;
use vread_guests::ensure_packages;

use crate::workspace;

const PACKAGES: [&str; 2] = ["fuse3", "qemu-system-x86"];

/// Package and bench: the whole way first, then each hot copy alone.
const BENCHES: [(&str, &str); 6] = [
    ("vread", "guest"),
    ("vread-kcore-fuse", "sequential"),
    ("vread-linux", "guest"),
    ("vread-physmem", "read"),
    ("vread-nofault", "copy"),
    ("vread-vmalloc", "vread_iter"),
];

/// What the read path is measured by, as ratios: the arena and `vread_iter`, then the nofault copy and its
/// fault-in.
const READ_PATH: [(&str, &str); 2] = [("vread-vmalloc", "read_path"), ("vread-nofault", "copy")];

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Part {
    /// The crates of the read path alone, without guests
    ReadPath,
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
        None => {
            ensure_packages(&PACKAGES)?;
            &BENCHES
        }
        Some(Part::ReadPath) => &READ_PATH,
    };
    let chosen = benches.iter().filter(|(package, _)| {
        arguments
            .package
            .as_deref()
            .is_none_or(|only| only == *package)
    });
    let mut ran = false;
    for (package, bench) in chosen {
        println!("\n== {package}: {bench}");
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
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
