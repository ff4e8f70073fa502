//! The registers of devices: reading one may change the device, so that none is ever read.

use std::fs;
use std::path::Path;

use serde_json::json;
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease, QmpClient};

use crate::mounted::{KcoreFile, Mounted};

/// The guest's memory, none of it above 4 GiB.
const MEMORY_MIB: u32 = 512;
const RAM_END: u64 = (MEMORY_MIB as u64) << 20;

/// QEMU's own record of each read of a device's register, by whomever.
const EVENT: &str = "memory_region_ops_read";

/// R16, V29: while the guest stands still, all that vread serves is read, every window of the kernel's onto
/// a device (`ioremap`) among it. No device is read meanwhile, and the windows are zeros. That a read would
/// show is proved before and after, by one of QEMU's own.
pub(crate) fn no_device_is_ever_read(release: KernelRelease) {
    for (backend, access) in [(Backend::File, "mapped"), (Backend::Anonymous, "vm-readv")] {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let config = GuestConfig::new(release)
            .memory_mib(MEMORY_MIB)
            .backend(backend)
            .qmp_sockets(2)
            .qemu_args(["-D", log.to_str().unwrap()]);
        let guest = Guest::boot(&config).unwrap();
        let windows = device_windows(&guest);
        let areas = guest.vmallocinfo().unwrap();
        assert!(windows.len() > 2, "{windows:x?}");
        let mounted = Mounted::with_access(&guest, access);
        let mut qmp = QmpClient::connect(&guest.qmp_paths()[1]).unwrap();
        qmp.execute("stop", json!({})).unwrap();
        let event = json!({ "name": EVENT, "enable": true });
        qmp.execute("trace-event-set-state", event).unwrap();

        let seen = read_by_qemu(&mut qmp, &windows, &log);
        assert!(seen >= windows.len(), "{seen} reads of {windows:x?}");
        let mut bytes = 0;
        let kcore = KcoreFile::open(&mounted.kcore());
        for window in &windows {
            let content = kcore.read_virt(window.virt, window.len as usize);
            assert!(content.iter().all(|byte| *byte == 0), "{window:x?}");
            bytes += window.len;
        }
        // Every area of vmalloc space, and every page of RAM.
        for area in areas.into_iter().map(|line| line.range) {
            let len = area.end - area.start;
            bytes += kcore.read_virt(area.start, len as usize).len() as u64;
        }
        let vmcore = KcoreFile::open(&mounted.vmcore());
        for load in vmcore.loads() {
            for at in (0..load.size).step_by(1 << 20) {
                let len = (load.size - at).min(1 << 20);
                bytes += vmcore.read_at(load.offset + at, len as usize).len() as u64;
            }
        }
        assert_eq!(events(&log), seen, "a device was read");
        let again = read_by_qemu(&mut qmp, &windows, &log);
        assert!(again > seen, "the record still works");
        println!(
            "{access}: {} windows, {} MiB read, {} reads of devices by QEMU itself, none by vread",
            windows.len(),
            bytes >> 20,
            again
        );
        qmp.execute("cont", json!({})).unwrap();
    }
}

/// A window of the kernel's onto a device.
#[derive(Debug)]
struct Window {
    virt: u64,
    /// Without the guard page.
    len: u64,
    phys: u64,
}

/// Those that lie behind the end of RAM: what the kernel remaps below are tables of the firmware.
fn device_windows(guest: &Guest) -> Vec<Window> {
    let remapped = guest.vmallocinfo().unwrap().into_iter();
    let remapped = remapped.filter_map(|line| {
        let phys = line.rest.split_once("phys=0x")?.1.split(' ').next()?;
        let window = Window {
            virt: line.range.start,
            len: line.range.end - line.range.start - 4096,
            phys: u64::from_str_radix(phys, 16).unwrap(),
        };
        line.rest.contains("ioremap").then_some(window)
    });
    remapped.filter(|window| window.phys >= RAM_END).collect()
}

/// Has QEMU itself read a word of each window; how many reads its record has then.
fn read_by_qemu(qmp: &mut QmpClient, windows: &[Window], log: &Path) -> usize {
    for window in windows {
        qmp.human(&format!("xp /1wx {:#x}", window.phys)).unwrap();
    }
    events(log)
}

fn events(log: &Path) -> usize {
    let log = fs::read_to_string(log).unwrap();
    log.lines().filter(|line| line.contains(EVENT)).count()
}
