//! crash of Debian's unstable suite, live, on what vread mounts alone.

use vread_guests::{Guest, UnpackedPackage, ensure_debug_vmlinux};

use crate::crash_session::{Modules, answers, crash};
use crate::mounted::Mounted;

/// What is asked; of some answers only a part stands still while nothing is asked of the guest.
const COMMANDS: [&str; 23] = [
    "sys",
    "mach",
    "ps",
    "mod",
    "log",
    "vm 1",
    "kmem -v",
    "kmem -s",
    "bt 1",
    "bt 2",
    "struct task_struct.pid,comm init_task",
    "whatis struct list_head",
    "rd linux_banner 4",
    "sym init_task",
    "files 1",
    "mount",
    "net",
    "task -R comm,pid 1",
    "irq",
    "dev",
    "sig 1",
    "p init_task.comm",
    "p runqueues",
];

/// What crash 9.0.2 says of every 7.2, with the distribution's file too: that kernel's modules have one
/// list of symbols where there were two, which crash looks for. Without modules it works.
const REFUSAL_OF_7_2: &str = "invalid structure member offset: module_num_gpl_syms";

/// The same commands with the recovered vmlinux and with the distribution's, on the same guest.
pub(crate) fn says_the_same_with_the_recovered_and_the_real_file(guest: &Guest) {
    let real = ensure_debug_vmlinux(guest.kernel()).unwrap();
    let package = UnpackedPackage::ensure_newest_crash().unwrap();
    let mounted = Mounted::new(guest);
    let core = mounted.kcore().with_file_name("vmcore.live");
    let recovered = mounted.kcore().with_file_name("vmlinux");
    let modules = Modules::of(guest);
    if modules == Modules::None {
        for file in [&recovered, &real] {
            let folder = tempfile::tempdir().unwrap();
            let refused = crash(&package, folder.path(), Modules::All)
                .arg(file)
                .arg(&core)
                .output()
                .unwrap();
            let said = [refused.stdout, refused.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.contains(REFUSAL_OF_7_2), "{}: {said}", file.display());
        }
    }
    let ours = answers(&package, &recovered, &core, modules, &COMMANDS);
    let truth = answers(&package, &real, &core, modules, &COMMANDS);
    let mut different = Vec::new();
    for ((command, ours), truth) in COMMANDS.iter().zip(ours).zip(truth) {
        let [ours, truth] = [ours, truth].map(|answer| -> Vec<String> {
            answer
                .lines()
                .filter_map(|line| lasting(command, line))
                .collect()
        });
        println!("{command}: {} lines", ours.len());
        if ours.is_empty() || ours != truth {
            different.push(format!(
                "{command}:\n{}\ninstead of\n{}",
                ours.join("\n"),
                truth.join("\n")
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

/// What of a line of an answer does not change from one moment to the next, and does not depend on
/// lines of the source, which the distribution's file knows.
fn lasting(command: &str, line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let chosen = |wanted: &[usize]| -> Option<String> {
        let last = words.last().copied();
        let chosen = wanted.iter().filter_map(|at| words.get(*at).copied());
        Some(chosen.chain(last).collect::<Vec<_>>().join(" "))
    };
    let of_now = ["KERNEL:", "DATE:", "UPTIME:", "LOAD", "TASKS:"];
    match command {
        "sys" if of_now.contains(words.first()?) => None,
        // What runs this moment, and the states of all.
        "ps" if line.starts_with('>') => None,
        // Workers of the kernel are renamed as they work.
        "ps" if line.contains("[kworker") => None,
        // The list of modules is empty, in words that name the file.
        "mod" if line.starts_with("mod: ") => Some("no modules".to_owned()),
        // The letter is that of the section, and the linker moves symbols between them.
        _ if command.starts_with("sym ") => chosen(&[0]),
        "ps" => chosen(&[0, 1, 3]),
        "kmem -s" => chosen(&[0, 1]),
        _ => {
            let end = line.find(" debian/build/").unwrap_or(line.len());
            Some(line[..end].trim_end().to_owned())
        }
    }
}
