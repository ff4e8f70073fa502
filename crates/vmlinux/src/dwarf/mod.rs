//! DWARF made from BTF: types, functions and variables in one unit.
//!
//! Version 4, which every debugger in use reads. What BTF does not know (lines, scopes, where a local
//! variable is) is not there.

mod functions;
mod known;
mod types;
mod unit;
mod variables;

use gimli::write::{EndianVec, Sections};
use gimli::{LittleEndian, SectionId};
use vread_linux::Btf;

use crate::VmlinuxError;
use crate::form::Relocation;
use crate::sections::Section;
use crate::symbols::ElfSymbol;
use unit::TypeUnit;

/// The most entries: three times what the largest kernel needs, so that a forged BTF costs no more
/// memory than that.
const MAX_ENTRIES: usize = 1 << 21;

/// What the entries are made from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) btf: &'a Btf,
    /// The kernel's release.
    pub(crate) release: &'a str,
    pub(crate) sections: &'a [Section],
    pub(crate) symbols: &'a [ElfSymbol],
    pub(crate) relocation: Relocation,
}

/// The sections' names and bytes.
pub(crate) fn write(source: Source<'_>) -> Result<Vec<(&'static str, Vec<u8>)>, VmlinuxError> {
    let mut unit = TypeUnit::new(source.btf);
    unit.add_types()?;
    unit.add_functions(&source)?;
    unit.add_variables(&source)?;
    unit.set_ranges(&source);
    let mut sections = Sections::new(EndianVec::new(LittleEndian));
    unit.write(&mut sections).map_err(format)?;
    let all = [
        (SectionId::DebugAbbrev, sections.debug_abbrev.take()),
        (SectionId::DebugInfo, sections.debug_info.take()),
        (SectionId::DebugRanges, sections.debug_ranges.take()),
        (SectionId::DebugStr, sections.debug_str.take()),
    ];
    let all = all.into_iter().map(|(id, bytes)| (id.name(), bytes));
    Ok(all.filter(|(_, bytes)| !bytes.is_empty()).collect())
}

fn format(error: gimli::write::Error) -> VmlinuxError {
    VmlinuxError::Format(error.to_string())
}

#[cfg(test)]
mod tests;
