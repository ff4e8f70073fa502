use alloc::vec::Vec;

use vread_addr::{ByteLen, FileOffset};

/// `e_machine` of an ELF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElfMachine {
    /// `EM_X86_64`.
    X86_64,
    /// `EM_AARCH64`.
    Aarch64,
}

pub(crate) const EHDR_LEN: u16 = 64;
pub(crate) const PHDR_LEN: u16 = 56;
const ET_CORE: u16 = 4;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_RWX: u32 = 7;

/// The ELF header as `/proc/kcore` has it (E1).
pub(crate) fn write_ehdr(out: &mut Vec<u8>, machine: ElfMachine, phnum: u16) {
    // Magic, ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_NONE.
    out.extend_from_slice(b"\x7fELF\x02\x01\x01\x00");
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&ET_CORE.to_le_bytes());
    let machine: u16 = match machine {
        ElfMachine::X86_64 => 62,
        ElfMachine::Aarch64 => 183,
    };
    out.extend_from_slice(&machine.to_le_bytes());
    out.extend_from_slice(&1_u32.to_le_bytes()); // e_version
    out.extend_from_slice(&0_u64.to_le_bytes()); // e_entry
    out.extend_from_slice(&u64::from(EHDR_LEN).to_le_bytes()); // e_phoff
    out.extend_from_slice(&0_u64.to_le_bytes()); // e_shoff
    out.extend_from_slice(&0_u32.to_le_bytes()); // e_flags
    // The last three: e_shentsize, e_shnum, e_shstrndx.
    for half in [EHDR_LEN, PHDR_LEN, phnum, 0, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
}

/// A program header before it is written.
pub(crate) enum Phdr {
    /// `PT_NOTE`, of which all but the place is zero (E2).
    Note { offset: FileOffset, len: ByteLen },
    /// `PT_LOAD`, as long in memory as in the file (E3).
    Load {
        offset: FileOffset,
        vaddr: u64,
        paddr: u64,
        len: ByteLen,
        align: u64,
    },
}

impl Phdr {
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        let (kind, flags, words) = match *self {
            Self::Note { offset, len } => (PT_NOTE, 0, [offset.get(), 0, 0, len.get(), 0, 0]),
            Self::Load {
                offset,
                vaddr,
                paddr,
                len,
                align,
            } => (
                PT_LOAD,
                PF_RWX,
                [offset.get(), vaddr, paddr, len.get(), len.get(), align],
            ),
        };
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        for word in words {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
}
