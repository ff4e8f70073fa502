//! `vread ps`

mod tree;

use std::io::{self, Write};

use serde::Serialize;
use vread_linux::tasks::{CommandLine, Ids, Process, Tasks, Thread, Threads};
use vread_targets::Target;

use crate::{Outcome, arguments::PsArguments, json, printable::Printable};

/// A process in JSON.
#[derive(Debug, Serialize)]
struct JsonProcess<'a> {
    pid: u32,
    ppid: u32,
    name: &'a str,
    state: char,
    uid: JsonIds,
    gid: JsonIds,
    /// How many threads it has.
    threads: u32,
    start_ns: u64,
    /// Bytes in RAM; null for threads of the kernel.
    rss: Option<u64>,
    /// The same without what processors have not handed in yet.
    rss_handed_in: Option<u64>,
    /// Bytes of address space.
    size: Option<u64>,
    /// Null where there is none, or where it is not in RAM.
    arguments: Option<Vec<String>>,
    task: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_list: Option<Vec<JsonThread<'a>>>,
}

#[derive(Debug, Serialize)]
struct JsonThread<'a> {
    tid: u32,
    name: &'a str,
    state: char,
    start_ns: u64,
    task: String,
}

#[derive(Debug, Serialize)]
struct JsonIds {
    real: u32,
    effective: u32,
    saved: u32,
    file_system: u32,
}

pub(crate) fn run(
    target: &Target,
    arguments: &PsArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let threads = match arguments.threads {
        true => Threads::List,
        false => Threads::Count,
    };
    let tasks = target.ask_kernel(|kernel| kernel.tasks(threads))?;
    match (arguments.listing.json, arguments.tree) {
        (true, _) => {
            let process = |process| JsonProcess::new(process, threads);
            json::array(out, tasks.processes.iter().map(process))?;
        }
        (false, true) => {
            print_head(out)?;
            for (process, depth) in tree::order(&tasks.processes) {
                print_process(out, process, depth)?;
            }
        }
        (false, false) => {
            print_head(out)?;
            for process in &tasks.processes {
                print_process(out, process, 0)?;
            }
        }
    }
    Ok(tell_torn(&tasks))
}

fn print_head(out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{:>7} {:>7} {:>6} S {:>4} {:>8} {:>9} COMMAND",
        "PID", "PPID", "UID", "THR", "RSS", "START"
    )
}

fn print_process(out: &mut dyn Write, process: &Process, depth: usize) -> io::Result<()> {
    let Process {
        leader,
        ppid,
        uid,
        thread_count,
        memory,
        ..
    } = process;
    let rss = memory.map_or(0, |memory| memory.rss.get() >> 10);
    let branch = match depth {
        0 => String::new(),
        depth => format!(
            "{:width$}\\_ ",
            "",
            width = depth.saturating_sub(1).saturating_mul(4)
        ),
    };
    writeln!(
        out,
        "{:>7} {ppid:>7} {:>6} {} {thread_count:>4} {rss:>8} {:>9} {branch}{}",
        leader.tid,
        uid.real,
        leader.state,
        Seconds(leader.start_ns),
        Printable(&command(process)),
    )?;
    for thread in process
        .threads
        .iter()
        .filter(|thread| thread.tid != leader.tid)
    {
        print_thread(out, thread)?;
    }
    Ok(())
}

fn print_thread(out: &mut dyn Write, thread: &Thread) -> io::Result<()> {
    writeln!(
        out,
        "{:>7} {:>7} {:>6} {} {:>4} {:>8} {:>9} {{{}}}",
        thread.tid,
        thread.tgid,
        "",
        thread.state,
        "",
        "",
        Seconds(thread.start_ns),
        Printable(&thread.name),
    )
}

/// The command line; the name where there is none.
fn command(process: &Process) -> String {
    let name = &process.leader.name;
    match &process.command_line {
        CommandLine::Arguments(bytes) if !bytes.is_empty() => {
            process.command_line.arguments().join(" ")
        }
        CommandLine::NotResident(_) => format!("{name} ?"),
        _ => format!("[{name}]"),
    }
}

fn tell_torn(tasks: &Tasks) -> Outcome {
    for at in &tasks.torn {
        tell!(
            "vread: the task at {at} changed at every try to read it and was left out; try again, or with --pause"
        );
    }
    match tasks.torn.is_empty() {
        true => Outcome::All,
        false => Outcome::SomeMissing,
    }
}

/// Nanoseconds as seconds with two decimals.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hundredths = self.0.checked_div(10_000_000).unwrap_or(0);
        let seconds = hundredths.checked_div(100).unwrap_or(0);
        let rest = hundredths.checked_rem(100).unwrap_or(0);
        f.pad(&format!("{seconds}.{rest:02}"))
    }
}

impl<'a> JsonProcess<'a> {
    fn new(process: &'a Process, threads: Threads) -> Self {
        let Process { leader, memory, .. } = process;
        Self {
            pid: leader.tid,
            ppid: process.ppid,
            name: &leader.name,
            state: leader.state.letter(),
            uid: JsonIds::from(process.uid),
            gid: JsonIds::from(process.gid),
            threads: process.thread_count,
            start_ns: leader.start_ns,
            rss: memory.map(|memory| memory.rss.get()),
            rss_handed_in: memory.map(|memory| memory.rss_handed_in.get()),
            size: memory.map(|memory| memory.size.get()),
            arguments: match process.command_line {
                CommandLine::Arguments(_) => Some(process.command_line.arguments()),
                _ => None,
            },
            task: format!("{:#x}", leader.at),
            thread_list: (threads == Threads::List)
                .then(|| process.threads.iter().map(JsonThread::from).collect()),
        }
    }
}

impl<'a> From<&'a Thread> for JsonThread<'a> {
    fn from(thread: &'a Thread) -> Self {
        Self {
            tid: thread.tid,
            name: &thread.name,
            state: thread.state.letter(),
            start_ns: thread.start_ns,
            task: format!("{:#x}", thread.at),
        }
    }
}

impl From<Ids> for JsonIds {
    fn from(ids: Ids) -> Self {
        let Ids {
            real,
            effective,
            saved,
            file_system,
        } = ids;
        Self {
            real,
            effective,
            saved,
            file_system,
        }
    }
}
