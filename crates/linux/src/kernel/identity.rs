use memchr::memmem;
use vread_addr::VirtAddr;

use super::Kernel;
use super::identify::{UtsnameField, read_utsname};
use super::parts::image_of;
use crate::LinuxError;

/// The longest banner; the kernel's own file has at most a page.
const MAX_BANNER_LEN: usize = 4096;
/// How many places that begin like a banner are looked at; an image has two.
const MAX_BANNERS: usize = 64;
/// The longest command line: the boot protocol's 2 KiB, and what a boot configuration may add.
const MAX_COMMAND_LINE_LEN: usize = 64 << 10;

impl Kernel {
    /// What the kernel calls itself, with the end of the line: `/proc/version`.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where it is not found, or the text cannot be read.
    pub fn version(&self) -> Result<String, LinuxError> {
        let at = match self.kallsyms {
            Some(_) => self.need_symbol("linux_banner")?,
            None => self.find_banner()?,
        };
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

    /// The banner in the image: it begins with the release and ends with the version, which is not so of
    /// the one that an image has besides, from before its build was counted.
    fn find_banner(&self) -> Result<VirtAddr, LinuxError> {
        let image = image_of(self.virt(), &self.info, self.phys_base)?;
        let start = format!("Linux version {} (", self.release);
        let version = read_utsname(self.virt(), &self.info, UtsnameField::Version)?;
        let end = format!(" {version}\n");
        let mut looks_left = MAX_BANNERS;
        let found = image.find(start.len().saturating_sub(1), |part| {
            for index in memmem::find_iter(part.bytes(), &start) {
                let Some(left) = looks_left.checked_sub(1) else {
                    return Ok(None);
                };
                looks_left = left;
                if let Some(at) = image.addr(part.position(index))
                    && let Ok(banner) = self.virt().read_string(at, MAX_BANNER_LEN)
                    && banner.ends_with(end.as_bytes())
                {
                    return Ok(Some(at));
                }
            }
            Ok(None)
        })?;
        found.ok_or(LinuxError::Needs {
            what: "the kernel's banner in its image",
        })
    }
}
