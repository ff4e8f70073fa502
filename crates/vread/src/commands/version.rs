//! `vread version`

use std::io::Write;

use serde_json::json;
use vread_linux::Kernel;
use vread_targets::Target;

use crate::{Outcome, arguments::VersionArguments, json, printable::Printable};

pub(crate) fn run(
    target: &Target,
    arguments: &VersionArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let text = target.ask_kernel(Kernel::version)?;
    let text = text.trim_end_matches('\n');
    match arguments.listing.json {
        true => {
            json::write(out, &json!({ "version": text }))?;
            writeln!(out)?;
        }
        false => writeln!(out, "{}", Printable(text))?,
    }
    Ok(Outcome::All)
}
