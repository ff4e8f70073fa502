use alloc::vec::Vec;

use vread_addr::{ByteLen, VirtAddr};

/// Registers of a CPU (`NT_PRSTATUS`).
pub const NT_PRSTATUS: u32 = 1;
/// What the "process" is: for kcore the kernel's command line (`NT_PRPSINFO`).
pub const NT_PRPSINFO: u32 = 3;
/// A `task_struct` (`NT_TASKSTRUCT`).
pub const NT_TASKSTRUCT: u32 = 4;
/// The text of VMCOREINFO; its name tells it apart, its type is 0.
pub const NT_VMCOREINFO: u32 = 0;

/// One ELF note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    name: &'static str,
    kind: u32,
    descriptor: Vec<u8>,
}

impl Note {
    /// A note of type `kind` under `name`, which is written with a NUL behind it.
    #[must_use]
    pub fn new(name: &'static str, kind: u32, descriptor: Vec<u8>) -> Self {
        Self {
            name,
            kind,
            descriptor,
        }
    }

    /// What makes crash take the file for the live memory of a running kernel: not the file of a crash,
    /// with a task that panicked. `task` is the address of `init_task`, `kaslr_offset` by how much the
    /// kernel's image lies above its link address. crash then reads no VMCOREINFO.
    #[must_use]
    pub fn live(task: VirtAddr, kaslr_offset: ByteLen) -> Self {
        // WRAP: the number is signed, and says how to get from run-time addresses to those of the file.
        let relocate = 0_u64.wrapping_sub(kaslr_offset.get());
        let descriptor = [task.get(), relocate, 0].map(u64::to_le_bytes).concat();
        // crash counts the padding to the length of the name.
        Self::new("SNAP\0\0\0", NT_TASKSTRUCT, descriptor)
    }

    /// The name, without the NUL.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The type.
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.kind
    }

    /// The descriptor.
    #[must_use]
    pub fn descriptor(&self) -> &[u8] {
        &self.descriptor
    }

    /// Appends the note as Linux writes it: a header of 12 bytes, the name and the descriptor, each
    /// padded with zeros to 4 bytes (E4).
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) -> Option<()> {
        let name_len = u32::try_from(self.name.len()).ok()?.checked_add(1)?;
        let descriptor_len = u32::try_from(self.descriptor.len()).ok()?;
        for word in [name_len, descriptor_len, self.kind] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(self.name.as_bytes());
        out.push(0);
        pad_to_word(out);
        out.extend_from_slice(&self.descriptor);
        pad_to_word(out);
        Some(())
    }
}

/// The bytes written before are a multiple of 4 (64 of the ELF header, 56 a program header, and
/// padded notes), so padding the whole pads the part.
fn pad_to_word(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
