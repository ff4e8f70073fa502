//! The guests themselves: what later tests rely on must be so.
//!
//! One guest of each kernel under test is booted and shared by the tests of that kernel, which run
//! one after the other. Ground truth is the guest's kernel.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test on a guest of our own making fails loudly"
)]

mod alone;
mod shared;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use vread_guests::{Backend, GuestConfig, KernelRelease, SharedGuest};

/// First argument of a process of this program that boots a guest and waits to be killed.
const VICTIM: &str = "--boot-and-wait";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).map(String::as_str) == Some(VICTIM) {
        alone::boot_and_wait();
    }
    let mut arguments = Arguments::from_args();
    // At most the guests of one test at a time: this machine may have two processors.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    for release in KernelRelease::under_test() {
        let guest = SharedGuest::new(GuestConfig::new(release).backend(Backend::File));
        for (name, test) in shared::TESTS {
            let guest = guest.clone();
            trials.push(Trial::test(format!("{release}::{name}"), move || {
                test(guest.get());
                Ok(())
            }));
        }
    }
    for (name, test) in alone::TESTS {
        trials.push(Trial::test(name, move || {
            test();
            Ok(())
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
