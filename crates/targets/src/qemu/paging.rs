//! What the guest's first vCPU uses for paging: where its kernel begins.

use vread_iov_iter::SourceFailure;
use vread_linux::{CpuPaging, Kernel, PagingLevels};

use crate::{
    TargetError,
    qemu::{qmp::Qmp, register_words::RegisterWords},
};

/// `CR0.PG`: paging is on.
const PAGING: u64 = 1 << 31;
/// `EFER.LMA`: the processor is in 64-bit mode.
const LONG_MODE: u64 = 1 << 10;
/// `CR4.LA57`: tables have five levels.
const LA57: u64 = 1 << 12;

/// What the first vCPU's registers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CpuWord {
    /// Nothing that is known: a QEMU without a human monitor, or of another kind.
    Untold,
    /// It runs no 64-bit kernel: the guest is in its firmware or boot loader.
    NoKernel,
    /// It runs with these tables, which may be a firmware's too.
    Paging(CpuPaging),
}

impl CpuWord {
    /// The tables, where there are some.
    pub(crate) fn paging(self) -> Option<CpuPaging> {
        match self {
            Self::Paging(paging) => Some(paging),
            Self::Untold | Self::NoKernel => None,
        }
    }

    /// Whether `kernel` runs, or may: the vCPU's tables map it.
    pub(crate) fn may_run(self, kernel: &Kernel) -> Result<bool, SourceFailure> {
        match self {
            Self::Untold => Ok(true),
            Self::NoKernel => Ok(false),
            Self::Paging(paging) => kernel.is_run_by(paging),
        }
    }
}

/// Asks for the registers, without stopping the guest.
pub(crate) fn of_first_cpu(qmp: &mut Qmp) -> Result<CpuWord, TargetError> {
    match qmp.human("info registers") {
        Ok(text) => Ok(parse(&text).unwrap_or(CpuWord::Untold)),
        Err(TargetError::QmpCommand { .. }) => Ok(CpuWord::Untold),
        Err(other) => Err(other),
    }
}

fn parse(text: &str) -> Option<CpuWord> {
    let words = RegisterWords::of(text);
    let (cr0, cr4, efer) = (
        words.value("CR0")?,
        words.value("CR4")?,
        words.value("EFER")?,
    );
    if cr0 & PAGING == 0 || efer & LONG_MODE == 0 {
        return Some(CpuWord::NoKernel);
    }
    Some(CpuWord::Paging(CpuPaging {
        cr3: words.value("CR3")?,
        levels: match cr4 & LA57 {
            0 => PagingLevels::Four,
            _ => PagingLevels::Five,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    // What QEMU 7.2 prints, cut to the lines that matter.
    const KERNEL: &str = "\r
CPU#0\r
RIP=ffffffffb5ab00df RFL=00000202 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\r
IDT=     fffffe0000000000 00000fff\r
CR0=80050033 CR2=00007f8ebee16000 CR3=0000000001a34000 CR4=00751ef0\r
EFER=0000000000000d01\r
";

    #[test]
    fn reads_a_kernels_paging() {
        let paging = |text: &str| parse(text).and_then(CpuWord::paging).unwrap();
        assert_eq!(paging(KERNEL).cr3, 0x1a3_4000);
        assert_eq!(paging(KERNEL).levels, PagingLevels::Five);
        let four = KERNEL.replace("CR4=00751ef0", "CR4=00750ef0");
        assert_eq!(paging(&four).levels, PagingLevels::Four);
    }

    #[test]
    fn tells_a_firmware_from_what_it_does_not_understand() {
        let no_paging = KERNEL.replace("CR0=8", "CR0=0");
        assert_eq!(parse(&no_paging), Some(CpuWord::NoKernel));
        assert_eq!(
            parse(&KERNEL.replace("0d01", "0001")),
            Some(CpuWord::NoKernel)
        );
        assert_eq!(parse(&KERNEL.replace("CR3=", "CR3=x")), None);
        assert_eq!(parse(""), None);
    }
}
