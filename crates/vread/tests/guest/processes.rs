//! `vread ps` against the guest's own `/proc/*/stat`, `status` and `cmdline`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease};

use crate::program::{target, vread_stdout};

const PROCESSES: u32 = 300;
const THREADS: u32 = 700;
/// How often all is read. A task counts as equal when it was once; as different when it never was, though it
/// looked the same from outside before and after.
const ROUNDS: usize = 5;

/// What is compared of a process or thread, each as text.
type Facts = BTreeMap<&'static str, String>;

/// On a guest of its own: what it starts would be in everyone's way.
pub(crate) fn ps_on_a_guest_of_its_own(release: KernelRelease) {
    let guest = Guest::boot(&GuestConfig::new(release).backend(Backend::File)).unwrap();
    ps_equals_the_guests_own(&guest);
}

/// G60, G61: with 300 processes and 700 threads running.
pub(crate) fn ps_equals_the_guests_own(guest: &Guest) {
    let pids = guest.spawn_processes(PROCESSES).unwrap();
    let tids = guest.spawn_threads(THREADS).unwrap();
    for (what, outside, inside, least) in [
        (
            "processes",
            outside_processes as Reading,
            inside_processes as Reading,
            pids.len(),
        ),
        (
            "threads",
            outside_threads,
            inside_threads,
            pids.len() + tids.len(),
        ),
    ] {
        compare(guest, what, outside, inside, least);
    }
    let tree = vread_stdout(["ps", "--tree", &target(guest)]);
    assert_eq!(tree.lines().count(), 1 + outside_processes(guest).len());
    assert!(
        tree.contains("\\_ /proc/self/exe sleep"),
        "no child of process 1"
    );
}

type Reading = fn(&Guest) -> BTreeMap<u32, Facts>;

fn compare(guest: &Guest, what: &str, outside: Reading, inside: Reading, least: usize) {
    let (mut equal, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut different: BTreeMap<u32, (Facts, Facts)> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let before = outside(guest);
        let theirs = inside(guest);
        let after = outside(guest);
        for (id, theirs) in &theirs {
            let (Some(before), Some(after)) = (before.get(id), after.get(id)) else {
                // Started or ended meanwhile, as those who read the files.
                continue;
            };
            seen.insert(*id);
            if theirs == after || theirs == before {
                equal.insert(*id);
            } else if before == after {
                different.insert(*id, (after.clone(), theirs.clone()));
            }
        }
        for id in before.keys().filter(|id| after.contains_key(id)) {
            assert!(
                theirs.contains_key(id),
                "{what} {id} is there only from outside"
            );
        }
        if equal.len() == seen.len() {
            break;
        }
    }
    let wrong = different.iter().find(|(id, _)| !equal.contains(id));
    assert_eq!(wrong, None, "{what}: never equal (outside, inside)");
    let undecided = seen.len() - equal.len();
    println!("{} {what} equal, {undecided} undecided", equal.len());
    assert!(
        undecided * 100 < seen.len(),
        "{undecided} of {} {what}",
        seen.len()
    );
    assert!(equal.len() > least, "{} {what}", equal.len());
}

fn outside_processes(guest: &Guest) -> BTreeMap<u32, Facts> {
    let json = vread_stdout(["ps", "--json", &target(guest)]);
    let processes: Vec<Value> = serde_json::from_str(&json).unwrap();
    processes
        .iter()
        .map(|process| outside_process(guest, process))
        .collect()
}

fn outside_process(guest: &Guest, process: &Value) -> (u32, Facts) {
    let number = |key: &str| process[key].as_u64().unwrap_or(0);
    let ids = |key: &str| {
        let each = ["real", "effective", "saved", "file_system"];
        let each = each.map(|which| process[key][which].as_u64().unwrap().to_string());
        each.join(" ")
    };
    // Since 6.16 or so, and in late 6.12, status adds up what every processor counts; stat does not.
    let uname = guest.kernel().uname();
    let exact = uname.starts_with("7.") || uname.starts_with("6.12.");
    let status_rss = if exact { "rss" } else { "rss_handed_in" };
    let arguments = process["arguments"].as_array();
    let arguments = arguments.into_iter().flatten();
    let command_line: String = arguments
        .map(|a| a.as_str().unwrap().to_owned() + "\0")
        .collect();
    let facts = Facts::from([
        ("name", name(process["name"].as_str().unwrap())),
        ("state", process["state"].as_str().unwrap().to_owned()),
        ("ppid", number("ppid").to_string()),
        ("threads", number("threads").to_string()),
        ("start", (number("start_ns") / 10_000_000).to_string()),
        ("size", number("size").to_string()),
        ("rss", (number("rss_handed_in") / 4096).to_string()),
        ("status rss", (number(status_rss) / 1024).to_string()),
        ("uid", ids("uid")),
        ("gid", ids("gid")),
        ("command line", command_line),
    ]);
    (number("pid") as u32, facts)
}

