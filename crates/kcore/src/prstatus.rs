use alloc::vec::Vec;

use crate::{NT_PRSTATUS, Note};

/// Bytes of x86_64's `struct elf_prstatus` (E4).
const PRSTATUS_LEN: usize = 336;
/// Where `pr_pid` and `pr_reg` stand in it.
const PR_PID: usize = 32;
const PR_REG: usize = 112;
/// What the kernel gives a CPU that is in no system call (`orig_ax`).
const NO_SYSTEM_CALL: u64 = u64::MAX;

/// The general registers of an x86_64 CPU, in the order of `struct user_regs_struct`; `orig_ax` is not
/// a register.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the processor's own")]
pub struct X86_64Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

impl Note {
    /// The registers of CPU number `cpu` (`NT_PRSTATUS`), as a dump of a kernel has them.
    ///
    /// `pr_pid` is the number plus one: gdb makes it the number of a thread, of which there is no 0, and
    /// drgn looks a CPU up by it. Everything else in the note is zero.
    #[must_use]
    pub fn prstatus(cpu: u32, registers: &X86_64Registers) -> Self {
        let mut descriptor = Vec::with_capacity(PRSTATUS_LEN);
        descriptor.resize(PR_PID, 0);
        descriptor.extend_from_slice(&cpu.saturating_add(1).to_le_bytes());
        descriptor.resize(PR_REG, 0);
        for word in registers.user_regs() {
            descriptor.extend_from_slice(&word.to_le_bytes());
        }
        descriptor.resize(PRSTATUS_LEN, 0);
        Self::new("CORE", NT_PRSTATUS, descriptor)
    }
}

impl X86_64Registers {
    fn user_regs(&self) -> [u64; 27] {
        [
            self.r15,
            self.r14,
            self.r13,
            self.r12,
            self.rbp,
            self.rbx,
            self.r11,
            self.r10,
            self.r9,
            self.r8,
            self.rax,
            self.rcx,
            self.rdx,
            self.rsi,
            self.rdi,
            NO_SYSTEM_CALL,
            self.rip,
            self.cs,
            self.rflags,
            self.rsp,
            self.ss,
            self.fs_base,
            self.gs_base,
            self.ds,
            self.es,
            self.fs,
            self.gs,
        ]
    }
}
