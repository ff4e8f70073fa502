//! `cargo xtask fuzz`: the targets in `fuzz/`, each for a while, from the corpus that is kept there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, bail, ensure};

use crate::{cargo, workspace};

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

/// Runs the targets, as many at once as there are processors; a crash ends it and stays in `fuzz/artifacts`.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let all = targets(&folder())?;
    for target in &arguments.targets {
        ensure!(
            all.contains(target),
            "there is no fuzz target {target}; one of {}",
            all.join(", ")
        );
    }
    let chosen = match arguments.targets.is_empty() {
        true => &all,
        false => &arguments.targets,
    };
    let cargo_fuzz = CargoFuzz::find()?;
    for target in chosen {
        // Apart, so that what does not compile is no crash.
        let compiled = cargo_fuzz.command("build").arg(target).output();
        let compiled = compiled.context("cargo-fuzz cannot be started")?;
        if !compiled.status.success() {
            eprint!("{}", String::from_utf8_lossy(&compiled.stderr));
            bail!("fuzz target {target} does not compile");
        }
    }
    let next = Mutex::new(chosen.iter());
    let one_after_another = || -> anyhow::Result<()> {
        loop {
            let target = next.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(target) = target else {
                return Ok(());
            };
            run_target(&cargo_fuzz, target, arguments.seconds)?;
        }
    };
    thread::scope(|scope| {
        let at_once = thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..at_once)
            .map(|_| scope.spawn(one_after_another))
            .collect();
        let results = threads.into_iter().map(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|_| bail!("a thread panicked"))
        });
        // The first failure, when all have ended.
        results.fold(Ok(()), anyhow::Result::and)
    })
}

fn run_target(cargo_fuzz: &CargoFuzz, target: &str, seconds: u32) -> anyhow::Result<()> {
    let finds = tempfile::tempdir().context("a folder for what the fuzzer finds")?;
    let output = cargo_fuzz
        .command("run")
        .arg(target)
        // The first folder is where the fuzzer writes.
        .args([finds.path(), &folder().join("corpus").join(target)])
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={SECONDS_PER_INPUT}"))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .output()
        .context("cargo-fuzz cannot be started")?;
    // What it says on a good day is for those who tune it, all but the figures.
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprint!("{said}");
        bail!("fuzz target {target} failed; an input that crashed is in fuzz/artifacts/{target}");
    }
    let figures = said.lines().filter_map(|line| line.strip_prefix("stat::"));
    let figures: Vec<&str> = figures.collect();
    println!("\n== {target}: {seconds} s\n{}", figures.join("\n"));
    Ok(())
}

/// What compiles all targets.
pub(crate) fn compile() -> anyhow::Result<Command> {
    Ok(CargoFuzz::find()?.command("build"))
}

/// cargo-fuzz, and where it builds.
struct CargoFuzz {
    program: PathBuf,
    built: PathBuf,
}

impl CargoFuzz {
    /// Installs it when it is missing.
    fn find() -> anyhow::Result<Self> {
        let nightly = Command::new("rustup")
            .args(["run", "nightly", "rustc", "--version"])
            .output()
            .is_ok_and(|output| output.status.success());
        ensure!(
            nightly,
            "fuzzing needs the nightly compiler: rustup toolchain install nightly --profile minimal"
        );
        let built = workspace::metadata(workspace::root())?.target_directory;
        Ok(Self {
            program: installed()?,
            built: built.join("fuzz").into(),
        })
    }

    /// One of its commands, with the words that they share.
    fn command(&self, word: &str) -> Command {
        let mut command = Command::new("rustup");
        command
            .args(["run", "nightly"])
            .arg(&self.program)
            .args([word, "--fuzz-dir"])
            .arg(folder())
            .arg("--target-dir")
            .arg(&self.built)
            // That of the compiler which runs us.
            .env_remove("CARGO")
            .current_dir(workspace::root());
        command
    }
}

fn folder() -> PathBuf {
    workspace::root().join("fuzz")
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
fn installed() -> anyhow::Result<PathBuf> {
    let root = workspace::root().join(".cache");
    let program = root.join("bin/cargo-fuzz");
    if !program.exists() {
        println!("installing cargo-fuzz into .cache");
        let status = Command::new(cargo::ours())
            .args(["install", "--quiet", "--locked", "cargo-fuzz", "--root"])
            .arg(&root)
            .status()
            .context("cargo cannot be started")?;
        ensure!(status.success(), "cargo-fuzz could not be installed");
    }
    Ok(program)
}
