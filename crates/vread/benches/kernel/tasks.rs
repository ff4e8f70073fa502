//! All processes and threads of a guest that has a thousand, against drgn.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use vread_guests::Guest;
use vread_linux::tasks::Threads;

use crate::drgn::{self, Drgn};
use crate::opened::open;
use crate::rounds::{Side, medians};
use crate::{ROUNDS, ms, print_limit};

const TASKS: u32 = 1000;
const LIMIT: Duration = Duration::from_millis(20);

pub(crate) fn bench(guest: &Guest) {
    guest.spawn_processes(TASKS / 2).unwrap();
    guest.spawn_threads(TASKS / 2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // drgn cannot list tasks without debug information, and gets it from the guest's memory as well.
    let vmlinux = folder.path().join("vmlinux");
    vread(guest, "vmlinux", &[Path::new("--output"), &vmlinux]);
    let target = open(guest);
    let kernel = target.ask_kernel(Ok).unwrap();

    // How many tasks each side lists.
    let (ours, theirs) = (Cell::new(0), Cell::new(0));
    let mut library = || {
        let begin = Instant::now();
        let tasks = kernel.tasks(Threads::List).unwrap();
        let took = begin.elapsed();
        ours.set(tasks.processes.iter().map(|one| one.threads.len()).sum());
        took
    };
    let mut listing = Drgn::open(&guest.qmp_paths()[1], &vmlinux);
    let began = listing.open_time;
    let mut attached = || {
        let (count, took) = listing.list();
        theirs.set(count);
        took
    };
    let mut program = || {
        let begin = Instant::now();
        vread(guest, "ps", &[Path::new("--threads")]);
        begin.elapsed()
    };
    let mut drgn_program = || {
        let begin = Instant::now();
        Drgn::open(&guest.qmp_paths()[2], &vmlinux).list();
        begin.elapsed()
    };
    let mut sides = [
        Side {
            name: "vread, attached: Kernel::tasks with threads",
            round: &mut library,
        },
        Side {
            name: "drgn --qemu, attached: the same in its Python",
            round: &mut attached,
        },
        Side {
            name: "vread ps --threads, as a program",
            round: &mut program,
        },
        Side {
            name: "drgn --qemu with the vmlinux made here, as a program",
            round: &mut drgn_program,
        },
    ];
    let times = medians(ROUNDS, &mut sides);
    let names = sides.map(|side| side.name);
    let (ours, theirs): (usize, usize) = (ours.get(), theirs.get());
    println!(
        "  tasks: {ours} by vread, {theirs} by drgn {}",
        drgn::version()
    );
    assert!(ours > TASKS as usize && ours.abs_diff(theirs) < 50);
    print_limit(names[0], times[0], LIMIT);
    for (name, time) in names.iter().zip(&times).skip(1) {
        println!("  {name:<52} {:>8.2} ms", ms(*time));
    }
    println!(
        "  ratio of drgn to vread: {:.1} attached, {:.1} as programs (drgn took {:.0} ms to attach)",
        times[1].as_secs_f64() / times[0].as_secs_f64(),
        times[3].as_secs_f64() / times[2].as_secs_f64(),
        ms(began),
    );
}

fn vread(guest: &Guest, command: &str, rest: &[&Path]) {
    let target = format!("qemu:{}", guest.qmp_path().display());
    let output = Command::new(env!("CARGO_BIN_EXE_vread"))
        .args([command, &target])
        .args(rest)
        .output()
        .unwrap();
    assert_ne!(
        output.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
