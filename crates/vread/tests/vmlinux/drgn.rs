//! drgn, new and old, with the link-time form.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use vread_guests::{Guest, KernelRelease, UnpackedPackage, ensure_drgn};

use crate::mounted::Mounted;
use crate::processes;
use crate::program::stdout;

/// Helpers that have nothing to tell of these guests, and what they say, with the distribution's own
/// debug file too.
const NOTHING_TO_TELL: [(&str, &str); 2] = [
    // No kernel has panicked.
    ("panic_task", "LookupError: panic_cpu is not set"),
    // Debian's cloud kernels do not carry their configuration.
    (
        "get_kconfig",
        "LookupError: kernel configuration data not found; kernel must be compiled with CONFIG_IKCONFIG",
    ),
];

/// What those eight helpers say on 5.10 that go from or to a `struct page`: drgn works out where those lie
/// from something in the distribution's debug file of 5.10 that is not in BTF.
const WITHOUT_VMEMMAP: [&str; 2] = [
    "ObjectNotFoundError: could not find 'mem_map'",
    "ObjectNotFoundError: could not find 'vmemmap'",
];

/// Over a hundred of drgn's own helpers, on the live guest.
pub(crate) fn runs_its_helpers(guest: &Guest) {
    let mounted = Mounted::new(guest);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vmlinux/helpers.py");
    let before = processes(guest);
    let out = stdout(
        Command::new(ensure_drgn().unwrap())
            .arg(script)
            .arg(mounted.kcore())
            .arg(mounted.kcore().with_file_name("vmlinux")),
    );
    let after = processes(guest);
    let mut results = BTreeMap::new();
    let mut failed = Vec::new();
    let is_5_10 = guest.kernel().release() == KernelRelease::V5_10;
    let mut without_vmemmap = 0;
    for line in out.lines() {
        let mut words = line.split('\t');
        let mut word = || {
            words
                .next()
                .unwrap_or_else(|| panic!("a torn line: {line}"))
        };
        let (name, said, result) = (word(), word(), word());
        match said {
            "ok" => drop(results.insert(name, result)),
            said if NOTHING_TO_TELL.contains(&(name, said)) => {}
            said if is_5_10 && WITHOUT_VMEMMAP.contains(&said) => without_vmemmap += 1,
            said => failed.push(format!("{name}: {said}")),
        }
    }
    assert!(
        failed.is_empty(),
        "{} helpers failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
    assert!(
        without_vmemmap <= 8,
        "{without_vmemmap} helpers lack vmemmap"
    );
    assert!(
        results.len() >= 100,
        "only {} helpers ran:\n{out}",
        results.len()
    );
    println!("{} helpers work", results.len());

    let pids: BTreeSet<u32> = words(results["for_each_task"])
        .map(|pid| pid.parse().unwrap())
        .collect();
    for pid in before.intersection(&after) {
        assert!(pids.contains(pid), "process {pid} is not among {pids:?}");
    }
    let text = |path: &str| guest.read_text(path).unwrap();
    let sorted = |names: Vec<String>| {
        let mut names = names;
        names.sort();
        names
    };
    let first_words = |path: &str| {
        let text = text(path);
        let words = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        sorted(words.map(str::to_owned).collect())
    };
    let said = |name: &str| words(results[name]).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(said("for_each_module"), first_words("/proc/modules"));
    let kallsyms = text("/proc/kallsyms");
    // `address type name`, a tab and the module in brackets.
    let of_module = |line: &str| {
        let (symbol, _module) = line.split_once("\t[")?;
        let mut words = symbol.split(' ');
        Some(format!("{}:{}", words.next()?, words.nth(1)?))
    };
    let of_modules = sorted(kallsyms.lines().filter_map(of_module).collect());
    assert!(!of_modules.is_empty());
    assert_eq!(said("module_kallsyms"), of_modules);
    assert_eq!(results["get_dmesg"], text("/proc/version").trim());
    assert_eq!(results["prog['init_task'].comm"], "swapper/0");
    let cpus = text("/proc/cpuinfo")
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    assert_eq!(results["num_online_cpus"], cpus.to_string());
    let meminfo = text("/proc/meminfo");
    let total = meminfo
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap();
    assert_eq!(results["totalram_pages"], (total / 4).to_string());
    let devices = first_words("/proc/net/dev");
    let devices = devices
        .into_iter()
        .filter_map(|name| Some(name.strip_suffix(':')?.to_owned()));
    assert_eq!(said("for_each_netdev"), sorted(devices.collect()));
    // The kernel hides what another mount covers.
    let mounts = text("/proc/mounts");
    let mounts: BTreeSet<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    let listed: BTreeSet<&str> = words(results["for_each_mount"]).collect();
    assert_eq!(listed, mounts);
    assert_eq!(results["for_each_slab_cache"], "True");
}

/// The words of a list as Python prints it.
fn words(list: &str) -> impl Iterator<Item = &str> {
    let list = list.trim_start_matches('[').trim_end_matches(']');
    let words = list.split(", ").map(|word| word.trim_matches('\''));
    words.filter(|word| !word.is_empty())
}

/// A drgn that can be run.
pub(crate) enum Drgn {
    /// The newest, from PyPI.
    Newest,
    /// Debian 12's, 0.0.22.
    OfDebian12,
}

impl Drgn {
    pub(crate) fn all() -> [Self; 2] {
        [Self::Newest, Self::OfDebian12]
    }

    /// The tables changed in 6.4 ("unknown ORC BP base register", says one that is older).
    fn knows_unwind_tables_of(&self, guest: &Guest) -> bool {
        let before_6_4 = [KernelRelease::V5_10, KernelRelease::V6_1];
        match self {
            Self::Newest => true,
            Self::OfDebian12 => before_6_4.contains(&guest.kernel().release()),
        }
    }

    fn python(&self) -> Command {
        match self {
            Self::Newest => Command::new(ensure_drgn().unwrap()),
            Self::OfDebian12 => {
                let package = UnpackedPackage::ensure_drgn_of_debian_12().unwrap();
                package.command("python3.11")
            }
        }
    }
}

/// What a script of this folder prints of a core, with the vmlinux beside it.
pub(crate) fn run_script(drgn: &Drgn, core: &Path, script: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vmlinux");
    stdout(
        drgn.python()
            .args(["-m", "drgn", "--quiet", "-c"])
            .arg(core)
            .arg("-s")
            .arg(core.with_file_name("vmlinux"))
            .arg(folder.join(script)),
    )
}

/// The words of each line that `says.py` prints.
pub(crate) fn says(drgn: &Drgn, core: &Path) -> Vec<Vec<String>> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    let out = run_script(drgn, core, "says.py");
    out.lines().map(words).collect()
}

