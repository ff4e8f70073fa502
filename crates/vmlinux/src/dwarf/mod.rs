//! DWARF made from BTF: types, functions and variables, in a unit for the image and one for each module.
//!
//! Version 4, which every debugger in use reads. What BTF does not know (lines, scopes, where a local
//! variable is) is not there.

mod functions;
mod known;
mod types;
mod unit;
mod variables;

use std::collections::HashSet;
use std::sync::Arc;

use gimli::write::{EndianVec, Sections};
use gimli::{LittleEndian, SectionId};
use vread_linux::Btf;
use vread_linux::btf::TypeId;

use crate::VmlinuxError;
use crate::form::Relocation;
use crate::sections::Section;
use crate::symbols::ElfSymbol;
use unit::{About, TypeUnit, Units};

/// The most entries: three times what the largest kernel needs, so that a forged BTF costs no more
/// memory than that.
const MAX_ENTRIES: usize = 1 << 21;

/// What the entries are made from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) btf: &'a Btf,
    /// What modules add to it, by name.
    pub(crate) modules: &'a [(Arc<str>, Arc<Btf>)],
    /// The kernel's release.
    pub(crate) release: &'a str,
    /// How many ticks a second has.
    pub(crate) ticks_per_second: Option<u32>,
    pub(crate) sections: &'a [Section],
    pub(crate) symbols: &'a [ElfSymbol],
    pub(crate) relocation: Relocation,
}

/// The sections' names and bytes.
pub(crate) fn write(source: Source<'_>) -> Result<Vec<(&'static str, Vec<u8>)>, VmlinuxError> {
    let mut units = Units::new();
    // A module may point at a prototype of the image that the image itself does not.
    let mut pointed_at = types::pointed_at(source.btf);
    for (_, btf) in source.modules {
        pointed_at.extend(types::pointed_at(btf));
    }
    let mut unit = units.add(source.btf, About::Image, None);
    fill(&mut unit, &source, &pointed_at)?;
    let image = unit.into_entries();
    for (name, btf) in source.modules {
        let mut unit = units.add(btf, About::Module(name), Some(&image));
        fill(&mut unit, &source, &pointed_at)?;
    }
    let mut sections = Sections::new(EndianVec::new(LittleEndian));
    units.write(&mut sections).map_err(format)?;
    let all = [
        (SectionId::DebugAbbrev, sections.debug_abbrev.take()),
        (SectionId::DebugInfo, sections.debug_info.take()),
        (SectionId::DebugRanges, sections.debug_ranges.take()),
        (SectionId::DebugStr, sections.debug_str.take()),
    ];
    let all = all.into_iter().map(|(id, bytes)| (id.name(), bytes));
    Ok(all.filter(|(_, bytes)| !bytes.is_empty()).collect())
}

fn fill(
    unit: &mut TypeUnit<'_>,
    source: &Source<'_>,
    pointed_at: &HashSet<TypeId>,
) -> Result<(), VmlinuxError> {
    unit.add_types(pointed_at)?;
    unit.add_functions(source)?;
    unit.add_variables(source)?;
    unit.set_ranges(source);
    Ok(())
}

fn format(error: gimli::write::Error) -> VmlinuxError {
    VmlinuxError::Format(error.to_string())
}

#[cfg(test)]
mod tests;
