//! What QEMU says about a machine's memory, on machines of several shapes, against what they were
//! started with.

use std::fs;
use std::time::Duration;

use serde_json::json;
use vread_guests::{BareMachine, wait_until};
use vread_targets::{GuestRam, QemuGuest, Sharing, TargetError};

/// How long the firmware may take to set devices up.
const DEADLINE: Duration = Duration::from_secs(20);

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn total(ram: &[GuestRam]) -> u64 {
    ram.iter().map(|ram| ram.range.len().get()).sum()
}

/// The ranges in (start, end, backend).
fn shape(guest: &QemuGuest) -> Vec<(u64, u64, &str)> {
    guest
        .ram
        .iter()
        .map(|ram| {
            (
                ram.range.start().get(),
                ram.range.end().get(),
                ram.backend.as_str(),
            )
        })
        .collect()
}

#[test]
fn finds_all_memory_of_a_small_machine() {
    let machine = BareMachine::start(&["-S", "-m", "512", "-vga", "std"]).unwrap();
    let guest = QemuGuest::of_socket(&machine.socket()).unwrap();
    assert_eq!(guest.pid, machine.pid());
    assert_eq!(guest.status, "prelaunch");
    // All but 640 KiB to 1 MiB, which video memory and firmware cover.
    assert_eq!(
        shape(&guest),
        [(0, 640 << 10, "pc.ram"), (MIB, 512 * MIB, "pc.ram")]
    );
    assert!(guest.ram.iter().all(|ram| ram.sharing == Sharing::Private));
}

#[test]
fn splits_memory_around_the_pci_hole() {
    let machine =
        BareMachine::start(&["-S", "-machine", "q35", "-m", "5G", "-vga", "std"]).unwrap();
    let guest = QemuGuest::of_socket(&machine.socket()).unwrap();
    let shape = shape(&guest);
    assert_eq!(shape.len(), 3, "{shape:x?}");
    assert!(shape.iter().any(|(start, _, _)| *start == 4 * GIB));
    assert_eq!(total(&guest.ram), 5 * GIB - 384 * 1024);
    // Both halves are one block in QEMU's memory (the rule of host addresses).
    let (low, high) = (guest.ram.get(1).unwrap(), guest.ram.get(2).unwrap());
    assert_eq!(low.hva.checked_add(low.range.len()), Some(high.hva));
}

#[test]
fn joins_several_memory_blocks_and_leaves_device_memory_out() {
    let machine = BareMachine::start(&[
        "-machine",
        "q35",
        "-m",
        "5G,slots=4,maxmem=16G",
        "-object",
        "memory-backend-memfd,id=a,size=1G,share=on",
        "-object",
        "memory-backend-ram,id=b,size=4G",
        "-numa",
        "node,memdev=a",
        "-numa",
        "node,memdev=b",
        "-smp",
        "2",
        "-object",
        "memory-backend-ram,id=d0,size=512M",
        "-device",
        "pc-dimm,memdev=d0",
        "-object",
        "memory-backend-ram,id=v,size=1G",
        "-device",
        "virtio-mem-pci,memdev=v,requested-size=256M",
        "-vga",
        "std",
        "-object",
        "memory-backend-memfd,id=shmem,size=16M,share=on",
        "-device",
        "ivshmem-plain,memdev=shmem",
    ])
    .unwrap();
    // The firmware maps the shared-memory device and the video memory into the PCI hole: from then on
    // the flat view has them as `ram`.
    let mapped = wait_until("the firmware to map the PCI devices", DEADLINE, || {
        let arguments = json!({ "command-line": "info mtree -f" });
        let view = machine.ask("human-monitor-command", arguments).unwrap();
        let view = view.as_str().unwrap().to_owned();
        let has = |name: &str| {
            view.lines()
                .any(|line| line.contains(&format!(", ram): {name}")))
        };
        (has("shmem") && has("vga.vram")).then_some(view)
    })
    .unwrap();
    let guest = QemuGuest::of_socket(&machine.socket()).unwrap();
    let shape = shape(&guest);
    let of = |backend: &str| -> u64 {
        shape
            .iter()
            .filter(|(_, _, name)| *name == backend)
            .map(|(start, end, _)| end - start)
            .sum()
    };
    assert!(of("a") >= GIB - 384 * 1024 && of("a") <= GIB, "{mapped}");
    assert_eq!(of("b"), 4 * GIB);
    assert_eq!(of("d0"), 512 * MIB);
    assert_eq!(of("v"), GIB);
    assert_eq!(of("shmem"), 0, "{mapped}");
    assert!(
        shape
            .iter()
            .all(|(_, _, name)| ["a", "b", "d0", "v"].contains(name))
    );
    let sharing = |backend: &str| {
        guest
            .ram
            .iter()
            .find(|ram| ram.backend == backend)
            .unwrap()
            .sharing
    };
    assert_eq!(sharing("a"), Sharing::Shared);
    assert_eq!(sharing("b"), Sharing::Private);
}

