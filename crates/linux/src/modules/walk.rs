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
/// How many memory regions are looked at; there are 7.
const MAX_REGIONS: u64 = 16;

/// The loaded modules with their symbols, in the order of `/proc/kallsyms`: the last one loaded first.
pub(crate) fn read_modules(
    virt: VirtMem<'_>,
    layout: &ModuleLayout,
    head: VirtAddr,
) -> Result<Vec<Module>, LinuxError> {
    let mut last = Ok(Vec::new());
    for _ in 0..MAX_TRIES {
        last = try_read_modules(virt, layout, head);
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
) -> Result<Vec<Module>, LinuxError> {
    let mut modules = Vec::new();
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
            memory: record.memory(&layout.memory),
            symbols: Vec::new(),
        };
        // A module whose symbols cannot be read is one without symbols, not the end of the list.
        module.symbols = symbols::read_symbols(virt, layout, &record).unwrap_or_else(|error| {
            tracing::debug!(module = %module.name, %error, "module without symbols");
            Vec::new()
        });
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
        Some(String::from_utf8_lossy(until_nul(field)).into_owned())
    }

    fn memory(&self, layout: &MemoryLayout) -> Vec<VirtRange> {
        let part = |base: ByteLen, size: ByteLen| {
            let size = ByteLen::new(u64::from(self.u32(size)?));
            let start = self.pointer(base).filter(|base| base.get() != 0)?;
            VirtRange::from_len(start, size).filter(|range| !range.is_empty())
        };
        match *layout {
            MemoryLayout::CoreAndInit {
                core,
                init,
                base,
                size,
                text_size,
            } => {
                // The text is the first part of the core; it comes first, and then the whole.
                let places = [(core, text_size), (core, size), (init, size)];
                let place = |(at, size): (ByteLen, ByteLen)| {
                    part(at.checked_add(base)?, at.checked_add(size)?)
                };
                places.into_iter().filter_map(place).collect()
            }
            MemoryLayout::ByType {
                mem,
                stride,
                count,
                base,
                size,
            } => (0..count.min(MAX_REGIONS))
                .filter_map(|index| {
                    let at = mem.checked_add(stride.checked_mul(index)?)?;
                    part(at.checked_add(base)?, at.checked_add(size)?)
                })
                .collect(),
        }
    }
}
