use vread_addr::VirtAddr;

use super::{
    CommandLine, Ids, MemoryLayout, PerCpu, Process, TaskLayout, TaskState, Tasks, Thread, Threads,
};
use crate::LinuxError;
use crate::list::walk_list;
use crate::record::{Field, Record, again_if_torn};
use crate::virt_mem::VirtMem;

/// The most processes, and the most threads (G73). A kernel could have 2^22; a hostile one whose tasks lie
/// one in another would then keep us busy for half a minute, and fill a gigabyte.
const MAX_TASKS: usize = 1 << 18;
/// The most bytes of all command lines together.
const MAX_COMMAND_LINES: usize = 32 << 20;
/// A bit of `task_struct.flags`: a thread of the kernel's own.
const PF_KTHREAD: u64 = 0x0020_0000;
/// The longest name of a kernel thread.
const MAX_NAME_LEN: usize = 128;
/// What the kernel writes over the links of an entry that it takes out of a list (`LIST_POISON2`).
const TAKEN_OUT: u64 = 0xdead_0000_0000_0122;

/// What a walk over all tasks needs.
#[derive(Debug)]
pub(crate) struct Walk<'m> {
    pub(crate) virt: VirtMem<'m>,
    pub(crate) tasks: TaskLayout,
    pub(crate) memory: MemoryLayout,
    pub(crate) per_cpu: Option<PerCpu>,
}

