//! A machine with as much memory as fits into 40 bits of address, nearly all of it never touched.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use serde_json::json;
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease, QmpClient, ensure_packages};

use crate::program::{succeed, target};
use crate::stand_in::StandIn;

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

/// What a machine cannot have here, since QEMU's translator ends at 40 bits: memory of this size, which
/// with the hole below 4 GiB ends above them.
const WHOLE_BYTES: u64 = 1 << 40;

/// The most processor time that looking may take, in seconds: far from what it takes, and far from what it
/// would take to read all.
const CPU_SECONDS: u32 = 30;

/// Attaching and `info` take no more memory of ours on a huge machine, mapped and through QEMU, and the
/// memory file does not grow. The time is told.
///
/// Then the machine's memory is made 1 TiB, the guest stopped in it, and served by a stand-in for QEMU; its
/// kernel is found by the vCPU and, with that withheld, by a scan. Last, 1 TiB without a kernel is scanned
/// to its end.
pub(crate) fn info_on_a_huge_machine(release: KernelRelease) {
    ensure_packages(&["util-linux"]).unwrap();
    let config = GuestConfig::new(release)
        .memory_mib(MEMORY_MIB)
        .cpu_model(CPU)
        .kernel_args([USED])
        .backend(Backend::File);
    let guest = Guest::boot(&config).unwrap();
    let by_processor = "the page table of a vCPU";
    for access in ["mapped", "vm-readv"] {
        look(&target(&guest), access, 1019 << 30, by_processor);
    }
    // The limit is one that bites.
    let starved = info(&target(&guest), "mapped", 2 << 20).output().unwrap();
    assert!(!starved.status.success(), "{starved:?}");

    let mut qmp = QmpClient::connect(guest.qmp_path()).unwrap();
    qmp.execute("stop", json!({})).unwrap();
    let registers = qmp.human("info registers").unwrap();
    let memory = guest.memory_file().unwrap();
    let grown = File::options().write(true).open(memory).unwrap();
    grown.set_len(WHOLE_BYTES).unwrap();
    let blocks = || fs::metadata(memory).unwrap().blocks();
    let before = blocks();
    for (registers, found_by) in [
        (Some(registers), by_processor),
        (None, "a scan of low memory"),
    ] {
        let stand_in = StandIn::serve(memory, registers);
        for access in ["mapped", "vm-readv"] {
            look(&stand_in.word(), access, WHOLE_BYTES, found_by);
        }
    }
    assert_eq!(blocks(), before, "512 bytes each: looking made memory");

    // Where guests have their memory: not every file system tells of holes as quickly as the others.
    let blank = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    blank.as_file().set_len(WHOLE_BYTES).unwrap();
    let stand_in = StandIn::serve(blank.path(), None);
    for access in ["mapped", "vm-readv"] {
        let output = info(&stand_in.word(), access, OUR_BYTES).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.contains("no Linux kernel found"), "{words}");
        println!(
            "{access}: {} GiB of nothing, {}",
            WHOLE_BYTES >> 30,
            time(&words)
        );
    }
}

/// Attaches to a machine with at least `least` bytes of memory within the limits.
fn look(target: &str, access: &str, least: u64, found_by: &str) {
    let output = succeed(&mut info(target, access, OUR_BYTES));
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ram = info["ram"].as_array().unwrap().iter();
    let ram: u64 = ram.map(|range| range["len"].as_u64().unwrap()).sum();
    assert!(ram >= least, "{ram:#x}");
    assert_eq!(info["kernel"]["found_by"], found_by);
    let words = String::from_utf8_lossy(&output.stderr);
    println!(
        "{access}: {} GiB, by {found_by}, {}",
        ram >> 30,
        time(&words)
    );
}

/// `vread info` within `limit` bytes; the last line that it says on standard error is how long it took.
fn info(target: &str, access: &str, limit: u64) -> Command {
    let mut command = Command::new("bash");
    command
        .env(
            "TIMEFORMAT",
            "%R s, %U s of processor time and %S s of the kernel's",
        )
        .arg("-c")
        .arg(format!(
            "time prlimit --cpu={CPU_SECONDS} --data={limit} \"$@\""
        ))
        .arg("bash")
        .arg(env!("CARGO_BIN_EXE_vread"))
        .args(["info", "--json", "--access", access, target]);
    command
}

fn time(stderr: &str) -> &str {
    stderr.lines().last().unwrap_or_default()
}
