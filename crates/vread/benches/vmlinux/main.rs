//! How long `vread vmlinux` takes and how much memory it needs; and how soon gdb, drgn and crash answer with its
//! file, beside the distribution's own debug file of the same kernel, in turns.
//!
//! Run with `cargo xtask bench vmlinux`, which installs what it needs. A word such as `7.2` chooses a kernel.
#![deny(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench fails loudly and computes with numbers of its own"
)]

#[path = "../guest/chosen.rs"]
mod chosen;
mod debuggers;
#[path = "../../tests/guest/mounted.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod mounted;
#[path = "../../tests/guest/program.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod program;
#[path = "../guest/rounds.rs"]
#[allow(dead_code, reason = "the bench of reads uses more of it")]
mod rounds;
mod writing;

use vread_guests::{Backend, Guest, GuestConfig, KernelRelease};

use crate::chosen::is_chosen;

/// The kernels whose debug file is fetched: each is 300 MB.
const WITH_DEBUG_FILE: [KernelRelease; 2] = [KernelRelease::V6_1, KernelRelease::V7_2];

fn main() {
    for release in KernelRelease::ALL {
        if !is_chosen(&release.to_string()) {
            continue;
        }
        let config = GuestConfig::new(release).backend(Backend::File);
        let guest = Guest::boot(&config).unwrap();
        println!(
            "guest {}, 512 MiB in a shared file, idle",
            guest.hello().release
        );
        let folder = tempfile::tempdir().unwrap();
        let recovered = folder.path().join("vmlinux");
        writing::bench(&guest, &recovered);
        if WITH_DEBUG_FILE.contains(&release) {
            debuggers::bench(&guest, &recovered);
        }
    }
}
