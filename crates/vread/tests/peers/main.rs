//! What vread recovers of a kernel against the distribution's own debug file, and the debuggers that
//! start from it: crash, drgn and Volatility.
//!
//! The debug file of 6.1 is fetched by default, those of other kernels only where the environment
//! names them: each is some 300 MB.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test on a guest of our own making fails loudly"
)]

mod crash;
#[path = "../vmlinux/crash_session.rs"]
mod crash_session;
#[path = "../guest/mounted.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests without debug files, which use more of it"
)]
mod mounted;
#[path = "../guest/program.rs"]
#[allow(
    dead_code,
    reason = "shared with the tests without debug files, which use more of it"
)]
mod program;
mod registers;
mod truth;
mod volatility;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease, SharedGuest};

type SharedTest = fn(&Guest);

const TESTS: [(&str, SharedTest); 3] = [
    (
        "types_and_symbols_equal_the_real_debug_file",
        truth::types_and_symbols_equal_the_real_debug_file,
    ),
    (
        "notes_have_the_registers_of_each_cpu",
        registers::notes_have_the_registers_of_each_cpu,
    ),
    (
        "crash_says_the_same_with_the_recovered_and_the_real_file",
        crash::says_the_same_with_the_recovered_and_the_real_file,
    ),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One guest at a time: this machine may have two processors.
    arguments.test_threads = Some(1);
    let chosen = std::env::var_os(KernelRelease::CHOICE).is_some();
    let releases = match chosen {
        true => KernelRelease::under_test(),
        false => vec![KernelRelease::V6_1],
    };
    let mut trials = Vec::new();
    for release in releases {
        let guest = SharedGuest::new(GuestConfig::new(release).backend(Backend::File));
        for (name, test) in TESTS {
            let guest = guest.clone();
            trials.push(Trial::test(format!("{release}::{name}"), move || {
                test(guest.get());
                Ok(())
            }));
        }
        trials.push(Trial::test(
            format!("{release}::volatility_lists_processes_and_modules"),
            move || {
                volatility::lists_processes_and_modules(release);
                Ok(())
            },
        ));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
