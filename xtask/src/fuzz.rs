//! `cargo xtask fuzz`: the targets in `fuzz/`, each for a while, from the corpus that is kept there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::workspace;

/// One input may take so many seconds; the targets bound their work, so that more is a defect.
const SECONDS_PER_INPUT: u32 = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only these targets, such as iov_iter_walk
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 30)]
    seconds: u32,
}

impl Arguments {
    /// Every target, for `seconds` each.
    pub(crate) fn every_target(seconds: u32) -> Self {
        Self {
            targets: Vec::new(),
            seconds,
        }
    }
}

/// Runs the targets one after another; a crash ends it and stays in `fuzz/artifacts`.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let fuzz = workspace::root().join("fuzz");
    let all = targets(&fuzz)?;
    for target in &arguments.targets {
        ensure!(
            all.contains(target),
            "there is no fuzz target {target}; one of {}",
            all.join(", ")
        );
    }
    let nightly = Command::new("rustup")
        .args(["run", "nightly", "rustc", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    ensure!(
        nightly,
        "fuzzing needs the nightly compiler: rustup toolchain install nightly --profile minimal"
    );
    let cargo_fuzz = cargo_fuzz()?;
    let built = workspace::metadata(workspace::root())?
        .target_directory
        .join("fuzz");
    let chosen = match arguments.targets.is_empty() {
        true => &all,
        false => &arguments.targets,
    };
    // cargo-fuzz, with the words that `build` and `run` share.
    let command = |word: &str, target: &str| {
        let mut command = Command::new("rustup");
        command
            .args(["run", "nightly"])
            .arg(&cargo_fuzz)
            .args([word, "--fuzz-dir"])
            .arg(&fuzz)
            .arg("--target-dir")
            .arg(built.as_std_path())
            .arg(target)
            // That of the compiler which runs us.
            .env_remove("CARGO")
            .current_dir(workspace::root());
        command
    };
    for target in chosen {
        println!("\n== {target}: {} s", arguments.seconds);
        let finds = tempfile::tempdir().context("a folder for what the fuzzer finds")?;
        // Apart, so that what does not compile is no crash.
        let compiled = command("build", target).output();
        let compiled = compiled.context("cargo-fuzz cannot be started")?;
        if !compiled.status.success() {
            eprint!("{}", String::from_utf8_lossy(&compiled.stderr));
            bail!("fuzz target {target} does not compile");
        }
        let output = command("run", target)
            // The first folder is where the fuzzer writes.
            .args([finds.path(), &fuzz.join("corpus").join(target)])
            .arg("--")
            .arg(format!("-max_total_time={}", arguments.seconds))
            .arg(format!("-timeout={SECONDS_PER_INPUT}"))
            .args(["-print_final_stats=1", "-verbosity=0"])
            .output()
            .context("cargo-fuzz cannot be started")?;
        // What it says on a good day is for those who tune it, all but the figures.
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            eprint!("{said}");
            bail!(
                "fuzz target {target} failed; an input that crashed is in fuzz/artifacts/{target}"
            );
        }
        for figure in said.lines().filter_map(|line| line.strip_prefix("stat::")) {
            println!("{figure}");
        }
    }
    Ok(())
}

/// The names of the targets: the files of `fuzz/fuzz_targets`, sorted.
fn targets(fuzz: &Path) -> anyhow::Result<Vec<String>> {
    let folder = fuzz.join("fuzz_targets");
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(
                path.file_stem()
                    .map(|name| name.to_string_lossy().into_owned()),
            );
        }
    }
    names.sort();
    Ok(names)
}

/// The program `cargo-fuzz`: ours in `.cache`, installed when it is missing.
fn cargo_fuzz() -> anyhow::Result<PathBuf> {
    let root = workspace::root().join(".cache");
    let program = root.join("bin/cargo-fuzz");
    if !program.exists() {
        println!("installing cargo-fuzz into .cache");
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["install", "--locked", "cargo-fuzz", "--root"])
            .arg(&root)
            .status()
            .context("cargo cannot be started")?;
        ensure!(status.success(), "cargo-fuzz could not be installed");
    }
    Ok(program)
}
