//! What a kernel's memory says about itself, and how quickly: each figure beside its limit or a rival, as
//! medians of one run.
//!
//! Run with `cargo xtask bench kernel`, which installs what it needs.
#![deny(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench fails loudly and computes with numbers of its own"
)]

mod attach;
#[path = "../guest/chosen.rs"]
mod chosen;
mod decode;
mod drgn;
#[path = "../guest/opened.rs"]
mod opened;
#[path = "../guest/rounds.rs"]
mod rounds;
mod tasks;

use std::time::Duration;

use vread_guests::{Backend, Guest, GuestConfig, KernelRelease};

use crate::chosen::is_chosen;

const MEMORY_MIB: u32 = 1024;
/// How often each thing is measured.
const ROUNDS: usize = 15;

fn main() {
    vread_nofault::install().unwrap();
    println!(
        "guests of {MEMORY_MIB} MiB in a shared file, mapped, 2 CPUs under TCG, idle; medians of {ROUNDS}"
    );
    for kernel in KernelRelease::under_test() {
        let is_newest = kernel == KernelRelease::V7_2;
        if !is_newest && !is_chosen("attach") {
            continue;
        }
        let config = GuestConfig::new(kernel)
            .memory_mib(MEMORY_MIB)
            .backend(Backend::File)
            // One for each who asks, and drgn finds a kernel by nothing but this device.
            .qmp_sockets(3)
            .qemu_args(["-device", "vmcoreinfo"]);
        let guest = Guest::boot(&config).unwrap();
        if is_chosen("attach") {
            attach::bench(&guest);
        }
        if is_newest && is_chosen("decode") {
            decode::bench(&guest);
        }
        if is_newest && is_chosen("tasks") {
            tasks::bench(&guest);
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// One line: what was measured, and how far below its limit it is.
fn print_limit(what: &str, time: Duration, limit: Duration) {
    let verdict = match time <= limit {
        true => "met",
        false => "MISSED",
    };
    println!(
        "  {what:<52} {:>8.2} ms   limit {:>3.0} ms, ratio {:.2}: {verdict}",
        ms(time),
        ms(limit),
        time.as_secs_f64() / limit.as_secs_f64()
    );
}
