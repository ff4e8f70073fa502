//! crash, live, on what vread mounts alone.

use std::collections::BTreeSet;

use vread_guests::{Guest, KernelRelease, UnpackedPackage};

use crate::crash_session::{Modules, answers};
use crate::mounted::Mounted;

/// What crash tells is what the guest tells about itself.
pub(crate) fn says_what_the_guest_says(guest: &Guest) {
    compare(guest, &UnpackedPackage::ensure_newest_crash().unwrap());
}

/// Debian 12's crash 8.0.2 knows kernels as new as this one: of 6.1 it lists one task, and on newer ones it ends
/// without a word, with QEMU's own dump and the distribution's file too.
pub(crate) const NEWEST_OF_DEBIAN_12: KernelRelease = KernelRelease::V5_10;

/// The same for the crash of Debian 12.
pub(crate) fn of_debian_12_says_what_the_guest_says(guest: &Guest) {
    let crash = UnpackedPackage::ensure_crash_of_debian_12().unwrap();
    compare(guest, &crash);
}

fn compare(guest: &Guest, package: &UnpackedPackage) {
    let mounted = Mounted::new(guest);
    let core = mounted.kcore().with_file_name("vmcore.live");
    let recovered = mounted.kcore().with_file_name("vmlinux");
    let commands = [
        "sys",
        "mod",
        "ps",
        "vm 1",
        "sym init_task",
        "bt 1",
        "log",
        "kmem -v",
        "struct task_struct.pid,comm init_task",
        "rd -8 linux_banner 16",
    ];
    let areas_before = guest.vmallocinfo().unwrap();
    let seen = Modules::of(guest);
    let answers = answers(package, &recovered, &core, seen, &commands);
    let [sys, modules, ps, vm, symbol, stack, log, kmem, task, banner] = &answers[..] else {
        panic!("an answer for each command");
    };
    assert!(sys.contains("LIVE DUMP"), "{sys}");
    assert!(sys.contains(guest.kernel().uname()), "{sys}");
    assert!(sys.contains("CPUS: 2"), "{sys}");

    let words =
        |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    let theirs: BTreeSet<String> = guest
        .read_text("/proc/modules")
        .unwrap()
        .lines()
        .map(|line| words(line)[0].clone())
        .collect();
    let shown: BTreeSet<String> = modules
        .lines()
        .map(words)
        .filter(|words| words.len() > 3 && words[0].starts_with("ffff"))
        .map(|words| words[1].clone())
        .collect();
    if seen == Modules::All {
        assert_eq!(shown, theirs, "{modules}");
        // It waits in a function of a module.
        assert!(stack.contains("port_fops_read"), "{stack}");
    }

    // The helper that answers is the guest's first process; threads of the kernel come and go.
    assert!(ps.lines().any(|line| line.ends_with("  init")), "{ps}");
    assert!(ps.contains("[kthreadd]"), "{ps}");

    let maps = guest.read_text("/proc/1/maps").unwrap();
    let starts: Vec<&str> = maps
        .lines()
        .filter_map(|line| line.split('-').next())
        .collect();
    let areas: Vec<String> = vm
        .lines()
        .map(words)
        .filter(|words| words.len() >= 4 && words[0].starts_with("ff") && words[1].len() < 16)
        .map(|words| words[1].clone())
        .collect();
    let kept: Vec<&str> = starts
        .iter()
        .copied()
        .filter(|start| {
            areas
                .iter()
                .any(|area| area.trim_start_matches('0') == start.trim_start_matches('0'))
        })
        .collect();
    // The vsyscall page is no area of the process, though its maps list it.
    assert!(kept.len() + 1 >= starts.len(), "{vm}\n{maps}");

    let kallsyms = guest.read_text("/proc/kallsyms").unwrap();
    let line = kallsyms
        .lines()
        .find(|line| line.ends_with(" init_task"))
        .unwrap();
    assert!(symbol.contains(&line[..16]), "{symbol} {line}");
    assert!(stack.contains("vfs_read"), "{stack}");

    let version = guest.read_text("/proc/version").unwrap();
    assert!(log.contains(version.trim()), "{log}");
    assert!(banner.contains("Linux version"), "{banner}");
    let task: Vec<&str> = task.split_whitespace().collect();
    assert!(
        task.starts_with(&["pid", "=", "0,", "comm", "="])
            || task.starts_with(&["pid", "=", "0", "comm", "="]),
        "{task:?}"
    );
    assert!(task[task.len() - 1].starts_with("\"swapper/0"), "{task:?}");

    // Each area that was there all the while. Those that wait for reuse, and maps without a descriptor, are no
    // areas to crash.
    let after = guest.vmallocinfo().unwrap();
    let lasting = areas_before.iter().filter(|area| after.contains(area));
    let without_descriptor = ["unpurged vm_area", "vm_map_ram"];
    let lasting = lasting.filter(|area| {
        !without_descriptor
            .iter()
            .any(|kind| area.rest.contains(kind))
    });
    let lasting: Vec<String> = lasting
        .map(|area| format!("{:x} - {:x}", area.range.start, area.range.end))
        .collect();
    let missing: Vec<&String> = lasting
        .iter()
        .filter(|area| !kmem.contains(area.as_str()))
        .collect();
    assert!(lasting.len() > 20, "{} areas", lasting.len());
    assert!(missing.is_empty(), "{missing:?} in\n{kmem}");
}
