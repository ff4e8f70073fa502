//! `vread vmallocinfo`

use std::io::{self, BufWriter, Write as _};

use serde::Serialize;
use vread_targets::Target;

use crate::{Outcome, arguments::VmallocinfoArguments, json, printable::Printable};

/// An area in JSON.
#[derive(Debug, Serialize)]
struct JsonArea<'a> {
    start: String,
    end: String,
    size: u64,
    /// What follows on the line: caller, pages, kind.
    description: &'a str,
}

pub(crate) fn run(target: &Target, arguments: &VmallocinfoArguments) -> anyhow::Result<Outcome> {
    let areas = target.vmallocinfo()?;
    let mut out = BufWriter::new(io::stdout().lock());
    if !arguments.json {
        for area in &areas {
            writeln!(out, "{}", Printable(&area.to_string()))?;
        }
        out.flush()?;
        return Ok(Outcome::All);
    }
    out.write_all(b"[")?;
    for (index, area) in areas.iter().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        json::write(
            &mut out,
            &JsonArea {
                start: format!("{:#x}", area.range().start()),
                end: format!("{:#x}", area.range().end()),
                size: area.range().len().get(),
                description: area.description(),
            },
        )?;
    }
    out.write_all(b"\n]\n")?;
    out.flush()?;
    Ok(Outcome::All)
}
