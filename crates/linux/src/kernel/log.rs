use vread_addr::VirtAddr;

use super::Kernel;
use crate::LinuxError;
use crate::log::{Log, LogLayout, read_log};

/// A function that only kernels with `CONFIG_PRINTK_CALLER` have.
const PRINTS_CALLERS: &str = "print_caller";

impl Kernel {
    /// The kernel's log as it is now (5.10 and later).
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where the kernel does not say where its log is, or the log cannot be read.
    pub fn log(&self) -> Result<Log, LinuxError> {
        let layout = LogLayout::new(&self.info, self.btf.as_deref())?;
        let prb = self
            .info
            .symbol("prb")
            .ok_or(LinuxError::NoKey { key: "SYMBOL(prb)" })?;
        let log = read_log(self.virt(), &layout, prb)?;
        let symbol = |name| {
            self.kallsyms
                .as_ref()
                .and_then(|symbols| symbols.find(name))
        };
        let is_set = |at: VirtAddr| {
            let value: [u8; 1] = self.virt().read_array(at).unwrap_or([1]);
            value != [0]
        };
        Ok(Log {
            // `printk.time`; on where it cannot be seen, as nearly everywhere.
            with_time: symbol("printk_time").is_none_or(is_set),
            with_caller: symbol(PRINTS_CALLERS).is_some(),
            ..log
        })
    }
}
