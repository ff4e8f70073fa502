use std::sync::Arc;

use vread_addr::{VirtAddr, VirtRange};

use super::Kernel;
use super::generated::{Generated, Maker};
use crate::modules::{
    Depth, ListingLayout, Module, ModuleLayout, ModuleLine, ModuleTypes, TypesLayout, UsersLeft,
    read_modules,
};
use crate::record::again_if_torn;
use crate::{Kallsyms, LinuxError, Symbol, SymbolOffset};

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

impl Kernel {
    /// The loaded modules, the last one loaded first.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where symbols or types are missing, or the list cannot be read.
    pub fn modules(&self) -> Result<Vec<Module>, LinuxError> {
        self.read_modules(Depth::Symbols)
    }

    /// The lines of the kernel's own `/proc/modules`, in its order, as modules are now.
    ///
    /// # Errors
    ///
    /// As for [`modules`](Self::modules).
    pub fn module_lines(&self) -> Result<Vec<ModuleLine>, LinuxError> {
        let layout = ListingLayout::from_btf(self.need_btf()?)?;
        // A module may go between two looks at it.
        again_if_torn(|| {
            let modules = self.read_modules(Depth::Outline)?;
            let mut users_left = UsersLeft::new();
            let line = |module: &Module| layout.read(self.virt(), module, &mut users_left);
            modules.iter().map(line).collect()
        })
    }

    fn read_modules(&self, depth: Depth) -> Result<Vec<Module>, LinuxError> {
        let layout = ModuleLayout::from_btf(self.need_btf()?)?;
        let head = self.need_symbol("modules")?;
        read_modules(self.virt(), &layout, head, depth)
    }

    /// The types that loaded modules add to those of the image; none in kernels before 5.11, whose modules
    /// bring no types.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where types are missing, or the list cannot be read.
    pub fn module_types(&self) -> Result<Vec<ModuleTypes>, LinuxError> {
        let btf = self.need_btf()?;
        let Some(head) = self.need_kallsyms()?.find("btf_modules") else {
            return Ok(Vec::new());
        };
        let layout = TypesLayout::from_btf(btf)?;
        // A module may go between two looks at it.
        again_if_torn(|| layout.read(self.virt(), head, btf))
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

    /// The addresses of all symbols called `name`, those of modules included: names are not unique (G26).
    /// Where there is no symbol table, VMCOREINFO has a few.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where there is no symbol table, and VMCOREINFO does not have the name either.
    pub fn find_symbol(&self, name: &str) -> Result<Vec<VirtAddr>, LinuxError> {
        // N12: of these, VMCOREINFO has the value, not the address.
        const VALUES: [&str; 2] = ["mem_section", "vmemmap"];
        match (&self.kallsyms, self.info.symbol(name)) {
            (None, Some(addr)) if !VALUES.contains(&name) => Ok(vec![addr]),
            _ => Ok(self.symbols()?.find_all(name)),
        }
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
        let generated = self.generated.iter().map(|code| Symbol {
            addr: code.range.start(),
            letter: 't',
            name: code.name.clone(),
            module: Some(code.maker.module().into()),
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
        // The kernel names no address by the pages of its probes.
        let mut named = self
            .generated
            .iter()
            .filter(|code| code.maker != Maker::Kprobes);
        let code = named.find(|code| code.range.contains(addr))?;
        Some(SymbolOffset {
            name: code.name.clone(),
            offset: addr.checked_offset_from(code.range.start())?,
            size: code.range.len(),
            module: Some(code.maker.module().into()),
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
