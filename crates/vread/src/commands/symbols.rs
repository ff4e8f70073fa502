//! `vread symbols`

use std::{
    fmt::Write as _,
    io::{self, Write},
    str::FromStr,
};

use serde::Serialize;
use vread_addr::VirtAddr;
use vread_linux::Symbol;
use vread_targets::Target;

use crate::{
    Outcome,
    arguments::{SymbolsArguments, parse_address},
    glob, json,
    printable::Printable,
};

/// Which symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// Names that contain this.
    Containing(String),
    /// Names that match this pattern as a whole.
    Matching(String),
    /// The one that covers this address.
    Covering(VirtAddr),
}

impl FromStr for What {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match parse_address(text) {
            Some(addr) => Self::Covering(VirtAddr::new(addr)),
            None if text.contains(['*', '?']) => Self::Matching(text.into()),
            None => Self::Containing(text.into()),
        })
    }
}

/// A symbol in JSON.
#[derive(Debug, Serialize)]
struct JsonSymbol<'a> {
    address: String,
    #[serde(rename = "type")]
    letter: char,
    name: &'a str,
    module: Option<&'a str>,
}

pub(crate) fn run(
    target: &Target,
    arguments: &SymbolsArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    if let Some(What::Covering(addr)) = &arguments.what {
        let Some(covering) = target.resolve(*addr)? else {
            tell!("vread: no symbol covers {addr}");
            return Ok(Outcome::SomeMissing);
        };
        match arguments.json {
            true => {
                json::write(
                    out,
                    &serde_json::json!({
                        "address": format!("{addr:#x}"),
                        "symbol": covering,
                    }),
                )?;
                writeln!(out)?;
            }
            false => writeln!(out, "{}", Printable(&covering))?,
        }
        return Ok(Outcome::All);
    }
    let symbols = target.symbols()?;
    let chosen = symbols.iter().filter(|symbol| match &arguments.what {
        None | Some(What::Covering(_)) => true,
        Some(What::Containing(part)) => symbol.name.contains(part.as_str()),
        Some(What::Matching(pattern)) => glob::matches(pattern, &symbol.name),
    });
    let printed = match arguments.json {
        true => print_json(out, chosen)?,
        false => print_lines(out, chosen)?,
    };
    match (&arguments.what, printed) {
        (Some(What::Containing(text) | What::Matching(text)), 0) => {
            tell!("vread: no symbol matches `{}`", Printable(text));
            Ok(Outcome::SomeMissing)
        }
        _ => Ok(Outcome::All),
    }
}

/// The lines of `/proc/kallsyms`.
fn print_lines<'s>(
    out: &mut dyn Write,
    symbols: impl Iterator<Item = &'s Symbol>,
) -> io::Result<usize> {
    let mut printed = 0_usize;
    let mut line = String::new();
    for symbol in symbols {
        line.clear();
        write!(line, "{symbol}").map_err(io::Error::other)?;
        writeln!(out, "{}", Printable(&line))?;
        printed = printed.saturating_add(1);
    }
    Ok(printed)
}

fn print_json<'s>(
    out: &mut dyn Write,
    symbols: impl Iterator<Item = &'s Symbol>,
) -> io::Result<usize> {
    let mut printed = 0_usize;
    out.write_all(b"[")?;
    for symbol in symbols {
        out.write_all(if printed == 0 { b"\n" } else { b",\n" })?;
        json::write(
            out,
            &JsonSymbol {
                address: format!("{:#x}", symbol.addr),
                letter: symbol.letter,
                name: &symbol.name,
                module: symbol.module.as_deref(),
            },
        )?;
        printed = printed.saturating_add(1);
    }
    out.write_all(b"\n]\n")?;
    Ok(printed)
}
