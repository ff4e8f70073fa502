//! The types of one unit of DWARF.

use std::rc::Rc;

use gimli::{AttributeValue, DebuggingInformationEntry, Dwarf, UnitHeader};

use crate::debug_file::{Slice, TypeName, Types};
use crate::describe::Describer;

/// Adds the types of the unit behind `header` to `types`.
pub(crate) fn read(
    dwarf: &Dwarf<Slice<'_>>,
    header: &UnitHeader<Slice<'_>>,
    types: &mut Types,
) -> Result<(), gimli::Error> {
    let unit = Rc::new(dwarf.unit(*header)?);
    let mut describer = Describer::new(dwarf, Rc::clone(&unit));
    let mut cursor = unit.entries();
    let mut layout = String::new();
    let mut is_c = true;
    while let Some(entry) = cursor.next_dfs()? {
        if entry.tag() == gimli::DW_TAG_compile_unit {
            // Rust's types have names of namespaces, and BTF leaves them out.
            is_c = entry.attr_value(gimli::DW_AT_language)
                != Some(AttributeValue::Language(gimli::DW_LANG_Rust));
        }
        let Some(kind) = kind_of(entry).filter(|_| is_c) else {
            continue;
        };
        let declared = entry.attr_value(gimli::DW_AT_declaration).is_some();
        let Some(name) = describer.name(entry)?.filter(|_| !declared) else {
            continue;
        };
        layout.clear();
        describer.describe_inside(entry.offset(), &mut layout)?;
        let name = name.to_owned();
        let layouts = types.entry(TypeName { kind, name }).or_default();
        if !layouts.contains(&layout) {
            layouts.insert(layout.clone());
        }
    }
    Ok(())
}

/// C's word for a type with members or values.
pub(crate) fn kind_of(entry: &DebuggingInformationEntry<Slice<'_>>) -> Option<&'static str> {
    match entry.tag() {
        gimli::DW_TAG_structure_type => Some("struct"),
        gimli::DW_TAG_union_type => Some("union"),
        gimli::DW_TAG_enumeration_type => Some("enum"),
        _ => None,
    }
}
