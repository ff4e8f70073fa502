//! Volatility 3 with a recovered symbol table, on the raw memory of a guest.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use vread_guests::{Backend, Guest, GuestConfig, KernelRelease, ensure_volatility};

use crate::program::{stdout, succeed, target, vread};

/// `linux.pslist` and `linux.lsmod` list what the guest lists.
///
/// Volatility walks page tables of four levels only, hence the processor without the fifth.
pub(crate) fn lists_processes_and_modules(release: KernelRelease) {
    let config = GuestConfig::new(release).backend(Backend::File);
    let guest = Guest::boot(&config.cpu_model("max,la57=off")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let symbols = folder.path().join("linux");
    fs::create_dir(&symbols).unwrap();
    let cache = folder.path().join("cache");
    fs::create_dir(&cache).unwrap();
    let table = symbols.join("guest.json.xz");
    succeed(vread().args(["isf", &target(&guest), "-o"]).arg(&table));
    // 512 MiB lie in one piece from 0 on, so that QEMU's file of it is a raw image.
    let image = folder.path().join("ram.raw");
    fs::copy(guest.memory_file().unwrap(), &image).unwrap();
    let python = ensure_volatility().unwrap();
    let vol = |plugin: &str| {
        let mut command = Command::new(python.with_file_name("vol"));
        command.args(["-q", "--cache-path"]).arg(&cache);
        command.arg("-s").arg(folder.path());
        command.arg("-f").arg(&image).arg(plugin);
        command
    };
    let column = |text: &str, index: usize| -> BTreeSet<String> {
        let rows = text.lines().filter(|line| line.starts_with("0x"));
        rows.filter_map(|line| Some(line.split('\t').nth(index)?.to_owned()))
            .collect()
    };

    let modules = guest.read_text("/proc/modules").unwrap();
    let modules: BTreeSet<String> = modules
        .lines()
        .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
        .collect();
    match release {
        // Volatility 2.28 asks for a member that `struct taint_flag` has no longer.
        KernelRelease::V7_2 => {
            let refused = vol("linux.lsmod").output().unwrap();
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(said.contains("taint_flag.module"), "{said}");
        }
        _ => {
            let listed = stdout(&mut vol("linux.lsmod"));
            assert_eq!(column(&listed, 1), modules, "{listed}");
        }
    }

    let listed = stdout(&mut vol("linux.pslist"));
    let pids = column(&listed, 1);
    println!("{} modules, {} processes", modules.len(), pids.len());
    assert!(listed.contains("\tinit\t"), "{listed}");
    assert!(listed.contains("\tkthreadd\t"), "{listed}");
    for pid in pids {
        // Workers of the kernel may be gone by now.
        if let Ok(status) = guest.read_text(&format!("/proc/{pid}/status")) {
            assert!(status.contains(&format!("Pid:\t{pid}\n")), "{status}");
        }
    }
}
