//! What is decoded from a guest's memory, against what the guest's own kernel says.
//!
//! One guest of each kernel under test is booted and shared by the tests of that kernel, which run
//! one after the other.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test on a guest of our own making fails loudly"
)]

mod alone;
mod memory;
mod says;
mod seen;
mod withheld;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use vread_guests::{Backend, GuestConfig, KernelRelease, SharedGuest};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // At most the guests of one test at a time: this machine may have two processors.
    arguments.test_threads = Some(1);
    vread_nofault::install().unwrap();
    let mut trials = Vec::new();
    for release in KernelRelease::under_test() {
        let guest = SharedGuest::new(GuestConfig::new(release).backend(Backend::File));
        for (name, test) in says::TESTS.into_iter().chain(memory::TESTS) {
            let guest = guest.clone();
            trials.push(Trial::test(format!("{release}::{name}"), move || {
                test(guest.get());
                Ok(())
            }));
        }
        for (name, test) in alone::TESTS.into_iter().chain(withheld::TESTS) {
            trials.push(Trial::test(format!("{release}::{name}"), move || {
                test(release);
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
