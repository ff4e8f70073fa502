use std::io::Write;

use vread_linux::Kernel;

use crate::elf::Contents;
use crate::form::{AddressForm, Relocation};
use crate::sections::{self, Section};
use crate::symbols::{self, ElfSymbol};
use crate::{VmlinuxError, Warning, dwarf};

/// What a kernel's memory says about the file that it was made from, ready to be written.
///
/// Symbols are those of the moment at which it was recovered: modules come and go.
#[derive(Debug)]
pub struct Vmlinux<'k> {
    kernel: &'k Kernel,
    sections: Vec<Section>,
    symbols: Vec<ElfSymbol>,
    warnings: Vec<Warning>,
}

impl<'k> Vmlinux<'k> {
    /// Finds the sections and symbols of a kernel.
    ///
    /// # Errors
    ///
    /// [`VmlinuxError::Symbols`] for a kernel without a symbol table.
    pub fn recover(kernel: &'k Kernel) -> Result<Self, VmlinuxError> {
        let all = kernel.symbols().map_err(VmlinuxError::Symbols)?;
        let mut warnings = Vec::new();
        let mut sections = sections::of_image(kernel, &mut warnings);
        let modules = sections::of_modules(&all, &sections);
        sections.extend(modules);
        sections.sort_by_key(|section| section.range.start());
        let symbols = symbols::collect(&all, &sections);
        Ok(Self {
            kernel,
            sections,
            symbols,
            warnings,
        })
    }

    /// Writes the file with addresses of one form, from its first byte to its last, and returns what it
    /// lacks.
    ///
    /// Text and read-only data are read as they are now; what is not there is zeros.
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
        let mut warnings = self.warnings.clone();
        let debug = self.dwarf(relocation).unwrap_or_else(|why| {
            warnings.push(Warning::NoTypes { why });
            Vec::new()
        });
        let contents = Contents {
            kernel: self.kernel,
            sections: &self.sections,
            symbols: &self.symbols,
            debug: &debug,
            relocation,
        };
        contents.write(out, &mut warnings)?;
        Ok(warnings)
    }

    /// The sections of DWARF, or why there are none.
    fn dwarf(&self, relocation: Relocation) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
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
            release: self.kernel.release(),
            sections: &self.sections,
            symbols: &self.symbols,
            relocation,
        };
        dwarf::write(source).map_err(|error| error.to_string())
    }
}
