use super::Kernel;
use crate::LinuxError;

/// The longest banner; the kernel's own file has at most a page.
const MAX_BANNER_LEN: usize = 4096;
/// The longest command line: the boot protocol's 2 KiB, and what a boot configuration may add.
const MAX_COMMAND_LINE_LEN: usize = 64 << 10;

impl Kernel {
    /// What the kernel calls itself, with the end of the line: `/proc/version`.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where there are no symbols, or the text cannot be read.
    pub fn version(&self) -> Result<String, LinuxError> {
        let at = self.need_symbol("linux_banner")?;
        let banner = self.virt().read_string(at, MAX_BANNER_LEN)?;
        Ok(String::from_utf8_lossy(&banner).into_owned())
    }

    /// What the kernel was started with, without an end of the line: `/proc/cmdline`.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where there are no symbols, or the text cannot be read.
    pub fn saved_command_line(&self) -> Result<String, LinuxError> {
        let pointer = self.need_symbol("saved_command_line")?;
        let at = self.virt().read_pointer(pointer)?;
        let text = self.virt().read_string(at, MAX_COMMAND_LINE_LEN)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
