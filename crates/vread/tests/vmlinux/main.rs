//! The recovered vmlinux on live guests: the debuggers start from the mount alone, no debug package.
//!
//! The truth is what the guest's own kernel says at the same time, and what tools of others make of the
//! file.
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
mod crash_session;
mod drgn;
mod file;
mod gdb;
#[path = "../guest/mounted.rs"]
#[expect(dead_code, reason = "the tests of the images use more of it")]
mod mounted;
mod output;
#[path = "../guest/program.rs"]
#[expect(dead_code, reason = "the tests of the images use more of it")]
mod program;
mod running;

use std::collections::BTreeSet;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease, SharedGuest};

/// A test on a guest that others use too: it must leave the guest as it was.
type SharedTest = fn(&Guest);

const SHARED: [(&str, SharedTest); 9] = [
    ("gdb_debugs_the_live_kernel", gdb::debugs_the_live_kernel),
    ("drgn_runs_its_helpers", drgn::runs_its_helpers),
    (
        "drgn_of_any_age_says_what_the_kernel_says",
        drgn::of_any_age_says_what_the_kernel_says,
    ),
    (
        "drgn_unwinds_the_tasks_that_run",
        running::drgn_unwinds_the_tasks_that_run,
    ),
    (
        "crash_says_what_the_guest_says",
        crash::says_what_the_guest_says,
    ),
    (
        "elf_and_dwarf_tools_accept_the_file",
        file::elf_and_dwarf_tools_accept_the_file,
    ),
    (
        "every_symbol_lies_where_kallsyms_has_it",
        file::every_symbol_lies_where_kallsyms_has_it,
    ),
    (
        "without_types_there_are_symbols_and_text",
        file::without_types_there_are_symbols_and_text,
    ),
    (
        "a_full_disk_leaves_nothing_behind",
        output::a_full_disk_leaves_nothing_behind,
    ),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One guest at a time: this machine may have two processors.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    for release in KernelRelease::under_test() {
        let guest = GuestConfig::new(release)
            .cpus(2)
            .backend(Backend::File)
            .qmp_sockets(2);
        let guest = SharedGuest::new(guest);
        for (name, test) in SHARED {
            let guest = guest.clone();
            trials.push(Trial::test(format!("{release}::{name}"), move || {
                test(guest.get());
                Ok(())
            }));
        }
        if release == crash::NEWEST_OF_DEBIAN_12 {
            let name = format!("{release}::crash_of_debian_12_says_what_the_guest_says");
            trials.push(Trial::test(name, move || {
                crash::of_debian_12_says_what_the_guest_says(guest.get());
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The tasks that the guest's kernel lists; threads of one process are one.
fn processes(guest: &Guest) -> BTreeSet<u32> {
    let listed = guest.run(&["/bin/busybox", "ls", "/proc"]).unwrap();
    listed
        .stdout
        .split_whitespace()
        .filter_map(|name| name.parse().ok())
        .collect()
}
