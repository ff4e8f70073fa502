use super::Kernel;
use crate::LinuxError;
use crate::mounts::{Mount, MountLayout};
use crate::tasks::Threads;

/// The first process.
const INIT: u32 = 1;

impl Kernel {
    /// What is mounted now, as the first process sees it: `/proc/1/mounts`, in its order.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where symbols or types are missing, or mounts cannot be read.
    pub fn mounts(&self) -> Result<Vec<Mount>, LinuxError> {
        let layout = MountLayout::from_btf(self.need_btf()?)?;
        let tasks = self.tasks(Threads::Count)?;
        let mut leaders = tasks.processes.iter().map(|process| &process.leader);
        let task = match leaders.find(|leader| leader.tid == INIT) {
            Some(init) => init.at,
            None => self.need_symbol("init_task")?,
        };
        layout.read(self.virt(), task)
    }
}
