//! The registers of a guest's processors, as QEMU's human monitor prints them: QMP has no command of
//! its own for them.

use std::{path::Path, time::Duration};

use serde_json::Value;
use vread_addr::VirtAddr;
use vread_kcore::X86_64Registers;

use crate::{
    QemuGuest, TargetError,
    qemu::{process, qmp::Qmp, register_words::RegisterWords},
};

/// How long QEMU may take to greet us. Whoever opens a file waits for it, and does without registers
/// where another client has the socket.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

/// The most processors listened to: QEMU's own limit is lower.
const MAX_PROCESSORS: usize = 1 << 14;

const COMMAND: &str = "info registers -a";

/// A processor of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Processor {
    /// QEMU's number of it.
    pub(crate) index: u32,
    /// What is in its registers.
    pub(crate) registers: X86_64Registers,
    /// Where its global descriptor table lies.
    pub(crate) descriptor_table: VirtAddr,
}

/// What is in the registers of all processors of `guest` now. None of them stops for it: under KVM each
/// leaves the guest for a moment, under TCG each runs on, so that its registers may be of two moments
/// that lie nanoseconds apart.
pub(crate) fn of_guest(guest: &QemuGuest) -> Result<Vec<Processor>, TargetError> {
    let mut qmp = connect(guest, &guest.socket)?;
    let text = qmp.human(COMMAND)?;
    let processors = parse(&text);
    if processors.is_empty() {
        let expected = "the registers of at least one x86_64 processor";
        return Err(qmp.unexpected(COMMAND, expected, &Value::String(text)));
    }
    Ok(processors)
}

/// A path is only a name: the QEMU behind it may by now be another one.
pub(super) fn connect(guest: &QemuGuest, socket: &Path) -> Result<Qmp, TargetError> {
    let qmp = Qmp::connect(socket, GREETING_TIMEOUT)?;
    let owner = process::owner_of(&qmp, &mut guest.ram.clone())?;
    if owner != guest.pid {
        return Err(TargetError::SocketOfAnother {
            path: socket.to_owned(),
            pid: guest.pid,
            owner,
        });
    }
    Ok(qmp)
}

/// Blocks of a line `CPU#0` and lines of registers behind it. A processor without all of its general
/// registers is left out.
fn parse(text: &str) -> Vec<Processor> {
    let mut processors = Vec::new();
    for block in text.split("CPU#").skip(1).take(MAX_PROCESSORS) {
        let (index, registers) = block.split_once('\n').unwrap_or((block, ""));
        let processor = index
            .trim()
            .parse()
            .ok()
            .and_then(|index| parse_processor(index, registers));
        match processor {
            Some(processor) => processors.push(processor),
            None => tracing::debug!(index, "a processor without the registers that are known"),
        }
    }
    processors
}

