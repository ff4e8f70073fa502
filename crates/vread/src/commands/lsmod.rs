//! `vread lsmod`

use std::io::Write;

use serde::Serialize;
use vread_linux::{Kernel, modules::ModuleLine};
use vread_targets::Target;

use crate::{Outcome, arguments::LsmodArguments, json, printable::Printable};

/// A module in JSON.
#[derive(Debug, Serialize)]
struct JsonModule<'a> {
    name: &'a str,
    size: u64,
    /// How many hold it; null in a kernel that cannot unload modules.
    references: Option<i64>,
    used_by: &'a [String],
    permanent: bool,
    state: String,
    base: String,
    taints: String,
}

pub(crate) fn run(
    target: &Target,
    arguments: &LsmodArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let modules = target.ask_kernel(Kernel::module_lines)?;
    if arguments.listing.json {
        json::array(out, modules.iter().map(JsonModule::from))?;
        return Ok(Outcome::All);
    }
    writeln!(out, "{:<19} {:>8}  Used by", "Module", "Size")?;
    for module in &modules {
        let name = Printable(&module.name).to_string();
        let size = module.size.get();
        let references = match module.references {
            Some(references) => references.to_string(),
            None => "-".to_owned(),
        };
        let line = format!("{references} {}", module.used_by.join(","));
        let users = Printable(line.trim_end());
        writeln!(out, "{name:<19} {size:>8}  {users}")?;
    }
    Ok(Outcome::All)
}

impl<'a> From<&'a ModuleLine> for JsonModule<'a> {
    fn from(module: &'a ModuleLine) -> Self {
        Self {
            name: &module.name,
            size: module.size.get(),
            references: module.references,
            used_by: &module.used_by,
            permanent: module.permanent,
            state: module.state.to_string(),
            base: format!("{:#x}", module.base),
            taints: module.taint_letters(),
        }
    }
}
