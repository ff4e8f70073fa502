use crate::record::{Field, Shape};
use crate::{Btf, LinuxError};

/// Where the members of a task and of what it leads to lie, from BTF.
#[derive(Debug)]
pub(crate) struct TaskLayout {
    pub(super) task: Shape,
    pub(super) tasks: Field,
    pub(super) thread_node: Field,
    pub(super) pid: Field,
    pub(super) tgid: Field,
    pub(super) comm: Field,
    pub(super) state: Field,
    pub(super) exit_state: Field,
    pub(super) start_boottime: Field,
    pub(super) mm: Field,
    pub(super) real_parent: Field,
    pub(super) cred: Field,
    pub(super) signal: Field,
    pub(super) flags: Field,
    /// A kernel thread's `struct kthread`, and the whole name in it (since 5.17).
    pub(super) worker_private: Option<Field>,
    pub(super) kthread: Shape,
    pub(super) full_name: Option<Field>,
    /// The parent's id alone.
    pub(super) parent: Shape,
    pub(super) parent_tgid: Field,
    pub(super) creds: Shape,
    /// Real, effective, saved and file system's.
    pub(super) uids: [Field; 4],
    pub(super) gids: [Field; 4],
    pub(super) signals: Shape,
    pub(super) nr_threads: Field,
    pub(super) thread_head: Field,
}

impl TaskLayout {
    pub(crate) fn from_btf(btf: &Btf) -> Result<Self, LinuxError> {
        let mut task = Shape::new("a task");
        let mut parent = Shape::new("a task's parent");
        let mut creds = Shape::new("a task's credentials");
        let mut kthread = Shape::new("a kernel thread");
        let mut signals = Shape::new("a process's signals");
        let moving = |shape: &mut Shape, name: &'static str| {
            let found = shape.find_moving(btf, name);
            found.ok_or(LinuxError::NoType { name })
        };
        // Since 5.14 it has underscores, so that nobody reads it carelessly.
        let state = match task.find_moving(btf, "task_struct.__state") {
            Some(state) => state,
            None => moving(&mut task, "task_struct.state")?,
        };
        let comm = task.need(btf, "task_struct.comm")?;
        Ok(Self {
            tasks: task.need(btf, "task_struct.tasks")?,
            thread_node: task.need(btf, "task_struct.thread_node")?,
            pid: task.need(btf, "task_struct.pid")?,
            tgid: task.need(btf, "task_struct.tgid")?,
            comm,
            state,
            exit_state: moving(&mut task, "task_struct.exit_state")?,
            start_boottime: task.need(btf, "task_struct.start_boottime")?,
            mm: task.need(btf, "task_struct.mm")?,
            real_parent: task.need(btf, "task_struct.real_parent")?,
            cred: task.need(btf, "task_struct.real_cred")?,
            signal: task.need(btf, "task_struct.signal")?,
            flags: moving(&mut task, "task_struct.flags")?,
            worker_private: task.find(btf, "task_struct.worker_private"),
            task,
            full_name: kthread.find(btf, "kthread.full_name"),
            kthread,
            parent_tgid: parent.need(btf, "task_struct.tgid")?,
            parent,
            uids: [
                creds.need(btf, "cred.uid")?,
                creds.need(btf, "cred.euid")?,
                creds.need(btf, "cred.suid")?,
                creds.need(btf, "cred.fsuid")?,
            ],
            gids: [
                creds.need(btf, "cred.gid")?,
                creds.need(btf, "cred.egid")?,
                creds.need(btf, "cred.sgid")?,
                creds.need(btf, "cred.fsgid")?,
            ],
            creds,
            nr_threads: moving(&mut signals, "signal_struct.nr_threads")?,
            thread_head: signals.need(btf, "signal_struct.thread_head")?,
            signals,
        })
    }
}
