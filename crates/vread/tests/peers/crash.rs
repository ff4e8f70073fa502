//! crash of Debian's unstable suite, live, on what vread mounts alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use vread_guests::{Guest, UnpackedPackage, ensure_debug_vmlinux};

use crate::mounted::Mounted;
use crate::program::succeed;

/// What is asked; of some answers only a part stands still while nothing is asked of the guest.
const COMMANDS: [&str; 22] = [
    "sys",
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

/// The same commands with the recovered vmlinux and with the distribution's, on the same guest.
pub(crate) fn says_the_same_with_the_recovered_and_the_real_file(guest: &Guest) {
    let real = ensure_debug_vmlinux(guest.kernel()).unwrap();
    let mounted = Mounted::new(guest);
    let core = mounted.kcore().with_file_name("vmcore.live");
    let recovered = mounted.kcore().with_file_name("vmlinux");
    let ours = answers(&recovered, &core, &COMMANDS);
    let truth = answers(&real, &core, &COMMANDS);
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

/// What crash tells is what the guest tells about itself.
pub(crate) fn says_what_the_guest_says(guest: &Guest) {
    let mounted = Mounted::new(guest);
    let core = mounted.kcore().with_file_name("vmcore.live");
    let recovered = mounted.kcore().with_file_name("vmlinux");
    let commands = ["sys", "mod", "ps", "vm 1", "sym init_task", "bt 1"];
    let answers = answers(&recovered, &core, &commands);
    let [sys, modules, ps, vm, symbol, stack] = &answers[..] else {
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
    assert_eq!(shown, theirs, "{modules}");

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
    assert!(stack.contains("port_fops_read"), "{stack}");
    assert!(stack.contains("vfs_read"), "{stack}");
}

/// What crash answers to each of `commands`, in one run.
fn answers(vmlinux: &Path, core: &Path, commands: &[&str]) -> Vec<String> {
    const MARK: &str = "== answer\n";
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("commands");
    // crash itself must print the marks, since it keeps its output back: no pipe and no echo.
    let mark = "gdb printf \"== answer\\n\"\n";
    let mut script = String::from("set scroll off\n");
    for command in commands {
        script.push_str(mark);
        script.push_str(command);
        script.push('\n');
    }
    script.push_str(mark);
    script.push_str("quit\n");
    fs::write(&input, script).unwrap();
    let crash = UnpackedPackage::ensure_newest_crash().unwrap();
    // Away from whatever a user has in .crashrc.
    let output = succeed(
        crash
            .command("crash")
            .arg("-s")
            .arg("-i")
            .arg(&input)
            .arg(vmlinux)
            .arg(core)
            .env("HOME", folder.path())
            .current_dir(folder.path()),
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers: Vec<String> = text.split(MARK).skip(1).map(str::to_owned).collect();
    assert_eq!(
        answers.len(),
        commands.len() + 1,
        "crash ended early:\n{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    answers[..commands.len()].to_vec()
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
        "ps" => chosen(&[0, 1, 3]),
        "kmem -s" => chosen(&[0, 1]),
        _ => {
            let end = line.find(" debian/build/").unwrap_or(line.len());
            Some(line[..end].trim_end().to_owned())
        }
    }
}
