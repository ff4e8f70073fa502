//! A guest that starts anew under its readers.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use vread_guests::{Backend, Guest, GuestConfig, Kaslr, KernelRelease, QmpClient};

use crate::mounted::{KcoreFile, Mounted};
use crate::program::{target, vread, vread_stdout, wait_for};

const EIO: i32 = 5;
const BOOT: Duration = Duration::from_secs(120);

/// Who has the file open gets EIO; who opens it in the firmware is told; who opens it later reads the new
/// kernel. Also where the new kernel lies exactly where the old one was.
pub(crate) fn readers_are_told(release: KernelRelease) {
    // Without KASLR it is the same for every kernel; one of them will do.
    let (on, both) = ([Kaslr::On].as_slice(), [Kaslr::On, Kaslr::Off].as_slice());
    let kaslr = if release == KernelRelease::V6_12 {
        both
    } else {
        on
    };
    for &kaslr in kaslr {
        let config = GuestConfig::new(release)
            .kaslr(kaslr)
            .backend(Backend::File);
        let mut guest = Guest::boot(&config).unwrap();
        let mut mounted = Mounted::new(&guest);
        let old = File::open(mounted.kcore()).unwrap();
        let head = |file: &File| -> io::Result<Vec<u8>> {
            let mut head = vec![0; 64];
            file.read_exact_at(&mut head, 0)?;
            Ok(head)
        };
        assert!(head(&old).unwrap().starts_with(b"\x7fELF"));
        assert_current(&guest, &mounted);

        guest.push_reset_button().unwrap();
        let errno =
            |result: io::Result<Vec<u8>>| result.err().and_then(|error| error.raw_os_error());
        wait_for("a read of the open file to fail", || {
            errno(head(&old)) == Some(EIO)
        });
        guest.wait_for_restart(BOOT).unwrap();
        // Once told, always told: the file was of the kernel that is gone.
        assert_eq!(errno(head(&old)), Some(EIO), "{kaslr:?}");
        let mut new = None;
        wait_for("the file to open again", || {
            new = File::open(mounted.kcore()).ok();
            new.is_some()
        });
        assert!(head(&new.unwrap()).unwrap().starts_with(b"\x7fELF"));
        assert_current(&guest, &mounted);
        let version = guest.read_text("/proc/version").unwrap();
        assert_eq!(vread_stdout(["version", &target(&guest)]), version);
        drop(old);
        assert!(mounted.unmount().success());
        let stderr = mounted.stderr();
        assert!(stderr.contains("the guest restarted"), "{stderr}");
    }
}

/// In its firmware a guest has no kernel, whatever its memory still holds.
pub(crate) fn a_firmware_is_no_kernel(release: KernelRelease) {
    let config = GuestConfig::new(release).backend(Backend::File);
    let guest = Guest::boot(&config).unwrap();
    let mut qmp = QmpClient::connect(guest.qmp_path()).unwrap();
    // Stopped at the first instruction of the firmware, with the old kernel in memory.
    qmp.execute("stop", serde_json::json!({})).unwrap();
    drop(qmp);
    guest.push_reset_button().unwrap();
    let output = vread().args(["info", &target(&guest)]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("firmware"), "{stderr}");
}

/// What is mounted is the memory of the kernel that runs: its name of itself stands where it says.
fn assert_current(guest: &Guest, mounted: &Mounted) {
    let symbols = guest.read_text("/proc/kallsyms").unwrap();
    let line = symbols.lines().find(|line| line.ends_with(" linux_banner"));
    let addr = u64::from_str_radix(&line.unwrap()[..16], 16).unwrap();
    let banner = guest.read_text("/proc/version").unwrap();
    let found = KcoreFile::open(&mounted.kcore()).read_virt(addr, banner.len());
    assert_eq!(found, banner.as_bytes());
}
