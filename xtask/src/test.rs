//! `cargo xtask test`: everything that must pass, in the order that fails fastest.

use std::time::Instant;

use anyhow::Context as _;
use vread_guests::{KernelRelease, ensure_packages};

use crate::ahead::{self, Ahead};
use crate::cargo::Cargo;
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
    let cargo = |words: &[&str]| {
        let cargo = Cargo::new(words);
        match &arguments.kernels {
            Some(kernels) => cargo.variable(KernelRelease::CHOICE, kernels),
            None => cargo,
        }
    };
    step("packages", || Ok(ensure_packages(&PACKAGES)?))?;
    step("format", || cargo(&["fmt", "--all", "--check"]).run())?;
    step("lints", || {
        let all = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        cargo(&all).run()
    })?;
    step("tidy", tidy::run)?;

    let forging = cargo(&["test", "--profile", "forging", "--package", "vread-forging"]);
    let loom = cargo(&["test", "--release", "--target-dir"])
        .words(&[&target_directory("loom")?])
        .words(&["--package", "vread-vmalloc", "--test", "loom"])
        .variable("RUSTFLAGS", "--cfg loom")
        .variable("CARGO_PROFILE_RELEASE_LTO", "off");
    // The 60 s are split between two readers and three writers at once.
    let sanitizer = cargo(&["test", "--target", TARGET, "--target-dir"])
        .nightly()
        .words(&[&target_directory("sanitizer")?])
        .words(&["--package", "vread-vmalloc", "--test", "arena_threads"])
        .for_tests(&["--nocapture"])
        .variable("RUSTFLAGS", "-Zsanitizer=address")
        .variable("VREAD_STRESS_SECONDS", STRESS_SECONDS);

    let mut ahead: Vec<ahead::Make> = Vec::new();
    for test in [&forging, &loom, &sanitizer] {
        let compile = test.clone().compile();
        ahead.push(Box::new(move || Ok(compile.command())));
    }
    ahead.push(Box::new(fuzz::compile));
    let ahead = Ahead::start(ahead);
    step("tests", || {
        cargo(&["test", "--workspace", "--exclude", "vread-forging"]).run()
    })?;
    ahead.wait();

    step("forged images", || forging.run())?;
    step("embedding without std", || {
        let built = target_directory("embed-check")?;
        let manifest = ["--manifest-path", "embed-check/Cargo.toml"];
        cargo(&["fmt", "--all", "--check"]).words(&manifest).run()?;
        cargo(&["build", "--quiet", "--target-dir", &built])
            .words(&manifest)
            .run()
    })?;
    step("tests with faults on purpose", || {
        cargo(&["test", "--package", "vread-nofault"])
            .words(&["--features", "fail-usercopy", "--test", "fail_usercopy"])
            .run()
    })?;
    step("every order of reading and freeing", || loom.run())?;
    step("readers and writers under a sanitizer", || sanitizer.run())?;
    step("fuzz", || {
        cargo(&["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]).run()?;
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
