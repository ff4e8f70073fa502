use vread_addr::ByteLen;

use crate::{Btf, LinuxError};

/// Where the members of `struct module` and its parts lie, from BTF (G42).
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModuleLayout {
    /// Its size.
    pub(super) size: ByteLen,
    pub(super) state: ByteLen,
    pub(super) list: ByteLen,
    pub(super) name: ByteLen,
    pub(super) name_len: ByteLen,
    pub(super) kallsyms: ByteLen,
    /// `mod_kallsyms`.
    pub(super) symtab: ByteLen,
    pub(super) num_symtab: ByteLen,
    pub(super) strtab: ByteLen,
    pub(super) typetab: ByteLen,
    /// Exported symbols.
    pub(super) syms: ByteLen,
    pub(super) num_syms: ByteLen,
    pub(super) memory: MemoryLayout,
}

/// How a module's memory is described.
#[derive(Debug, Clone, Copy)]
pub(super) enum MemoryLayout {
    /// `core_layout` and `init_layout`, text at their start (before 6.4).
    CoreAndInit {
        core: ByteLen,
        init: ByteLen,
        base: ByteLen,
        size: ByteLen,
        text_size: ByteLen,
    },
    /// `mem[]`, by type, text first.
    ByType {
        mem: ByteLen,
        stride: ByteLen,
        count: u64,
        base: ByteLen,
        size: ByteLen,
    },
}

impl ModuleLayout {
    /// In the shape of 6.12's, for memory that is made up.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) const fn of_6_12() -> Self {
        Self {
            size: ByteLen::new(1280),
            state: ByteLen::new(0),
            list: ByteLen::new(8),
            name: ByteLen::new(24),
            name_len: ByteLen::new(56),
            kallsyms: ByteLen::new(904),
            symtab: ByteLen::new(0),
            num_symtab: ByteLen::new(8),
            strtab: ByteLen::new(16),
            typetab: ByteLen::new(24),
            syms: ByteLen::new(216),
            num_syms: ByteLen::new(232),
            memory: MemoryLayout::ByType {
                mem: ByteLen::new(320),
                stride: ByteLen::new(72),
                count: 7,
                base: ByteLen::new(0),
                size: ByteLen::new(8),
            },
        }
    }

    pub(crate) fn from_btf(btf: &Btf) -> Result<Self, LinuxError> {
        let offset = |name: &'static str| btf.offset_of(name).ok_or(LinuxError::NoType { name });
        let size_of =
            |name: &'static str| btf.size_of_struct(name).ok_or(LinuxError::NoType { name });
        Ok(Self {
            size: size_of("module")?,
            state: offset("module.state")?,
            list: offset("module.list")?,
            name: offset("module.name")?,
            name_len: btf
                .size_of_member("module.name")
                .ok_or(LinuxError::NoType {
                    name: "module.name",
                })?,
            kallsyms: offset("module.kallsyms")?,
            symtab: offset("mod_kallsyms.symtab")?,
            num_symtab: offset("mod_kallsyms.num_symtab")?,
            strtab: offset("mod_kallsyms.strtab")?,
            typetab: offset("mod_kallsyms.typetab")?,
            syms: offset("module.syms")?,
            num_syms: offset("module.num_syms")?,
            memory: match btf.offset_of("module.mem") {
                Some(mem) => {
                    let stride = size_of("module_memory")?;
                    let all = btf.size_of_member("module.mem").unwrap_or_default();
                    MemoryLayout::ByType {
                        mem,
                        stride,
                        count: all.get().checked_div(stride.get()).unwrap_or_default(),
                        base: offset("module_memory.base")?,
                        size: offset("module_memory.size")?,
                    }
                }
                None => MemoryLayout::CoreAndInit {
                    core: offset("module.core_layout")?,
                    init: offset("module.init_layout")?,
                    base: offset("module_layout.base")?,
                    size: offset("module_layout.size")?,
                    text_size: offset("module_layout.text_size")?,
                },
            },
        })
    }
}