#[test]
fn leaves_firmware_in_ram_out() {
    // These machines keep their firmware in memory of kind `ram`.
    for (kind, backend) in [("isapc", "pc.ram"), ("microvm", "microvm.ram")] {
        let machine = BareMachine::start(&["-S", "-machine", kind, "-m", "256"]).unwrap();
        let guest = QemuGuest::of_socket(&machine.socket()).unwrap();
        assert!(
            shape(&guest).iter().all(|(_, _, name)| *name == backend),
            "{kind}"
        );
        assert!(total(&guest.ram) <= 256 * MIB, "{kind}");
        assert!(total(&guest.ram) > 255 * MIB, "{kind}");
    }
}

#[test]
fn finds_the_socket_of_a_process() {
    // A relative path, by way of a character device, is the hard case.
    let machine = BareMachine::start(&[
        "-S",
        "-m",
        "64",
        "-chardev",
        "socket,id=second,path=second,server=on,wait=off",
        "-mon",
        "chardev=second,mode=control",
    ])
    .unwrap();
    let guest = QemuGuest::of_pid(machine.pid()).unwrap();
    assert_eq!(guest.pid, machine.pid());
    // The first is held by somebody else: the second is taken.
    let held = std::os::unix::net::UnixStream::connect(machine.socket()).unwrap();
    let guest = QemuGuest::of_pid(machine.pid()).unwrap();
    assert!(guest.socket.ends_with("second"), "{:?}", guest.socket);
    drop(held);
}

#[test]
fn says_how_to_start_a_qemu_without_a_socket() {
    let error = QemuGuest::of_pid(std::process::id()).unwrap_err();
    assert!(
        matches!(error, TargetError::NoQmpOnCommandLine { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("-qmp unix:"), "{error}");
}

#[test]
fn says_that_another_client_holds_the_socket() {
    let machine = BareMachine::start(&["-S", "-m", "64"]).unwrap();
    let _held = std::os::unix::net::UnixStream::connect(machine.socket()).unwrap();
    let error = QemuGuest::of_socket(&machine.socket()).unwrap_err();
    assert!(
        matches!(error, TargetError::QmpNoGreeting { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("another client"), "{error}");
}

#[test]
fn leaves_the_socket_free() {
    let machine = BareMachine::start(&["-S", "-m", "64"]).unwrap();
    QemuGuest::of_socket(&machine.socket()).unwrap();
    let status = machine.ask("query-status", json!({})).unwrap();
    assert_eq!(status.get("status").unwrap(), "prelaunch");
}

#[test]
fn finds_the_qemu_behind_a_socket_that_a_wrapper_opened() {
    // The listening socket belongs to this test, QEMU inherits it: SO_PEERCRED names us.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inherited");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let stdin = std::process::Stdio::from(std::os::fd::OwnedFd::from(listener));
    let mut child = std::process::Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args([
            "-accel",
            "tcg",
            "-display",
            "none",
            "-nodefaults",
            "-S",
            "-m",
            "64",
        ])
        .args(["-chardev", "socket,id=q,fd=0,server=on,wait=off"])
        .args(["-mon", "chardev=q,mode=control"])
        .stdin(stdin)
        .spawn()
        .unwrap();
    let by_socket = QemuGuest::of_socket(&path);
    let by_pid = QemuGuest::of_pid(child.id());
    let pid = child.id();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(by_socket.unwrap().pid, pid);
    assert_eq!(by_pid.unwrap().pid, pid);
    assert!(fs::metadata(&path).is_ok());
}
