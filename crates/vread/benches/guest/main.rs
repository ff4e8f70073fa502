//! vread on a real guest, beside what else there is: each figure stands next to a named rival or limit,
//! measured in turns in the same run, with the ratio of the medians.
//!
//! Run with `cargo xtask bench`, which installs what it needs. (Neither divan nor criterion prints the
//! ratio of two medians taken in turns, which is all that is of interest here; hence the few lines in
//! `rounds.rs`.)
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
mod direct_map;
mod mapped_file;
mod mount;
mod qmp;
mod rounds;
mod vmalloc;
#[path = "../../../kcore-fuse/benches/sequential/zeros.rs"]
mod zeros;

use vread_guests::{Backend, Guest, GuestConfig, KernelRelease};
use vread_physmem::Access;
use vread_targets::{Target, TargetWord};

const MEMORY_MIB: u32 = 1024;
/// Vmalloc areas to read at random: as much as a TLB just about holds, and as much as no cache holds.
/// The second makes a good part of the guest's memory resident, too.
const MAP_BYTES: [u64; 2] = [16 << 20, 256 << 20];

fn main() {
    if mount::is_server_of_zeros() {
        return;
    }
    vread_nofault::install().unwrap();
    let config = GuestConfig::new(KernelRelease::V6_12)
        .memory_mib(MEMORY_MIB)
        .backend(Backend::File)
        .qmp_sockets(2)
        .qemu_args(["-device", "vmcoreinfo"]);
    let guest = Guest::boot(&config).unwrap();
    println!(
        "guest {}, {MEMORY_MIB} MiB in a shared file, 2 CPUs under TCG, idle",
        guest.hello().release
    );
    let own = vmalloc::Place::own_areas(&guest);
    let maps = MAP_BYTES.map(|bytes| guest.create_bpf_map(bytes, 1).unwrap());
    // `cargo bench` adds a flag of its own; all other words choose among the four.
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|word| word == name);
    if is_chosen("direct-map") {
        direct_map::bench(&guest);
    }
    if is_chosen("vmalloc") {
        vmalloc::bench(&guest, &own);
        for map in &maps {
            vmalloc::bench(&guest, &vmalloc::Place::one_area(&map.data));
        }
    }
    if is_chosen("mount") {
        mount::bench(&guest);
    }
    if is_chosen("attach") {
        attach::bench(&guest);
    }
}

/// The guest, opened by its first QMP socket.
fn open(guest: &Guest) -> Target {
    let word = TargetWord::QemuSocket(guest.qmp_path().to_owned());
    Target::open(word, Access::Mapped).unwrap()
}
