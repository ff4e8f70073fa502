use std::io::Write;
use std::sync::Arc;

use vread_linux::modules::ModuleTypes;
use vread_linux::{Btf, Kernel, LinuxError, Symbols};

use crate::elf::Contents;
use crate::form::{AddressForm, Relocation};
use crate::sections::{self, Section};
use crate::symbols::{self, ElfSymbol};
use crate::text::printable;
use crate::{VmlinuxError, Warning, dwarf, ticks};

/// What a kernel's memory says about the file that it was made from, ready to be written.
///
/// Symbols of modules are those of the moment at which it was recovered: modules come and go.
#[derive(Debug)]
pub struct Vmlinux<'k> {
    kernel: &'k Kernel,
    symbols: Symbols<'k>,
}

/// What a file of one form has in it.
struct Layout {
    sections: Vec<Section>,
    symbols: Vec<ElfSymbol>,
    warnings: Vec<Warning>,
}

impl<'k> Vmlinux<'k> {
    /// Reads the symbols of a kernel.
    ///
    /// # Errors
    ///
    /// [`VmlinuxError::Symbols`] for a kernel without a symbol table.
    pub fn recover(kernel: &'k Kernel) -> Result<Self, VmlinuxError> {
        let symbols = kernel.symbols().map_err(VmlinuxError::Symbols)?;
        Ok(Self { kernel, symbols })
    }

    /// Writes the file with addresses of one form, from its first byte to its last, and returns what it
    /// lacks. Symbols of modules are in the run-time form only: where the image was linked, there are none.
    ///
    /// Text and data are read as they are now; what is not there is zeros.
    ///
    /// # Errors
    ///
    /// [`VmlinuxError`], where the target is gone, or `out` takes no more, or what the target says does
    /// not fit into the format.
    pub fn write(
        &self,
        form: AddressForm,
        out: &mut dyn Write,
    ) -> Result<Vec<Warning>, VmlinuxError> {
        let relocation = Relocation::new(self.kernel, form);
        let mut layout = self.layout(form);
        let modules = self.module_types(&mut layout.warnings);
        let debug = self
            .dwarf(&layout, &modules, relocation)
            .unwrap_or_else(|why| {
                layout.warnings.push(Warning::NoTypes { why });
                Vec::new()
            });
        let contents = Contents {
            kernel: self.kernel,
            sections: &layout.sections,
            symbols: &layout.symbols,
            debug: &debug,
            relocation,
        };
        contents.write(out, &mut layout.warnings)?;
        Ok(layout.warnings)
    }

    fn layout(&self, form: AddressForm) -> Layout {
        let mut warnings = Vec::new();
        let mut sections = sections::of_image(self.kernel, &mut warnings);
        if form == AddressForm::RunTime {
            let modules = sections::of_modules(&self.symbols, &sections);
            sections.extend(modules);
            sections.sort_by_key(|section| section.range.start());
        }
        let symbols = self.symbols.iter();
        let symbols =
            symbols.filter(|symbol| form == AddressForm::RunTime || symbol.module.is_none());
        let symbols = symbols::collect(symbols, &sections);
        Layout {
            sections,
            symbols,
            warnings,
        }
    }

    /// What modules add to the image's types. Where there are no types at all, another warning says so.
    fn module_types(&self, warnings: &mut Vec<Warning>) -> Vec<(Arc<str>, Arc<Btf>)> {
        let mut left_out = |module: Option<Arc<str>>, why: LinuxError| {
            let module = module.map(|module| printable(module.as_bytes()));
            warnings.push(Warning::NoModuleTypes { module, why });
        };
        if self.kernel.btf().is_none() {
            return Vec::new();
        }
        let modules = self.kernel.module_types().unwrap_or_else(|why| {
            left_out(None, why);
            Vec::new()
        });
        let mut types = Vec::new();
        for ModuleTypes { name, btf } in modules {
            match btf {
                Ok(btf) => types.push((name, btf)),
                Err(why) => left_out(Some(name), why),
            }
        }
        types
    }

    /// The sections of DWARF, or why there are none.
    fn dwarf(
        &self,
        layout: &Layout,
        modules: &[(Arc<str>, Arc<Btf>)],
        relocation: Relocation,
    ) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
        let Some(btf) = self.kernel.btf() else {
            let missing = self.kernel.missing().iter();
            let why = missing.map(|missing| format!("{} ({})", missing.what, missing.why));
            let why: Vec<String> = why.collect();
            return Err(format!(
                "not found in the kernel's memory: {}",
                why.join(", ")
            ));
        };
        let source = dwarf::Source {
            btf,
            modules,
            release: self.kernel.release(),
            ticks_per_second: ticks::per_second(self.kernel),
            sections: &layout.sections,
            symbols: &layout.symbols,
            relocation,
        };
        dwarf::write(source).map_err(|error| error.to_string())
    }
}
