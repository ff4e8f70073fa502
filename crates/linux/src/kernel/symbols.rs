use std::sync::Arc;

use vread_addr::{ByteLen, VirtAddr, VirtRange};

use super::Kernel;
use crate::fields::{u64_at, until_nul};
use crate::list::walk_list;
use crate::modules::{Module, ModuleLayout, read_modules};
use crate::{Kallsyms, LinuxError, Symbol, SymbolOffset};

/// The most symbols of generated code.
const MAX_BPF_SYMBOLS: usize = 1 << 16;
/// The most bytes of a `struct bpf_ksym`.
const MAX_KSYM_LEN: usize = 4096;

/// All symbols of a kernel at one moment: the image's, those of its modules, and those of code that
/// it generated; what `/proc/kallsyms` lists, in its order.
#[derive(Debug)]
pub struct Symbols<'k> {
    image: &'k Kallsyms,
    /// `[_stext, _end)`.
    image_range: Option<VirtRange>,
    modules: Vec<Module>,
    generated: Vec<Generated>,
}

/// A piece of generated code (`struct bpf_ksym`).
#[derive(Debug)]
struct Generated {
    range: VirtRange,
    name: String,
}

impl Kernel {
    /// The loaded modules, the last one loaded first.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where symbols or types are missing, or the list cannot be read.
    pub fn modules(&self) -> Result<Vec<Module>, LinuxError> {
        let layout = ModuleLayout::from_btf(self.need_btf()?)?;
        read_modules(self.virt(), &layout, self.need_symbol("modules")?)
    }

    /// All symbols, those of modules as they are loaded now.
    ///
    /// Where modules cannot be read, their symbols are left out.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where there is no symbol table.
    pub fn symbols(&self) -> Result<Symbols<'_>, LinuxError> {
        let image = self.need_kallsyms()?;
        let left_out = |what: &'static str, error: LinuxError| {
            tracing::warn!(%error, "symbols of {what} are left out");
        };
        let modules = self.modules().unwrap_or_else(|error| {
            left_out("modules", error);
            Vec::new()
        });
        let generated = self.generated_code().unwrap_or_else(|error| {
            left_out("generated code", error);
            Vec::new()
        });
        let stext = self.info.symbol("_stext");
        Ok(Symbols {
            image,
            image_range: stext
                .zip(self.image)
                .and_then(|(stext, image)| VirtRange::new(stext, image.end())),
            modules,
            generated,
        })
    }

    /// What the BPF compiler has registered, in its order.
    fn generated_code(&self) -> Result<Vec<Generated>, LinuxError> {
        let Some(head) = self.need_kallsyms()?.find("bpf_kallsyms") else {
            return Ok(Vec::new());
        };
        let btf = self.need_btf()?;
        let offset = |name: &'static str| btf.offset_of(name).ok_or(LinuxError::NoType { name });
        let size = btf.size_of_struct("bpf_ksym").unwrap_or_default();
        let len = size.to_usize_clamped().min(MAX_KSYM_LEN);
        let [start, end, name] = [
            offset("bpf_ksym.start")?,
            offset("bpf_ksym.end")?,
            offset("bpf_ksym.name")?,
        ]
        .map(ByteLen::to_usize_clamped);
        let node_at = offset("bpf_ksym.lnode")?;
        let mut found = Vec::new();
        walk_list(
            self.virt(),
            "the BPF symbols",
            head,
            MAX_BPF_SYMBOLS,
            |node| {
                let Some(at) = node.checked_sub(node_at) else {
                    return Ok(());
                };
                let bytes = self.virt().read_vec(at, len)?;
                let word = |at| u64_at(&bytes, at).map(VirtAddr::new);
                let range = word(start).zip(word(end));
                let range = range.and_then(|(start, end)| VirtRange::new(start, end));
                let text = until_nul(bytes.get(name..).unwrap_or_default());
                if let Some(range) = range {
                    found.push(Generated {
                        range,
                        name: String::from_utf8_lossy(text).into_owned(),
                    });
                }
                Ok(())
            },
        )?;
        Ok(found)
    }
}

impl Symbols<'_> {
    /// Every symbol, in the order of `/proc/kallsyms`.
    pub fn iter(&self) -> impl Iterator<Item = Symbol> + '_ {
        let of_module = |module: &Module| {
            let name = Arc::clone(&module.name);
            let symbols = module.symbols.clone();
            symbols.into_iter().map(move |symbol| Symbol {
                addr: symbol.addr,
                letter: symbol.letter,
                name: symbol.name,
                module: Some(Arc::clone(&name)),
            })
        };
        let bpf: Arc<str> = "bpf".into();
        let generated = self.generated.iter().map(move |code| Symbol {
            addr: code.range.start(),
            letter: 't',
            name: code.name.clone(),
            module: Some(Arc::clone(&bpf)),
        });
        let modules = self.modules.iter().flat_map(of_module);
        self.image.iter().chain(modules).chain(generated)
    }

    /// The addresses of all symbols called `name`: names are not unique (G26).
    #[must_use]
    pub fn find_all(&self, name: &str) -> Vec<VirtAddr> {
        let image = self.image.find_all(name);
        let image = image.filter_map(|index| self.image.address(index));
        let modules = self.modules.iter().flat_map(|module| &module.symbols);
        let modules = modules.filter(|symbol| symbol.name == name);
        image.chain(modules.map(|symbol| symbol.addr)).collect()
    }

    /// The loaded modules.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The symbol that `addr` lies in, as the kernel names addresses (`%pS`).
    #[must_use]
    pub fn resolve(&self, addr: VirtAddr) -> Option<SymbolOffset> {
        if self.image_range.is_some_and(|image| image.contains(addr)) {
            return self.resolve_in_image(addr);
        }
        let in_module = |module: &Module| {
            let (symbol, size) = module.nearest(addr)?;
            Some(SymbolOffset {
                name: symbol.name.clone(),
                offset: addr.checked_offset_from(symbol.addr)?,
                size,
                module: Some(Arc::clone(&module.name)),
            })
        };
        let module = self.modules.iter().find(|module| module.contains(addr));
        if let Some(module) = module {
            return in_module(module);
        }
        let code = self
            .generated
            .iter()
            .find(|code| code.range.contains(addr))?;
        Some(SymbolOffset {
            name: code.name.clone(),
            offset: addr.checked_offset_from(code.range.start())?,
            size: code.range.len(),
            module: Some("bpf".into()),
        })
    }

    fn resolve_in_image(&self, addr: VirtAddr) -> Option<SymbolOffset> {
        let (index, next) = self.image.nearest(addr)?;
        let symbol = self.image.get(index)?;
        let end = next.or(self.image_range.map(|image| image.end()))?;
        Some(SymbolOffset {
            offset: addr.checked_offset_from(symbol.addr)?,
            size: end.checked_offset_from(symbol.addr)?,
            name: symbol.name,
            module: None,
        })
    }
}
