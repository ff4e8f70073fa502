//! `cargo xtask test`: everything that must pass, in the order that fails fastest.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use vread_guests::{KernelRelease, ensure_packages};

use crate::{fuzz, tidy, workspace};

/// Debian packages that tests need: the guests and the peers that vread is compared with.
const PACKAGES: [&str; 8] = [
    "busybox-static",
    "elfutils",
    "fuse3",
    "g++",
    "gdb",
    "makedumpfile",
    "qemu-system-x86",
    "xz-utils",
];

/// How long each fuzz target runs: a look at every change; the long runs are by hand.
const FUZZ_SECONDS: u32 = 30;

/// How long threads read, allocate and free under the address sanitizer.
const STRESS_SECONDS: &str = "60";

/// Sanitizers want it named, so that build scripts go without.
const TARGET: &str = "x86_64-unknown-linux-gnu";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Boot these kernels only: a list such as 6.1,6.12; all four if not given
    #[arg(long, env = KernelRelease::CHOICE)]
    kernels: Option<String>,
}

/// Runs all steps; the first that fails ends it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let started = Instant::now();
    step("packages", || Ok(ensure_packages(&PACKAGES)?))?;
    step("format", || cargo(arguments, &["fmt", "--all", "--check"]))?;
    step("lints", || {
        let all = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        cargo(arguments, &all)
    })?;
    step("tidy", tidy::run)?;
    step("tests", || {
        let all = ["test", "--workspace", "--exclude", "vread-forging"];
        cargo(arguments, &all)
    })?;
    step("forged images", || {
        let test = ["test", "--profile", "forging"];
        cargo(
            arguments,
            &[&test[..], &["--package", "vread-forging"]].concat(),
        )
    })?;
    step("embedding without std", || {
        let built = workspace::metadata(workspace::root())?
            .target_directory
            .join("embed-check");
        let manifest = ["--manifest-path", "embed-check/Cargo.toml"];
        cargo(
            arguments,
            &[&["fmt", "--all", "--check"], &manifest[..]].concat(),
        )?;
        let build = ["build", "--quiet", "--target-dir", built.as_str()];
        cargo(arguments, &[&build[..], &manifest].concat())
    })?;
    step("tests with faults on purpose", || {
        let faults = ["--features", "fail-usercopy", "--test", "fail_usercopy"];
        let package = ["test", "--package", "vread-nofault"];
        cargo(arguments, &[&package[..], &faults].concat())
    })?;
    step("every order of reading and freeing", || {
        let built = target_directory("loom")?;
        let loom = ["--package", "vread-vmalloc", "--test", "loom"];
        let build = ["test", "--release", "--target-dir", &built];
        cargo_with(
            arguments,
            &[&build[..], &loom].concat(),
            &[
                ("RUSTFLAGS", "--cfg loom"),
                ("CARGO_PROFILE_RELEASE_LTO", "off"),
            ],
        )
    })?;
    step("readers and writers under a sanitizer", || {
        // The 60 s are split between two readers and three writers at once.
        let built = target_directory("sanitizer")?;
        let stress = ["--package", "vread-vmalloc", "--test", "arena_threads"];
        let build = [
            "+nightly",
            "test",
            "--target",
            TARGET,
            "--target-dir",
            &built,
        ];
        cargo_with(
            arguments,
            &[&build[..], &stress, &["--", "--nocapture"]].concat(),
            &[
                ("RUSTFLAGS", "-Zsanitizer=address"),
                ("VREAD_STRESS_SECONDS", STRESS_SECONDS),
            ],
        )
    })?;
    step("fuzz", || {
        let manifest = ["--manifest-path", "fuzz/Cargo.toml"];
        cargo(arguments, &[&["fmt", "--check"], &manifest[..]].concat())?;
        fuzz::run(&fuzz::Arguments::every_target(FUZZ_SECONDS))
    })?;
    println!("== all passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn step(name: &str, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("== {name}");
    let started = Instant::now();
    run().with_context(|| format!("step {name} failed"))?;
    println!(
        "== {name}: passed in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A folder for what is built in a special way.
fn target_directory(name: &str) -> anyhow::Result<String> {
    let metadata = workspace::metadata(workspace::root())?;
    Ok(metadata.target_directory.join(name).into_string())
}

fn cargo(arguments: &Arguments, words: &[&str]) -> anyhow::Result<()> {
    cargo_with(arguments, words, &[])
}

/// Runs cargo, or with `+TOOLCHAIN` as the first word that of another toolchain.
fn cargo_with(
    arguments: &Arguments,
    words: &[&str],
    variables: &[(&str, &str)],
) -> anyhow::Result<()> {
    let toolchain = words.first().and_then(|word| word.strip_prefix('+'));
    let mut command = match toolchain {
        // That of the compiler which runs us would win otherwise.
        Some(toolchain) => {
            let mut rustup = Command::new("rustup");
            rustup.args(["run", toolchain, "cargo"]).env_remove("CARGO");
            rustup.env_remove("RUSTUP_TOOLCHAIN");
            rustup
        }
        None => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
    };
    let words = match toolchain {
        Some(_) => words.get(1..).unwrap_or_default(),
        None => words,
    };
    command.current_dir(workspace::root()).args(words);
    command.envs(variables.iter().copied());
    if let Some(kernels) = &arguments.kernels {
        command.env(KernelRelease::CHOICE, kernels);
    }
    let status = command.status().context("cargo cannot be started")?;
    ensure!(
        status.success(),
        "cargo {} ended with {status}",
        words.join(" ")
    );
    Ok(())
}
