//! A machine with as much memory as fits into 40 bits of address, nearly all of it never touched.

use std::process::Command;
use std::time::Instant;

use vread_guests::{Backend, Guest, GuestConfig, KernelRelease, ensure_packages};

use crate::program::{succeed, target};

/// All that QEMU's translator can address, but for the hole below 4 GiB: 1,020 GiB. (A processor of its
/// default maker would have another hole at the top.)
const MEMORY_MIB: u32 = 1020 << 10;
const CPU: &str = "max,vendor=GenuineIntel";

/// What the kernel makes of it. Page descriptors for all would take 16 GiB.
const USED: &str = "mem=512M";

/// What vread may take for itself: private memory that it may write to, which is all but its program and
/// the guest's own pages.
/// 34 MiB of them are address space for tables of which little is ever written.
const OUR_BYTES: u64 = 64 << 20;

/// The symbols of 5.10 are searched for in a copy of the whole image.
const OUR_BYTES_SEARCHING: u64 = 128 << 20;

/// Attaching and `info` take no more memory of ours on a huge machine, mapped and through QEMU, and the
/// memory file does not grow. The time is told.
pub(crate) fn info_on_a_huge_machine(release: KernelRelease) {
    ensure_packages(&["util-linux"]).unwrap();
    let config = GuestConfig::new(release)
        .memory_mib(MEMORY_MIB)
        .cpu_model(CPU)
        .kernel_args([USED])
        .backend(Backend::File);
    let guest = Guest::boot(&config).unwrap();
    let our_bytes = match release {
        KernelRelease::V5_10 => OUR_BYTES_SEARCHING,
        _ => OUR_BYTES,
    };
    for access in ["mapped", "vm-readv"] {
        let begin = Instant::now();
        let output = succeed(&mut info(&guest, access, our_bytes));
        let took = begin.elapsed();
        let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let ram = info["ram"].as_array().unwrap().iter();
        let ram: u64 = ram.map(|range| range["len"].as_u64().unwrap()).sum();
        assert!(ram > 1019 << 30, "{ram:#x}");
        assert_eq!(info["kernel"]["found_by"], "the page table of a vCPU");
        println!(
            "{access}: {} GiB, attach and info took {took:.0?}",
            ram >> 30
        );
    }
    // The limit is one that bites.
    let starved = info(&guest, "mapped", 2 << 20).output().unwrap();
    assert!(!starved.status.success(), "{starved:?}");
}

fn info(guest: &Guest, access: &str, limit: u64) -> Command {
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--data={limit}"))
        .arg(env!("CARGO_BIN_EXE_vread"))
        .args(["info", "--json", "--access", access, &target(guest)]);
    command
}
