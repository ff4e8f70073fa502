//! `vread mounts`

use std::io::Write;

use serde::Serialize;
use vread_linux::{Kernel, mounts::Mount};
use vread_targets::Target;

use crate::{Outcome, arguments::MountsArguments, json, printable::Printable};

/// A mount in JSON.
#[derive(Debug, Serialize)]
struct JsonMount<'a> {
    device: &'a str,
    dir: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    options: &'a [&'static str],
    id: u32,
}

pub(crate) fn run(
    target: &Target,
    arguments: &MountsArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let mounts = target.ask_kernel(Kernel::mounts)?;
    match arguments.listing.json {
        true => json::array(out, mounts.iter().map(JsonMount::from))?,
        false => {
            for mount in &mounts {
                writeln!(out, "{}", Printable(&mount.to_string()))?;
            }
        }
    }
    Ok(Outcome::All)
}

impl<'a> From<&'a Mount> for JsonMount<'a> {
    fn from(mount: &'a Mount) -> Self {
        Self {
            device: &mount.device,
            dir: &mount.dir,
            kind: &mount.kind,
            options: &mount.options,
            id: mount.id,
        }
    }
}
