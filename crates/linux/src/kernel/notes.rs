use vread_addr::ByteLen;
use vread_kcore::{NT_PRPSINFO, NT_PRSTATUS, NT_TASKSTRUCT, NT_VMCOREINFO, Note, X86_64Registers};

use super::Kernel;
use crate::LinuxError;

/// The bytes of x86_64's `elf_prstatus` and of `elf_prpsinfo` (E4).
const PRSTATUS_LEN: usize = 336;
const PRPSINFO_LEN: usize = 136;
/// Where in `elf_prpsinfo` the state's letter, the name and the arguments stand, and how long they are.
const PRPSINFO_STATE: usize = 1;
const PRPSINFO_NAME: usize = 40;
const PRPSINFO_ARGUMENTS: usize = 56;
const MAX_ARGUMENTS_LEN: usize = 79;
/// The most bytes of a `task_struct`.
const MAX_TASK_LEN: u64 = 1 << 16;

/// The registers of one of the kernel's CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuRegisters {
    /// The kernel's number of the CPU.
    pub cpu: u32,
    /// What is in them.
    pub registers: X86_64Registers,
}

impl Kernel {
    /// The notes of a dump: those of [`notes`](Self::notes), with the registers of `cpus` in place of
    /// the reading task's. Without any, that task's remain, which are zeros.
    pub(crate) fn dump_notes(&self, cpus: &[CpuRegisters]) -> Vec<Note> {
        let mut notes = self.notes();
        if !cpus.is_empty() {
            notes.retain(|note| note.kind() != NT_PRSTATUS);
            let registers = cpus.iter();
            let registers = registers.map(|cpu| Note::prstatus(cpu.cpu, &cpu.registers));
            notes.splice(0..0, registers);
        }
        notes
    }

    /// The notes of the kernel's own `/proc/kcore` (E4). The task is `init_task`, since an outside
    /// reader is no task of the target (E8); its size is the one that the kernel itself uses.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        let mut notes = vec![
            Note::new("CORE", NT_PRSTATUS, vec![0; PRSTATUS_LEN]),
            Note::new("CORE", NT_PRPSINFO, prpsinfo(&self.command_line())),
        ];
        match self.init_task() {
            Ok(task) => notes.push(Note::new("CORE", NT_TASKSTRUCT, task)),
            Err(error) => tracing::debug!(%error, "no task for the notes"),
        }
        let text = self.info.text().as_bytes().to_vec();
        notes.push(Note::new("VMCOREINFO", NT_VMCOREINFO, text));
        notes
    }

    /// What the kernel was started with; empty where it cannot be read.
    #[must_use]
    pub fn command_line(&self) -> String {
        self.saved_command_line().unwrap_or_default()
    }

    /// `init_task`, as many bytes of it as the kernel counts for a task at run time.
    fn init_task(&self) -> Result<Vec<u8>, LinuxError> {
        let at = self.need_symbol("init_task")?;
        let len = match self.need_kallsyms()?.find("arch_task_struct_size") {
            Some(size) => ByteLen::new(u64::from(self.virt().read_u32(size)?)),
            None => self
                .need_btf()?
                .size_of_struct("task_struct")
                .ok_or(LinuxError::NoType {
                    name: "task_struct",
                })?,
        };
        let malformed = LinuxError::Malformed {
            what: "a task_struct",
            at,
            why: "its size is out of range",
        };
        let len = Some(len).filter(|len| len.get() <= MAX_TASK_LEN);
        let len = len.and_then(ByteLen::to_usize).ok_or(malformed)?;
        let mut task = vec![0; len];
        // Behind the static part of `init_task` there may be nothing: that is not the reader's fault.
        for (index, page) in task.chunks_mut(4096).enumerate() {
            let into = ByteLen::from_usize(index.saturating_mul(4096));
            let Some(addr) = at.checked_add(into) else {
                break;
            };
            if let Err(LinuxError::Source(failure)) = self.virt().read(addr, page) {
                return Err(failure.into());
            }
        }
        Ok(task)
    }
}

fn prpsinfo(command_line: &str) -> Vec<u8> {
    let mut bytes = vec![0; PRPSINFO_LEN];
    let arguments = command_line.as_bytes();
    let arguments = arguments.get(..MAX_ARGUMENTS_LEN.min(arguments.len()));
    let parts: [(usize, &[u8]); 3] = [
        (PRPSINFO_STATE, b"R"),
        (PRPSINFO_NAME, b"vmlinux"),
        (PRPSINFO_ARGUMENTS, arguments.unwrap_or_default()),
    ];
    for (at, part) in parts {
        let field = bytes.get_mut(at..).unwrap_or_default();
        for (byte, value) in field.iter_mut().zip(part) {
            *byte = *value;
        }
    }
    bytes
}
