//! `vread cmdline`

use std::io::Write;

use anyhow::Context as _;
use serde_json::json;
use vread_linux::Kernel;
use vread_targets::Target;

use crate::{Outcome, arguments::CmdlineArguments, json, printable::Printable};

pub(crate) fn run(
    target: &Target,
    arguments: &CmdlineArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let text = target.ask_kernel(Kernel::saved_command_line).context(
        "the command line cannot be had; `vread dmesg` shows it while the log has its start",
    )?;
    match arguments.listing.json {
        true => {
            json::write(out, &json!({ "command_line": text }))?;
            writeln!(out)?;
        }
        false => writeln!(out, "{}", Printable(&text))?,
    }
    Ok(Outcome::All)
}
