//! Tasks: what runs in the target (G60, G61).

mod layout;
mod memory;
mod state;
mod walk;

pub(crate) use layout::TaskLayout;
pub(crate) use memory::{MemoryLayout, PerCpu};
pub use state::TaskState;
pub(crate) use walk::Walk;

use vread_addr::{ByteLen, VirtAddr};

/// The tasks of a kernel at about one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tasks {
    /// The processes, ascending by their ids.
    pub processes: Vec<Process>,
    /// Where tasks lie that changed at every try to read them, or cannot be what they should: not among
    /// [`processes`](Self::processes).
    pub torn: Vec<VirtAddr>,
}

/// A process: a group of threads, named after its leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The leader.
    pub leader: Thread,
    /// The process that started it, or that took it over: 0 for the kernel's first.
    pub ppid: u32,
    /// Whose it is.
    pub uid: Ids,
    /// Of which group it is.
    pub gid: Ids,
    /// How many threads it has, as the kernel counts them.
    pub thread_count: u32,
    /// Its memory; `None` for threads of the kernel, and where the process has ended.
    pub memory: Option<Memory>,
    /// What it was started with.
    pub command_line: CommandLine,
    /// Its threads, the leader among them; empty unless they were asked for.
    pub threads: Vec<Thread>,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Where its `task_struct` lies.
    pub at: VirtAddr,
    /// Its id; the leader's is that of the process.
    pub tid: u32,
    /// The id of its process.
    pub tgid: u32,
    /// Its name: of at most 15 bytes, but for threads of the kernel. What a worker of a workqueue is at is
    /// not added, as `/proc` does.
    pub name: String,
    /// What it does.
    pub state: TaskState,
    /// When it was started: nanoseconds since boot, time spent asleep included.
    pub start_ns: u64,
}

/// The ids of a user or of a group, in the kernel's first namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// In whose name it acts.
    pub effective: u32,
    /// In whose name it may act again.
    pub saved: u32,
    /// In whose name it opens files.
    pub file_system: u32,
}

/// The memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in RAM: every processor's part of the count added up, as `/proc/PID/status` does since 6.16 or
    /// so.
    pub rss: ByteLen,
    /// Bytes in RAM without the parts that processors since 6.2 have not handed in; this is what
    /// `/proc/PID/stat` says.
    pub rss_handed_in: ByteLen,
    /// Bytes of address space.
    pub size: ByteLen,
}

/// What a process was started with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CommandLine {
    /// Nothing: a thread of the kernel, or a process that has ended.
    None,
    /// Its arguments, each with a NUL behind it, as `/proc/PID/cmdline` has them.
    Arguments(Vec<u8>),
    /// The page at this address of the process is not in RAM.
    NotResident(VirtAddr),
}

/// Whether the threads of each process are read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// Only their number.
    Count,
    /// Each of them.
    List,
}

impl CommandLine {
    /// The arguments, each made text.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let Self::Arguments(bytes) = self else {
            return Vec::new();
        };
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        let arguments = bytes.split(|byte| *byte == 0);
        arguments
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect()
    }
}
