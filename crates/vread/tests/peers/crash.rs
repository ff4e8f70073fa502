//! crash of Debian's unstable suite, live, on what vread mounts alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use vread_guests::{Guest, KernelRelease, UnpackedPackage, ensure_debug_vmlinux};

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

/// What crash 9.0.2 says of every 7.2, with the distribution's file too: that kernel's modules have one
/// list of symbols where there were two, which crash looks for. Without modules it works.
const REFUSAL_OF_7_2: &str = "invalid structure member offset: module_num_gpl_syms";

/// Which of a guest's modules crash can look at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Modules {
    All,
    None,
}

impl Modules {
    fn of(guest: &Guest) -> Self {
        match guest.kernel().release() {
            KernelRelease::V7_2 => Self::None,
            _ => Self::All,
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::All => &[],
            Self::None => &["--no_modules"],
        }
    }
}

/// The same commands with the recovered vmlinux and with the distribution's, on the same guest.
pub(crate) fn says_the_same_with_the_recovered_and_the_real_file(guest: &Guest) {
    let real = ensure_debug_vmlinux(guest.kernel()).unwrap();
    let mounted = Mounted::new(guest);
    let core = mounted.kcore().with_file_name("vmcore.live");
    let recovered = mounted.kcore().with_file_name("vmlinux");
    let modules = Modules::of(guest);
    if modules == Modules::None {
        for file in [&recovered, &real] {
            let folder = tempfile::tempdir().unwrap();
            let refused = crash(folder.path(), &[])
                .arg(file)
                .arg(&core)
                .output()
                .unwrap();
            let said = [refused.stdout, refused.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.contains(REFUSAL_OF_7_2), "{}: {said}", file.display());
        }
    }
    let ours = answers(&recovered, &core, modules, &COMMANDS);
    let truth = answers(&real, &core, modules, &COMMANDS);
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
    let seen = Modules::of(guest);
    let answers = answers(&recovered, &core, seen, &commands);
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
}

/// What crash answers to each of `commands`, in one run.
fn answers(vmlinux: &Path, core: &Path, modules: Modules, commands: &[&str]) -> Vec<String> {
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
    let mut command = crash(folder.path(), modules.arguments());
    let output = succeed(command.arg("-i").arg(&input).arg(vmlinux).arg(core));
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

/// crash, in a folder of its own, away from whatever a user has in `.crashrc`.
fn crash(folder: &Path, arguments: &[&str]) -> Command {
    let crash = UnpackedPackage::ensure_newest_crash().unwrap();
    let mut command = crash.command("crash");
    command
        .arg("-s")
        .args(arguments)
        .env("HOME", folder)
        .current_dir(folder)
        .stdin(Stdio::null());
    command
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
