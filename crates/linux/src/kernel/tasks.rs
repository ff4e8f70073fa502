use super::Kernel;
use crate::LinuxError;
use crate::tasks::{MemoryLayout, PerCpu, TaskLayout, Tasks, Threads, Walk};

impl Kernel {
    /// What runs in the target now: processes, and their threads if `threads` asks for them.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where symbols or types are missing, or the list of tasks cannot be read.
    pub fn tasks(&self, threads: Threads) -> Result<Tasks, LinuxError> {
        let btf = self.need_btf()?;
        let walk = Walk {
            virt: self.virt(),
            tasks: TaskLayout::from_btf(btf)?,
            memory: MemoryLayout::from_btf(btf)?,
            per_cpu: self.per_cpu().ok(),
        };
        walk.read(self.need_symbol("init_task")?, threads)
    }

    /// Where each processor's variables lie.
    fn per_cpu(&self) -> Result<PerCpu, LinuxError> {
        let count = self.virt().read_u32(self.need_symbol("nr_cpu_ids")?)?;
        let offsets = self.need_symbol("__per_cpu_offset")?;
        PerCpu::read(self.virt(), offsets, count.into())
    }
}