fn outside_threads(guest: &Guest) -> BTreeMap<u32, Facts> {
    let json = vread_stdout(["ps", "-T", "--json", &target(guest)]);
    let processes: Vec<Value> = serde_json::from_str(&json).unwrap();
    let mut threads = BTreeMap::new();
    for process in &processes {
        let list = process["thread_list"].as_array().unwrap();
        assert_eq!(process["threads"], list.len(), "{process}");
        for thread in list {
            let facts = Facts::from([
                ("name", name(thread["name"].as_str().unwrap())),
                ("state", thread["state"].as_str().unwrap().to_owned()),
                (
                    "start",
                    (thread["start_ns"].as_u64().unwrap() / 10_000_000).to_string(),
                ),
                ("process", process["pid"].to_string()),
            ]);
            threads.insert(thread["tid"].as_u64().unwrap() as u32, facts);
        }
    }
    threads
}

/// What the guest's shell prints for `script`.
fn shell(guest: &Guest, script: &str) -> String {
    guest
        .run(&["/bin/busybox", "sh", "-c", script])
        .unwrap()
        .stdout
}

fn inside_processes(guest: &Guest) -> BTreeMap<u32, Facts> {
    let busybox = "cd /proc; /bin/busybox";
    let mut processes: BTreeMap<u32, Facts> = shell(guest, &format!("{busybox} cat [0-9]*/stat"))
        .lines()
        .map(|line| {
            let (pid, stat) = stat(line);
            let facts = Facts::from([
                ("name", stat.name),
                ("state", stat.rest[0].clone()),
                ("ppid", stat.rest[1].clone()),
                ("threads", stat.rest[17].clone()),
                ("start", stat.rest[19].clone()),
                ("size", stat.rest[20].clone()),
                ("rss", stat.rest[21].clone()),
            ]);
            (pid, facts)
        })
        .collect();
    let ids = shell(
        guest,
        &format!("{busybox} grep -E '^(Uid|Gid|VmRSS):' [0-9]*/status"),
    );
    for line in ids.lines() {
        let (pid, rest) = line.split_once("/status:").unwrap();
        let (key, ids) = rest.split_once(':').unwrap();
        let key = match key {
            "Uid" => "uid",
            "Gid" => "gid",
            _ => "status rss",
        };
        let ids: Vec<&str> = ids
            .split_whitespace()
            .filter(|word| *word != "kB")
            .collect();
        if let Some(facts) = processes.get_mut(&pid.parse().unwrap()) {
            facts.insert(key, ids.join(" "));
        }
    }
    let lines = shell(guest, &format!("{busybox} head -v -c 65536 [0-9]*/cmdline"));
    for piece in lines.split("==> ").skip(1) {
        let (pid, line) = piece.split_once("/cmdline <==\n").unwrap();
        if let Some(facts) = processes.get_mut(&pid.parse().unwrap()) {
            facts.insert("command line", line.trim_end_matches('\n').to_owned());
        }
    }
    for facts in processes.values_mut() {
        // Threads of the kernel have no such line.
        facts.entry("status rss").or_insert_with(|| "0".to_owned());
    }
    // One that ended between the three.
    processes.retain(|_, facts| facts.len() == 11);
    processes
}

fn inside_threads(guest: &Guest) -> BTreeMap<u32, Facts> {
    let lines = shell(
        guest,
        "cd /proc; for p in [0-9]*; do set -- $p/task/*; echo \"$p $*\"; done",
    );
    let process_of: BTreeMap<u32, String> = lines
        .lines()
        .flat_map(|line| {
            let mut words = line.split(' ');
            let pid = words.next().unwrap().to_owned();
            let tid = |task: &str| task.rsplit('/').next().unwrap().parse().ok();
            let tids: Vec<u32> = words.filter_map(tid).collect();
            tids.into_iter().map(move |tid| (tid, pid.clone()))
        })
        .collect();
    shell(guest, "cd /proc; /bin/busybox cat [0-9]*/task/*/stat")
        .lines()
        .filter_map(|line| {
            let (tid, stat) = stat(line);
            let facts = Facts::from([
                ("name", stat.name),
                ("state", stat.rest[0].clone()),
                ("start", stat.rest[19].clone()),
                ("process", process_of.get(&tid)?.clone()),
            ]);
            Some((tid, facts))
        })
        .collect()
}

struct Stat {
    name: String,
    /// From the state on.
    rest: Vec<String>,
}

fn stat(line: &str) -> (u32, Stat) {
    let (pid, rest) = line.split_once(" (").unwrap();
    let (comm, rest) = rest.rsplit_once(") ").unwrap();
    let rest = rest.split(' ').map(str::to_owned).collect();
    let stat = Stat {
        name: name(comm),
        rest,
    };
    (pid.parse().unwrap(), stat)
}

/// The kernel adds to a worker's name in /proc what it works on; names end at 15 bytes else.
fn name(name: &str) -> String {
    match name.starts_with("kworker/") {
        true => "kworker".to_owned(),
        false => name.to_owned(),
    }
}
