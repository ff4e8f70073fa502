use vread_addr::{ByteLen, VirtAddr, VirtRange};

use super::layout::MemoryLayout;
use super::{Module, ModuleLayout, symbols};
use crate::LinuxError;
use crate::fields::{u32_at, u64_at, until_nul};
use crate::list::walk_list;
use crate::virt_mem::VirtMem;

/// The most modules (G73).
const MAX_MODULES: usize = 1 << 14;
/// The most bytes of a `struct module` that are copied.
const MAX_MODULE_LEN: usize = 1 << 14;
/// How often the list is read anew when it changed under us (G71).
const MAX_TRIES: u32 = 3;
/// `MODULE_STATE_UNFORMED`: still being set up, and hidden from everybody (G62).
const UNFORMED: u32 = 3;
/// The longest name; it is 55, but the types may be forged.
const MAX_NAME_LEN: usize = 511;
/// How many memory regions are looked at; there are 7.
const MAX_REGIONS: u64 = 16;

/// How much of each module is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Its name and where its memory is.
    Outline,
    /// Its symbols too.
    Symbols,
}

/// The loaded modules, in the order of `/proc/kallsyms`: the last one loaded first.
pub(crate) fn read_modules(
    virt: VirtMem<'_>,
    layout: &ModuleLayout,
    head: VirtAddr,
    depth: Depth,
) -> Result<Vec<Module>, LinuxError> {
    let mut last = Ok(Vec::new());
    for _ in 0..MAX_TRIES {
        last = try_read_modules(virt, layout, head, depth);
        if last.is_ok() {
            break;
        }
    }
    last
}

fn try_read_modules(
    virt: VirtMem<'_>,
    layout: &ModuleLayout,
    head: VirtAddr,
    depth: Depth,
) -> Result<Vec<Module>, LinuxError> {
    let mut modules = Vec::new();
    let mut budget = symbols::Budget::new();
    walk_list(virt, "the module list", head, MAX_MODULES, |node| {
        let malformed = LinuxError::Malformed {
            what: "a module",
            at: node,
            why: "its address or size is out of range",
        };
        let at = node.checked_sub(layout.list).ok_or(malformed.clone())?;
        let len = layout.size.to_usize().filter(|len| *len <= MAX_MODULE_LEN);
        let bytes = virt.read_vec(at, len.ok_or(malformed.clone())?)?;
        let record = Record { bytes: &bytes };
        if record
            .u32(layout.state)
            .is_none_or(|state| state == UNFORMED)
        {
            return Ok(());
        }
        let name = record.text(layout.name, layout.name_len).ok_or(malformed)?;
        let mut module = Module {
            name: name.into(),
            at,
            text_end: record.text_end(&layout.memory),
            memory: record.memory(&layout.memory),
            symbols: Vec::new(),
            by_address: Vec::new(),
        };
        if depth == Depth::Outline {
            modules.push(module);
            return Ok(());
        }
        // A module whose symbols cannot be read is one without symbols, not the end of the list.
        let symbols = symbols::read_symbols(virt, layout, &record, &mut budget);
        module.symbols = symbols.unwrap_or_else(|error| {
            tracing::debug!(module = %module.name, %error, "module without symbols");
            Vec::new()
        });
        module.index();
        modules.push(module);
        Ok(())
    })?;
    Ok(modules)
}

/// A copy of a `struct module`.
pub(super) struct Record<'b> {
    bytes: &'b [u8],
}

impl Record<'_> {
    pub(super) fn u32(&self, at: ByteLen) -> Option<u32> {
        u32_at(self.bytes, at.to_usize()?)
    }

    pub(super) fn pointer(&self, at: ByteLen) -> Option<VirtAddr> {
        u64_at(self.bytes, at.to_usize()?).map(VirtAddr::new)
    }

    fn text(&self, at: ByteLen, len: ByteLen) -> Option<String> {
        let field = self.bytes.get(at.to_usize()?..)?.get(..len.to_usize()?)?;
        let name = until_nul(field.get(..MAX_NAME_LEN).unwrap_or(field));
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// Every part of the module's memory.
    fn memory(&self, layout: &MemoryLayout) -> Vec<VirtRange> {
        match *layout {
            MemoryLayout::CoreAndInit {
                core,
                init,
                base,
                size,
                ..
            } => [core, init]
                .into_iter()
                .filter_map(|part| self.part(part, base, size))
                .collect(),
            MemoryLayout::ByType {
                mem,
                stride,
                count,
                base,
                size,
            } => (0..count.min(MAX_REGIONS))
                .filter_map(|index| {
                    let part = mem.checked_add(stride.checked_mul(index)?)?;
                    self.part(part, base, size)
                })
                .collect(),
        }
    }

    /// Where the module's text ends: it is the first part of the core, or of the first type.
    fn text_end(&self, layout: &MemoryLayout) -> Option<VirtAddr> {
        let text = match *layout {
            MemoryLayout::CoreAndInit {
                core,
                base,
                text_size,
                ..
            } => self.part(core, base, text_size),
            MemoryLayout::ByType {
                mem, base, size, ..
            } => self.part(mem, base, size),
        };
        text.map(|text| text.end())
    }

    /// The range whose start and size stand at `base` and `size` of `part`, unless it is empty.
    fn part(&self, part: ByteLen, base: ByteLen, size: ByteLen) -> Option<VirtRange> {
        let start = self.pointer(part.checked_add(base)?)?;
        let len = ByteLen::new(u64::from(self.u32(part.checked_add(size)?)?));
        VirtRange::from_len(start, len).filter(|range| start.get() != 0 && !range.is_empty())
    }
}
