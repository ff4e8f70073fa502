//! The registers in the notes of `vmcore`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use vread_guests::{Guest, ensure_packages};

use crate::mounted::Mounted;
use crate::program::{stdout, wait_for};

const CPUS: u64 = 2;
/// `elf_prstatus` of x86_64: its size, and where `pr_pid`, `rip`, `cs` and `gs_base` stand.
const PRSTATUS_LEN: usize = 336;
const PR_PID: usize = 32;
const RIP: usize = 112 + 16 * 8;
const CS: usize = 112 + 17 * 8;
const GS_BASE: usize = 112 + 22 * 8;

struct Prstatus(Vec<u8>);

impl Prstatus {
    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    fn pid(&self) -> u32 {
        u32::from_le_bytes(self.0[PR_PID..PR_PID + 4].try_into().unwrap())
    }
}

/// One note for each CPU, in order, of this moment, with the base of GS that the kernel itself gave
/// that CPU; gdb makes a thread of each.
pub(crate) fn notes_have_the_registers_of_each_cpu(guest: &Guest) {
    let mounted = Mounted::new(guest);
    let kallsyms = guest.read_text("/proc/kallsyms").unwrap();
    let addr = |name: &str| {
        let suffix = format!(" {name}");
        let line = kallsyms
            .lines()
            .find(|line| line.ends_with(&suffix))
            .unwrap();
        u64::from_str_radix(&line[..16], 16).unwrap()
    };
    let (text, text_end) = (addr("_stext"), addr("_etext"));
    let offsets: Vec<u64> = (0..CPUS)
        .map(|cpu| {
            let at = addr("__per_cpu_offset") + 8 * cpu;
            let bytes = guest.kcore_read(at, 8).unwrap();
            u64::from_le_bytes(bytes.try_into().unwrap())
        })
        .collect();
    let mut in_kernel = [0; CPUS as usize];
    // Now and then a CPU is in user mode, where GS is not the kernel's.
    wait_for("each CPU to be in the kernel", || {
        let notes = prstatus(&head(&mounted.vmcore()));
        assert_eq!(notes.len() as u64, CPUS);
        for (cpu, note) in notes.iter().enumerate() {
            assert_eq!(note.pid() as usize, cpu + 1);
            let in_text = (text..text_end).contains(&note.word(RIP));
            if note.word(CS) == 0x10 && in_text && note.word(GS_BASE) == offsets[cpu] {
                in_kernel[cpu] += 1;
            }
        }
        in_kernel.iter().all(|times| *times > 0)
    });
    ensure_packages(&["gdb"]).unwrap();
    let core = format!("core-file {}", mounted.vmcore().display());
    let threads =
        stdout(Command::new("gdb").args(["--nx", "--batch", "-ex", &core, "-ex", "info threads"]));
    for thread in ["LWP 1 ", "LWP 2 "] {
        assert!(threads.contains(thread), "{threads}");
    }
}

/// The descriptors of the notes of type 1 called CORE.
fn prstatus(file: &[u8]) -> Vec<Prstatus> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let long = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize;
    // The first program header is the notes'.
    let (mut at, end) = (long(64 + 8), long(64 + 8) + long(64 + 32));
    let mut found = Vec::new();
    while at + 12 <= end {
        let (name_len, len, kind) = (word(at), word(at + 4), word(at + 8));
        let descriptor = at + 12 + name_len.next_multiple_of(4);
        if kind == 1 && len == PRSTATUS_LEN {
            found.push(Prstatus(file[descriptor..descriptor + len].to_vec()));
        }
        at = descriptor + len.next_multiple_of(4);
    }
    found
}

/// The first bytes of a file, which hold its notes.
fn head(path: &Path) -> Vec<u8> {
    const LEN: u64 = 1 << 16;
    let mut bytes = Vec::new();
    let file = File::open(path).unwrap();
    file.take(LEN).read_to_end(&mut bytes).unwrap();
    bytes
}