impl Walk<'_> {
    /// Every process but the idle tasks, which have no files in `/proc` either.
    pub(crate) fn read(&self, init_task: VirtAddr, threads: Threads) -> Result<Tasks, LinuxError> {
        let head = self.address(init_task, self.tasks.tasks)?;
        let leaders = again_if_torn(|| self.list(head, self.tasks.tasks, MAX_TASKS))?;
        let mut tasks = Tasks::default();
        let mut budget = Budget {
            command_lines: MAX_COMMAND_LINES,
            threads: MAX_TASKS,
        };
        for at in leaders {
            match again_if_torn(|| self.read_process(at, threads, &mut budget)) {
                Ok(Some(process)) => tasks.processes.push(process),
                // It has ended since the list was read.
                Ok(None) => {}
                Err(LinuxError::Source(failure)) => return Err(failure.into()),
                Err(error @ LinuxError::TooMany { .. }) => return Err(error),
                Err(error) => {
                    tracing::debug!(%at, %error, "a task cannot be read");
                    tasks.torn.push(at);
                }
            }
        }
        tasks.processes.sort_by_key(|process| process.leader.tid);
        Ok(tasks)
    }

    /// The tasks of the list at `head`, which is linked through the member `link`.
    fn list(&self, head: VirtAddr, link: Field, limit: usize) -> Result<Vec<VirtAddr>, LinuxError> {
        let mut tasks = Vec::new();
        walk_list(self.virt, "the list of tasks", head, limit, |node| {
            let task = node.checked_sub(link.offset());
            tasks.push(task.ok_or(LinuxError::NotMapped { addr: node })?);
            Ok(())
        })?;
        Ok(tasks)
    }

    fn address(&self, of: VirtAddr, member: Field) -> Result<VirtAddr, LinuxError> {
        let at = of.checked_add(member.offset());
        at.ok_or(LinuxError::NotMapped { addr: of })
    }

    fn read_process(
        &self,
        at: VirtAddr,
        threads: Threads,
        budget: &mut Budget,
    ) -> Result<Option<Process>, LinuxError> {
        let layout = &self.tasks;
        let task = layout.task.read(self.virt, at)?;
        if is_taken_out(&task, layout.tasks) {
            return Ok(None);
        }
        let parent = layout
            .parent
            .read(self.virt, task.pointer(layout.real_parent))?;
        let creds = layout.creds.read(self.virt, task.pointer(layout.cred))?;
        let signals = layout
            .signals
            .read(self.virt, task.pointer(layout.signal))?;
        let mm = match task.pointer(layout.mm) {
            none if none.get() == 0 => None,
            mm => Some(self.memory.read(self.virt, mm)?),
        };
        let command_line = match &mm {
            Some(mm) => self
                .memory
                .command_line(self.virt, mm, &mut budget.command_lines)?,
            None => CommandLine::None,
        };
        let memory = mm.map(|mm| self.memory.usage(self.virt, self.per_cpu.as_ref(), &mm));
        let head = signals.address_of(layout.thread_head);
        let listed = match threads {
            Threads::Count => Vec::new(),
            Threads::List => self.read_threads(head, budget)?,
        };
        // All of this was that task's if it still is the task that it was.
        let after = layout.task.read(self.virt, at)?;
        let same = |member: Field| after.bytes(member) == task.bytes(member);
        if ![layout.pid, layout.mm, layout.signal, layout.cred]
            .into_iter()
            .all(same)
        {
            return Err(LinuxError::Torn {
                what: "a task",
                at,
                tries: 1,
            });
        }
        let ids = |fields: [Field; 4]| {
            let [real, effective, saved, file_system] = fields.map(|f| low_half(creds.number(f)));
            Ids {
                real,
                effective,
                saved,
                file_system,
            }
        };
        Ok(Some(Process {
            leader: self.thread(&task)?,
            ppid: low_half(parent.number(layout.parent_tgid)),
            uid: ids(layout.uids),
            gid: ids(layout.gids),
            thread_count: low_half(signals.number(layout.nr_threads)),
            memory,
            command_line,
            threads: listed,
        }))
    }

    /// The threads of the process whose list of them begins at `head`.
    fn read_threads(&self, head: VirtAddr, budget: &mut Budget) -> Result<Vec<Thread>, LinuxError> {
        let layout = &self.tasks;
        let mut threads = Vec::new();
        for at in self.list(head, layout.thread_node, budget.threads)? {
            let task = layout.task.read(self.virt, at)?;
            if !is_taken_out(&task, layout.thread_node) {
                threads.push(self.thread(&task)?);
            }
        }
        budget.threads = budget.threads.saturating_sub(threads.len());
        threads.sort_by_key(|thread| thread.tid);
        Ok(threads)
    }

    fn thread(&self, task: &Record) -> Result<Thread, LinuxError> {
        let layout = &self.tasks;
        Ok(Thread {
            at: task.at,
            tid: low_half(task.number(layout.pid)),
            tgid: low_half(task.number(layout.tgid)),
            name: match self.full_name(task)? {
                Some(name) => name,
                None => task.text(layout.comm),
            },
            state: TaskState::new(task.number(layout.state), task.number(layout.exit_state)),
            start_ns: task.number(layout.start_boottime),
        })
    }

    /// The name of a kernel thread whose own is too long for `comm`.
    fn full_name(&self, task: &Record) -> Result<Option<String>, LinuxError> {
        let layout = &self.tasks;
        let (Some(private), Some(name)) = (layout.worker_private, layout.full_name) else {
            return Ok(None);
        };
        let kthread = task.pointer(private);
        if task.number(layout.flags) & PF_KTHREAD == 0 || kthread.get() == 0 {
            return Ok(None);
        }
        let at = layout.kthread.read(self.virt, kthread)?.pointer(name);
        if at.get() == 0 {
            return Ok(None);
        }
        let name = self.virt.read_string(at, MAX_NAME_LEN)?;
        Ok(Some(String::from_utf8_lossy(&name).into_owned()))
    }
}

/// How much more may be read of what a hostile target can make as long as it likes.
struct Budget {
    command_lines: usize,
    threads: usize,
}

/// Whether the kernel has taken the task out of the list that `link` is in.
fn is_taken_out(task: &Record, link: Field) -> bool {
    let previous = task.bytes(link).get(8..).unwrap_or_default();
    crate::record::little_endian(previous) == TAKEN_OUT
}

/// The lower 32 bits: ids are as wide.
fn low_half(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).unwrap_or_default()
}