/// On the command line, with `-c` and `-s`: what the guest's own kernel says. The frames of sleeping threads of the
/// kernel, by ORC from the guest's memory, are those that the kernel itself finds with it.
pub(crate) fn of_any_age_says_what_the_kernel_says(guest: &Guest) {
    let mounted = Mounted::new(guest);
    for drgn in Drgn::all() {
        let before = stacks(guest);
        let said = says(&drgn, &mounted.kcore());
        let after = stacks(guest);
        let lines = |word: &str| -> Vec<&[String]> {
            let lines = said.iter().filter(|line| line[0] == word);
            lines.map(|line| &line[1..]).collect()
        };
        assert_eq!(lines("comm"), [["swapper/0"]]);
        let listed = guest.read_text("/proc/modules").unwrap();
        let mut modules: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        modules.sort_unstable();
        assert_eq!(lines("modules"), [modules]);
        let version = guest.read_text("/proc/version").unwrap();
        assert_eq!(lines("dmesg")[0].join(" "), version.trim());
        assert_eq!(lines("type"), [["struct", "sk_buff", "{"]]);
        let mut unwound = BTreeMap::new();
        for line in lines("stack") {
            let pid: u32 = line[0].parse().unwrap();
            unwound.insert(pid, &line[1..]);
        }
        let (mut compared, mut equal) = (0, 0);
        let knows_tables = drgn.knows_unwind_tables_of(guest);
        for (pid, stack) in &before {
            // What ran in between may have slept elsewhere.
            if after.get(pid) != Some(stack) || stack.frames.is_empty() {
                continue;
            }
            let ours = unwound
                .get(pid)
                .unwrap_or_else(|| panic!("no task {pid} in {said:?}"));
            // The kernel leaves its scheduler out.
            let is_equal = ours.ends_with(&stack.frames);
            assert!(
                is_equal || !knows_tables,
                "task {pid}: {ours:?}, and the kernel has {:?}",
                stack.frames
            );
            compared += 1;
            equal += u32::from(is_equal);
        }
        assert!(compared >= 10, "only {compared} tasks slept all the while");
        assert_eq!(equal == compared, knows_tables, "{equal} of {compared}");
        println!("{equal} of {compared} stacks equal");
    }
}

/// What a thread's stack is, and how often it has run.
#[derive(Debug, PartialEq, Eq)]
struct Stack {
    frames: Vec<String>,
    switches: Vec<String>,
}

/// What the guest's kernel finds on the stacks of its own threads.
fn stacks(guest: &Guest) -> BTreeMap<u32, Stack> {
    let mut stacks = BTreeMap::new();
    for pid in processes(guest) {
        let read = |file: &str| guest.read_text(&format!("/proc/{pid}/{file}"));
        // Processes come and go.
        let (Ok(cmdline), Ok(stack), Ok(status)) = (read("cmdline"), read("stack"), read("status"))
        else {
            continue;
        };
        let frame = |line: &str| Some(line.split(' ').nth(1)?.split('+').next()?.to_owned());
        let switches = status.lines().filter(|line| line.contains("ctxt_switches"));
        // Threads of the kernel have no command line.
        if cmdline.is_empty() {
            let frames = stack.lines().filter_map(frame).collect();
            let switches = switches.map(str::to_owned).collect();
            stacks.insert(pid, Stack { frames, switches });
        }
    }
    stacks
}
