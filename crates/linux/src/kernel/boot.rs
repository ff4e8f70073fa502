//! Whether a kernel is still the one that was attached to.

use vread_addr::PhysAddr;
use vread_iov_iter::SourceFailure;

use super::{CpuPaging, Kernel};
use crate::virt_mem::{VirtMem, read_phys};
use crate::{Btf, Kallsyms, LinuxError};

/// How much of VMCOREINFO's page is compared.
const TEXT_LEN: usize = 32;

/// What one boot of a kernel has in memory and the next has not, read once when attaching.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub(super) struct BootMark {
    /// `init_task.stack_canary`: a random number that the kernel draws when it starts and keeps. The image
    /// that is loaded for the next boot has zeros there.
    canary: Option<(PhysAddr, u64)>,
    /// The first bytes of the page that VMCOREINFO was found in.
    text: [u8; TEXT_LEN],
}

impl BootMark {
    pub(super) fn read(
        virt: VirtMem<'_>,
        page: PhysAddr,
        kallsyms: Option<&Kallsyms>,
        btf: Option<&Btf>,
    ) -> Self {
        let canary = || {
            let at = kallsyms?.find("init_task")?;
            let at = at.checked_add(btf?.offset_of("task_struct.stack_canary")?)?;
            let at = virt.table.translate(virt.mem, at).ok()??;
            Some((at, virt.mem.read_u64(at).ok()?))
        };
        let mut text = [0; TEXT_LEN];
        // It was read a moment ago. Where that fails now, later comparisons fail too.
        if virt.mem.read(page, &mut text).is_err() {
            text.fill(0xff);
        }
        Self {
            canary: canary(),
            text,
        }
    }
}

impl Kernel {
    /// Whether memory still holds what only this boot of the kernel has. A restart shows here as soon as
    /// something else lies where the kernel was, which a new boot may leave undone for long: a processor's
    /// word ([`Kernel::is_run_by`]) is surer. Two small reads.
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where memory as a whole can no longer be read.
    pub fn is_in_memory(&self) -> Result<bool, SourceFailure> {
        let failed = |error| match error {
            LinuxError::Source(failure) => Err(failure),
            _ => Ok(false),
        };
        let mut text = [0; TEXT_LEN];
        if let Err(error) = read_phys(&self.mem, self.vmcoreinfo_page, &mut text) {
            return failed(error);
        }
        if text != self.boot_mark.text {
            return Ok(false);
        }
        let Some((at, canary)) = self.boot_mark.canary else {
            return Ok(true);
        };
        let mut now = [0; 8];
        match read_phys(&self.mem, at, &mut now) {
            Ok(()) => Ok(u64::from_le_bytes(now) == canary),
            Err(error) => failed(error),
        }
    }

    /// Whether a processor that uses these tables runs this kernel: they map its image to where it is.
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where memory as a whole can no longer be read.
    pub fn is_run_by(&self, cpu: CpuPaging) -> Result<bool, SourceFailure> {
        let Some(stext) = self.info.symbol("_stext") else {
            return Ok(false);
        };
        let ours = self.table.translate(&self.mem, stext)?;
        if cpu.levels != self.table.levels() {
            return Ok(false);
        }
        for root in cpu.roots() {
            let table = self.table.with_root(root);
            if ours.is_some() && table.translate(&self.mem, stext)? == ours {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The kernel's count of ticks, which stands still in a machine that does.
    #[must_use]
    pub fn jiffies(&self) -> Option<u64> {
        let at = self.kallsyms.as_ref()?.find("jiffies_64")?;
        self.virt().read_u64(at).ok()
    }
}
