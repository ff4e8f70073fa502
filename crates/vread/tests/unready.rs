//! Guests whose kernel has not said, or no longer says, all about itself. One guest at a time.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test on a guest of our own making fails loudly"
)]

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    process::{Command, Output},
    sync::{Mutex, MutexGuard},
};

use serde_json::Value;
use vread_guests::{Backend, FileRange, Guest, GuestConfig, KernelRelease};

/// Held by the test whose guest runs.
static ONE_GUEST: Mutex<()> = Mutex::new(());

fn my_turn() -> MutexGuard<'static, ()> {
    ONE_GUEST
        .lock()
        .unwrap_or_else(|poison| poison.into_inner())
}

fn vread(guest: &Guest, command: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vread"))
        .env_remove("RUST_LOG")
        .arg(command)
        .arg(format!("qemu:{}", guest.qmp_path().display()))
        .args(arguments)
        .output()
        .unwrap()
}

/// What it said on standard error, which is one line, when it failed.
#[track_caller]
fn refusal(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(output.stdout.is_empty());
    stderr
}

fn info(guest: &Guest) -> (Option<i32>, Value) {
    let output = vread(guest, "info", &["--json"]);
    let info = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), info)
}

/// The first word of each entry of `missing`.
fn missing(info: &Value) -> Vec<&str> {
    let entries = info["missing"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["what"].as_str().unwrap())
        .collect()
}

fn number(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

/// Writes to the guest's memory at `addr` of its image, past its back.
fn overwrite(guest: &Guest, info: &Value, addr: u64, bytes: &[u8]) {
    let segments = info["segments"].as_array().unwrap();
    let text = segments
        .iter()
        .find(|segment| segment["kind"] == "text")
        .unwrap();
    let (start, phys) = (&text["start"], &text["phys"]);
    // The memory file of a machine this small is its physical memory.
    let offset = addr - number(start.as_str().unwrap()) + number(phys.as_str().unwrap());
    let memory = File::options()
        .write(true)
        .open(guest.memory_file().unwrap())
        .unwrap();
    memory.write_all_at(bytes, offset).unwrap();
}

/// An address that VMCOREINFO names, by the notes of the guest's own kcore.
fn vmcoreinfo_symbol(guest: &Guest, name: &str) -> u64 {
    let notes = FileRange {
        offset: 0,
        len: 1 << 14,
    };
    let head = guest.read_at("/proc/kcore", notes).unwrap();
    let head = String::from_utf8_lossy(&head);
    let key = format!("\nSYMBOL({name})=");
    let (_, behind) = head.split_once(&key).expect("the kernel exports it");
    number(behind.lines().next().unwrap())
}

#[test]
fn a_kernel_without_vmcoreinfo_is_still_booting() {
    let _turn = my_turn();
    let config = GuestConfig::new(KernelRelease::V6_1)
        .kernel_args(["initcall_blacklist=crash_save_vmcoreinfo_init"]);
    let guest = Guest::boot(&config).unwrap();
    let words = refusal(&vread(&guest, "info", &[]));
    assert!(words.contains("Linux version 6.1."), "{words}");
    assert!(words.contains("still booting"), "{words}");
    assert!(words.contains("try again"), "{words}");
}

#[test]
fn a_kernel_without_types_still_has_symbols() {
    let _turn = my_turn();
    let config = GuestConfig::new(KernelRelease::V6_12).backend(Backend::File);
    let guest = Guest::boot(&config).unwrap();
    let (code, whole) = info(&guest);
    assert_eq!((code, missing(&whole)), (Some(0), vec![]));
    let symbols = vread(&guest, "symbols", &["__start_BTF"]);
    let line = String::from_utf8(symbols.stdout).unwrap();
    let btf = number(line.split(' ').next().unwrap());
    overwrite(&guest, &whole, btf, &[0; 24]);

    let (code, torn) = info(&guest);
    assert_eq!(code, Some(1));
    assert!(missing(&torn).contains(&"types"), "{torn}");
    assert_eq!(torn["kernel"]["release"], whole["kernel"]["release"]);
    let symbols = vread(&guest, "symbols", &["linux_banner"]);
    assert_eq!(symbols.status.code(), Some(0), "{symbols:?}");
    let words = refusal(&vread(&guest, "vmallocinfo", &[]));
    assert!(words.contains("BTF"), "{words}");
}

#[test]
fn a_kernel_without_symbols_is_known_by_its_vmcoreinfo() {
    let _turn = my_turn();
    let config = GuestConfig::new(KernelRelease::V6_12).backend(Backend::File);
    let guest = Guest::boot(&config).unwrap();
    let (_, whole) = info(&guest);
    let tokens = vmcoreinfo_symbol(&guest, "kallsyms_token_index");
    overwrite(&guest, &whole, tokens, &[0xff; 512]);

    let (code, torn) = info(&guest);
    assert_eq!(code, Some(1));
    assert!(missing(&torn).contains(&"symbols"), "{torn}");
    assert_eq!(torn["kernel"]["release"], whole["kernel"]["release"]);
    for command in ["symbols", "vmallocinfo"] {
        let words = refusal(&vread(&guest, command, &[]));
        assert!(words.contains("symbol"), "{words}");
    }
    let words = refusal(&vread(&guest, "read", &["linux_banner", "16"]));
    assert!(words.contains("symbol"), "{words}");
}