fn parse_processor(index: u32, text: &str) -> Option<Processor> {
    let words = RegisterWords::of(text);
    let registers = X86_64Registers {
        r15: words.upper("R15"),
        r14: words.upper("R14"),
        r13: words.upper("R13"),
        r12: words.upper("R12"),
        rbp: words.general("RBP", "EBP")?,
        rbx: words.general("RBX", "EBX")?,
        r11: words.upper("R11"),
        r10: words.upper("R10"),
        r9: words.upper("R9"),
        r8: words.upper("R8"),
        rax: words.general("RAX", "EAX")?,
        rcx: words.general("RCX", "ECX")?,
        rdx: words.general("RDX", "EDX")?,
        rsi: words.general("RSI", "ESI")?,
        rdi: words.general("RDI", "EDI")?,
        rip: words.general("RIP", "EIP")?,
        cs: words.value("CS")?,
        rflags: words.general("RFL", "EFL")?,
        rsp: words.general("RSP", "ESP")?,
        ss: words.value("SS")?,
        fs_base: words.base("FS")?,
        gs_base: words.base("GS")?,
        ds: words.value("DS")?,
        es: words.value("ES")?,
        fs: words.value("FS")?,
        gs: words.value("GS")?,
    };
    Some(Processor {
        index,
        registers,
        descriptor_table: VirtAddr::new(words.base("GDT")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As QEMU 7.2 prints a halted processor; its vector registers are left out.
    const IN_64_BIT_CODE: &str = "\
RAX=000000000001ad40 RBX=0000000000000002 RCX=0000000000000001 RDX=4000000000000000\r
RSI=0000000000000087 RDI=00000000000389fc RBP=ff49a1464125a0c0 RSP=ff7407eb8009bed8\r
R8 =0000000000000008 R9 =00000000315684e7 R10=00000000fffffffb R11=000000000000000b\r
R12=0000000000000001 R13=000000000000000d R14=000000000000000e R15=000000000000000f\r
RIP=ffffffffb060dfeb RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r
ES =0000 0000000000000000 00000000 00000000\r
CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]\r
SS =0018 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]\r
DS =0000 0000000000000000 00000000 00000000\r
FS =0000 00007f0000001000 00000000 00000000\r
GS =0000 ff49a1465f100000 00000000 00000000\r
LDT=0000 0000000000000000 00000000 00008200 DPL=0 LDT\r
TR =0040 fffffe000003e000 00004087 00008900 DPL=0 TSS64-avl\r
GDT=     fffffe000003c000 0000007f\r
IDT=     fffffe0000000000 00000fff\r
CR0=80050033 CR2=0000000000000000 CR3=0000000001058000 CR4=00751ea0\r
";

    /// As QEMU prints a processor that has just been switched on.
    const IN_16_BIT_CODE: &str = "\
EAX=00000001 EBX=00000002 ECX=00000003 EDX=00060fb1\r
ESI=00000000 EDI=00000000 EBP=00000000 ESP=00000007\r
EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\r
ES =0000 00000000 0000ffff 00009300\r
CS =f000 ffff0000 0000ffff 00009b00\r
SS =0000 00000000 0000ffff 00009300\r
DS =0000 00000000 0000ffff 00009300\r
FS =0000 00000000 0000ffff 00009300\r
GS =0000 00000000 0000ffff 00009300\r
GDT=     00000000 0000ffff\r
";

    #[test]
    fn reads_processors_in_64_and_16_bit_code() {
        let text = format!("\r\nCPU#1\r\n{IN_64_BIT_CODE}\r\nCPU#12\r\n{IN_16_BIT_CODE}");
        let [kernel, fresh] = parse(&text)[..] else {
            panic!("two processors expected");
        };
        let registers = X86_64Registers {
            r15: 15,
            r14: 14,
            r13: 13,
            r12: 1,
            rbp: 0xff49_a146_4125_a0c0,
            rbx: 2,
            r11: 11,
            r10: 0xffff_fffb,
            r9: 0x3156_84e7,
            r8: 8,
            rax: 0x1_ad40,
            rcx: 1,
            rdx: 0x4000_0000_0000_0000,
            rsi: 0x87,
            rdi: 0x3_89fc,
            rip: 0xffff_ffff_b060_dfeb,
            cs: 0x10,
            rflags: 0x246,
            rsp: 0xff74_07eb_8009_bed8,
            ss: 0x18,
            fs_base: 0x7f00_0000_1000,
            gs_base: 0xff49_a146_5f10_0000,
            ..X86_64Registers::default()
        };
        assert_eq!((kernel.index, kernel.registers), (1, registers));
        assert_eq!(
            kernel.descriptor_table,
            VirtAddr::new(0xffff_fe00_0003_c000)
        );
        assert_eq!((fresh.index, fresh.registers.rip), (12, 0xfff0));
        assert_eq!((fresh.registers.cs, fresh.registers.rsp), (0xf000, 7));
        assert_eq!(fresh.descriptor_table, VirtAddr::new(0));
    }

    #[test]
    fn leaves_out_a_processor_that_is_cut_short_or_says_nonsense() {
        // Behind the table's base nothing is needed.
        let enough = IN_64_BIT_CODE.find("0000007f").unwrap();
        for len in 0..enough {
            if let Some(found) = parse_processor(0, &IN_64_BIT_CODE[..len]) {
                // Only a table's base may be cut in the middle of its digits.
                assert!(len > IN_64_BIT_CODE.find("GDT=").unwrap(), "{found:?}");
            }
        }
        for (good, bad) in [
            ("RIP=ffffffffb060dfeb", "RIP=+fffffffb060dfeb"),
            ("RIP=ffffffffb060dfeb", "RIP=fffffffffb060dfeb"),
            ("RIP=ffffffffb060dfeb", "RIP="),
            ("RIP=ffffffffb060dfeb", "rip=ffffffffb060dfeb"),
            ("CS =0010", "CS =@@@@"),
        ] {
            let text = IN_64_BIT_CODE.replace(good, bad);
            assert_eq!(parse_processor(0, &text), None, "{bad}");
        }
        for text in ["", "CPU#", "CPU#\n", "CPU#x\nRAX=0", "CPU#99999999999\n"] {
            assert_eq!(parse(text), [], "{text:?}");
        }
    }

    #[test]
    fn listens_to_a_bounded_number_of_processors() {
        let text = format!("CPU#0\n{IN_64_BIT_CODE}").repeat(MAX_PROCESSORS.saturating_add(1));
        assert_eq!(parse(&text).len(), MAX_PROCESSORS);
    }
}
