use vread_addr::{ByteLen, PAGE_SIZE, VirtAddr, VirtRange};

use super::Kernel;
use crate::LinuxError;
use crate::fields::{u64_at, until_nul};
use crate::list::walk_list;
use crate::virt_mem::VirtMem;

/// The most pieces of generated code of one maker.
const MAX_PIECES: usize = 1 << 16;
/// The most bytes of one record.
const MAX_RECORD_LEN: usize = 4096;
/// The longest name.
const MAX_NAME_LEN: usize = 511;

/// A piece of code that the kernel made while it ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Generated {
    pub(super) range: VirtRange,
    pub(super) name: String,
    pub(super) maker: Maker,
}

/// Who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// The function tracer: trampolines.
    Ftrace,
    /// The BPF compiler: programs and trampolines.
    Bpf,
    /// Kernel probes: pages of displaced instructions.
    Kprobes,
}

impl Maker {
    /// The pseudo module under which the kernel lists it.
    pub(super) fn module(self) -> &'static str {
        match self {
            Self::Ftrace => "__builtin__ftrace",
            Self::Bpf => "bpf",
            Self::Kprobes => "__builtin__kprobes",
        }
    }
}

impl Kernel {
    /// Generated code in the order of `/proc/kallsyms`.
    ///
    /// Functions of a module's freed start-up code, which the tracer remembers for a while and the kernel
    /// lists in between, are left out.
    pub(super) fn generated_code(&self) -> Result<Vec<Generated>, LinuxError> {
        let mut found = self.ftrace_trampolines()?;
        found.extend(self.bpf_programs()?);
        for cache in ["kprobe_insn_slots", "kprobe_optinsn_slots"] {
            found.extend(self.kprobe_pages(cache)?);
        }
        Ok(found)
    }

    fn ftrace_trampolines(&self) -> Result<Vec<Generated>, LinuxError> {
        let Some(head) = self.need_kallsyms()?.find("ftrace_ops_trampoline_list") else {
            return Ok(Vec::new());
        };
        let [node, start, len] = self.offsets([
            "ftrace_ops.list",
            "ftrace_ops.trampoline",
            "ftrace_ops.trampoline_size",
        ])?;
        self.records(head, node, "ftrace_ops", |record| {
            Some(Generated {
                range: VirtRange::from_len(
                    record.pointer(start)?,
                    ByteLen::new(record.word(len)?),
                )?,
                name: "ftrace_trampoline".to_owned(),
                maker: Maker::Ftrace,
            })
        })
    }

    fn bpf_programs(&self) -> Result<Vec<Generated>, LinuxError> {
        let Some(head) = self.need_kallsyms()?.find("bpf_kallsyms") else {
            return Ok(Vec::new());
        };
        let names = [
            "bpf_ksym.lnode",
            "bpf_ksym.start",
            "bpf_ksym.end",
            "bpf_ksym.name",
        ];
        let [node, start, end, name] = self.offsets(names)?;
        self.records(head, node, "bpf_ksym", |record| {
            let name = record.bytes.get(name.to_usize()?..)?;
            let name = until_nul(name.get(..MAX_NAME_LEN).unwrap_or(name));
            Some(Generated {
                range: VirtRange::new(record.pointer(start)?, record.pointer(end)?)?,
                name: String::from_utf8_lossy(name).into_owned(),
                maker: Maker::Bpf,
            })
        })
    }

    fn kprobe_pages(&self, cache: &str) -> Result<Vec<Generated>, LinuxError> {
        let Some(cache) = self.need_kallsyms()?.find(cache) else {
            return Ok(Vec::new());
        };
        let names = [
            "kprobe_insn_cache.pages",
            "kprobe_insn_cache.sym",
            "kprobe_insn_page.list",
            "kprobe_insn_page.insns",
        ];
        let [pages, symbol, node, code] = self.offsets(names)?;
        let virt = self.virt();
        let member = |at: ByteLen| {
            let addr = cache.checked_add(at);
            addr.ok_or(LinuxError::NotMapped { addr: cache })
        };
        let name = virt
            .read_pointer(member(symbol)?)
            .and_then(|name| virt.read_string(name, MAX_NAME_LEN));
        let Ok(name) = name else {
            return Ok(Vec::new());
        };
        let name = String::from_utf8_lossy(&name).into_owned();
        self.records(member(pages)?, node, "kprobe_insn_page", |record| {
            Some(Generated {
                range: VirtRange::from_len(record.pointer(code)?, PAGE_SIZE)?,
                name: name.clone(),
                maker: Maker::Kprobes,
            })
        })
    }

    /// Decodes every record of type `kind` of the list at `head`, whose link is at `node` in it.
    fn records(
        &self,
        head: VirtAddr,
        node: ByteLen,
        kind: &'static str,
        decode: impl Fn(Record<'_>) -> Option<Generated>,
    ) -> Result<Vec<Generated>, LinuxError> {
        let len = self.need_btf()?.size_of_struct(kind);
        let len = len
            .ok_or(LinuxError::NoType { name: kind })?
            .to_usize_clamped()
            .min(MAX_RECORD_LEN);
        let virt: VirtMem<'_> = self.virt();
        let mut found = Vec::new();
        walk_list(virt, "generated code", head, MAX_PIECES, |at| {
            if let Some(at) = at.checked_sub(node) {
                let bytes = virt.read_vec(at, len)?;
                found.extend(decode(Record { bytes: &bytes }));
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn offsets<const N: usize>(
        &self,
        names: [&'static str; N],
    ) -> Result<[ByteLen; N], LinuxError> {
        let btf = self.need_btf()?;
        let mut offsets = [ByteLen::ZERO; N];
        for (offset, name) in offsets.iter_mut().zip(names) {
            *offset = btf.offset_of(name).ok_or(LinuxError::NoType { name })?;
        }
        Ok(offsets)
    }
}

/// A copy of a record.
struct Record<'b> {
    bytes: &'b [u8],
}

impl Record<'_> {
    fn word(&self, at: ByteLen) -> Option<u64> {
        u64_at(self.bytes, at.to_usize()?)
    }

    fn pointer(&self, at: ByteLen) -> Option<VirtAddr> {
        self.word(at).map(VirtAddr::new)
    }
}
