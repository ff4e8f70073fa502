//! Forged images: the memory of real guests, corrupted on purpose, and every command run against it.
//!
//! A guest boots and is stopped; its RAM is a file. What the commands read of it is found by watching them; then, for
//! each seed, some of that is overwritten ([`forge`]), every command runs, the mount's files are read, and
//! the image is put back. Whatever the image says, there must be
//!
//! - no panic,
//! - no more than 2 s of processor time for any one step, in the best of a few tries,
//! - no more than 256 MiB of memory,
//! - no output that a terminal would interpret.
//!
//! Usually 500 images, shared among the kernels under test. More, or one, or more from that one on:
//!
//! ```text
//! VREAD_FORGED_IMAGES=10000 VREAD_FORGED_FILES=4 cargo test --profile forging -p vread-forging -- --nocapture
//! VREAD_FORGED_SEED=1234 VREAD_KERNELS=6.12 cargo test --profile forging -p vread-forging
//! ```
//!
//! Two kernels at a time, each with a guest and a worker of its own; `--test-threads 1` leaves a processor to
//! others.
//!
//! With `VREAD_FORGED_FILES=4` the two slowest commands, `vmlinux` and `isf`, run on every fourth image only, and
//! all takes half of the time.
//!
//! The image of a seed depends on the guest's, and that differs from boot to boot: a seed that failed is
//! likely, but not certain, to fail again. What was forged stands beside each failure.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test on images of our own making fails loudly"
)]

mod clean;
mod figures;
mod forge;
mod image;
mod judge;
mod supervisor;
mod worker;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use peak_alloc::PeakAlloc;
use vread_guests::KernelRelease;

/// Counts what is allocated, and remembers the most.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// How many images there are, of all kernels together.
const IMAGES: u64 = 500;

fn main() -> ExitCode {
    if let Some(work) = worker::Work::from_env() {
        return work.run();
    }
    let mut arguments = Arguments::from_args();
    // Time is counted in that of the processor, so that two kernels do not disturb each other.
    arguments.test_threads.get_or_insert(2);
    let kernels = KernelRelease::under_test();
    let first = number("VREAD_FORGED_SEED");
    let images = number("VREAD_FORGED_IMAGES").unwrap_or(match first {
        Some(_) => 1,
        None => IMAGES,
    });
    let first = first.unwrap_or_default();
    let seeds = first..first + images.div_ceil(kernels.len() as u64);
    let trials = kernels.into_iter().map(|kernel| {
        let seeds = seeds.clone();
        Trial::test(format!("{kernel}::forged_images"), move || {
            supervisor::run(kernel, seeds).map_err(Into::into)
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}
