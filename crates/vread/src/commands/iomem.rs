//! `vread iomem`

use std::io::Write;

use serde::Serialize;
use vread_linux::{Kernel, memory::Resource};
use vread_targets::Target;

use crate::{Outcome, arguments::IomemArguments, json, printable::Printable};

/// A resource in JSON.
#[derive(Debug, Serialize)]
struct JsonResource<'a> {
    start: String,
    /// The first address behind it.
    end: String,
    name: &'a str,
    flags: String,
    /// How many resources it lies in.
    depth: usize,
}

pub(crate) fn run(
    target: &Target,
    arguments: &IomemArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let iomem = target.ask_kernel(Kernel::iomem)?;
    if arguments.listing.json {
        json::array(out, iomem.resources().iter().map(JsonResource::from))?;
        return Ok(Outcome::All);
    }
    for line in iomem.to_string().lines() {
        writeln!(out, "{}", Printable(line))?;
    }
    Ok(Outcome::All)
}

impl<'a> From<&'a Resource> for JsonResource<'a> {
    fn from(resource: &'a Resource) -> Self {
        Self {
            start: format!("{:#x}", resource.range.start()),
            end: format!("{:#x}", resource.range.end()),
            name: &resource.name,
            flags: format!("{:#x}", resource.flags),
            depth: resource.depth,
        }
    }
}
