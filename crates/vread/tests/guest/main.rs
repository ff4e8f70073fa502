//! vread against real kernels: what it says from outside must be what the guest's kernel says from
//! inside, and the debuggers must find their way in what it mounts.
//!
//! Everything goes through the `vread` program and its mounted files, as a user would. The ground
//! truth is the guest's own kernel, or a peer's view of the mounted file.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test on a guest of our own making fails loudly"
)]

mod by_address;
mod device_windows;
mod end_of_guest;
mod huge;
mod image;
mod kernels_table;
mod listings;
mod mounted;
mod network;
mod own_files;
mod peers;
mod processes;
mod program;
mod ranges;
mod restart;
mod sparse;
mod stand_in;
mod typed;
mod variants;
mod vmalloc_content;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease, SharedGuest};

/// A test on a guest that others use too: it must leave the guest as it was.
type SharedTest = fn(&Guest);
/// A test that boots guests of its own.
type OwnTest = fn(KernelRelease);

const SHARED: [(&str, SharedTest); 24] = [
    (
        "headers_equal_the_guests_own_kcore",
        image::headers_equal_the_guests_own_kcore,
    ),
    (
        "notes_equal_but_for_the_reading_task",
        image::notes_equal_but_for_the_reading_task,
    ),
    (
        "bytes_equal_the_guests_own_kcore",
        image::bytes_equal_the_guests_own_kcore,
    ),
    (
        "ends_at_the_size_of_the_guests_own_kcore",
        image::ends_at_the_size_of_the_guests_own_kcore,
    ),
    ("symbols_equal_kallsyms", listings::symbols_equal_kallsyms),
    (
        "vmallocinfo_equals_the_guests_own",
        listings::vmallocinfo_equals_the_guests_own,
    ),
    (
        "listing_version_and_cmdline",
        own_files::listing_version_and_cmdline,
    ),
    ("listing_iomem", own_files::listing_iomem),
    ("listing_lsmod", own_files::listing_lsmod),
    ("listing_dmesg", own_files::listing_dmesg),
    ("listing_mounts", network::listing_mounts),
    ("listing_net", network::listing_net),
    ("listing_typed_values", typed::listing_typed_values),
    ("listing_typed_refusals", typed::listing_typed_refusals),
    ("listing_mounted_files", own_files::listing_mounted_files),
    (
        "listing_vmallocinfo_totals",
        own_files::listing_vmallocinfo_totals,
    ),
    ("listing_under_pause", own_files::listing_under_pause),
    (
        "info_says_what_the_guest_says",
        listings::info_says_what_the_guest_says,
    ),
    (
        "gdb_sees_jiffies_move_and_a_string_in_vmalloc_memory",
        peers::gdb,
    ),
    ("drgn_reads_and_sees_jiffies_move", peers::drgn),
    ("eu_readelf_lists_headers_and_notes", peers::eu_readelf),
    (
        "makedumpfile_makes_a_dump_that_drgn_reads",
        peers::makedumpfile,
    ),
    ("dd_crosses_the_end_of_a_segment", peers::dd),
    (
        "read_command_prints_the_banner",
        listings::read_command_prints_the_banner,
    ),
];

const OWN: [(&str, OwnTest); 11] = [
    ("listing_ps", processes::ps_on_a_guest_of_its_own),
    ("vmalloc_content_mapped", vmalloc_content::mapped),
    (
        "vmalloc_content_through_the_vmm",
        vmalloc_content::through_the_vmm,
    ),
    ("vmalloc_content_above_4_gib", vmalloc_content::above_4_gib),
    (
        "a_full_scan_populates_nothing",
        sparse::a_full_scan_populates_nothing,
    ),
    (
        "two_readers_survive_the_end_of_the_guest",
        end_of_guest::two_readers,
    ),
    (
        "no_device_is_ever_read",
        device_windows::no_device_is_ever_read,
    ),
    (
        "what_works_is_what_the_table_says",
        kernels_table::what_works_is_what_the_table_says,
    ),
    ("info_on_a_huge_machine", huge::info_on_a_huge_machine),
    (
        "readers_of_a_guest_that_restarts_are_told",
        restart::readers_are_told,
    ),
    ("a_firmware_is_no_kernel", restart::a_firmware_is_no_kernel),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One guest at a time: this machine may have two processors.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    trials.push(Trial::test("variants_cover_every_pair", || {
        variants::cover_every_pair();
        Ok(())
    }));
    for release in KernelRelease::under_test() {
        let guest = SharedGuest::new(
            GuestConfig::new(release)
                .backend(Backend::File)
                // A module that uses others.
                .module("nf_nat"),
        );
        for (name, test) in SHARED {
            let guest = guest.clone();
            trials.push(Trial::test(format!("{release}::{name}"), move || {
                test(guest.get());
                Ok(())
            }));
        }
        for (name, test) in OWN {
            trials.push(Trial::test(format!("{release}::{name}"), move || {
                test(release);
                Ok(())
            }));
        }
        let of_release = variants::all().into_iter();
        for variant in of_release.filter(|variant| variant.release == release) {
            let name = format!("{release}::everything_is_equal_on_{}", variant.name());
            trials.push(Trial::test(name, move || {
                variant.everything_is_equal();
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
