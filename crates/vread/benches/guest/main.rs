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
mod chosen;
mod direct_map;
mod mapped_file;
mod mount;
mod opened;
mod qmp;
mod rounds;
mod throughput;
mod vmalloc;
#[path = "../../../kcore-fuse/benches/sequential/zeros.rs"]
mod zeros;

use vread_guests::{Backend, Guest, GuestConfig, KernelRelease};

use crate::chosen::is_chosen;

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
