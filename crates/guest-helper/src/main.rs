//! `/init` of a test guest: prepares the guest, then answers requests until it is told to stop.
//!
//! What it can be asked is in the library of this package, [`vread_guest_helper::protocol`].
#![deny(unsafe_code)]
#![allow(
    clippy::expect_used,
    reason = "a guest whose first program cannot go on must stop with a message on its console"
)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "runs in test guests only, never on data of a foreign kernel"
)]

mod answer;
mod bpf;
mod file;
mod prepare;
mod secret;
mod sleepers;
mod storm;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(sleepers::ROLE) {
        sleepers::sleep();
    }
    if std::process::id() != 1 {
        eprintln!("this is the first program of a test guest, started by its kernel");
        return ExitCode::FAILURE;
    }
    let hello = prepare::guest();
    let wire = wire::open().expect("the wire to the host cannot be opened");
    eprintln!("vread-guest-helper: ready");
    if let Err(error) = answer::until_told_to_stop(wire, hello) {
        eprintln!("vread-guest-helper: the wire failed: {error}");
    }
    prepare::power_off()
}
