//! `vread isf`

use std::{
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context as _, bail};
use lzma_rust2::{XzOptions, XzWriter};
use vread_isf::SymbolTable;
use vread_targets::Target;

use crate::{Outcome, arguments::IsfArguments, json, output_file::OutputFile};

/// How hard xz tries: at 3 the file of a kernel takes a quarter of the time that it takes at xz's own 6,
/// and is a tenth larger.
const XZ_PRESET: u32 = 3;

#[derive(Debug, Clone, Copy)]
enum Compression {
    Xz,
    Plain,
}

pub(crate) fn run(target: &Target, arguments: &IsfArguments) -> anyhow::Result<Outcome> {
    let compression = compression(&arguments.output)?;
    let kernel = target.ask_kernel(Ok)?;
    let table = SymbolTable::of(kernel)?;
    let mut file = OutputFile::create(&arguments.output)?;
    match compression {
        Compression::Plain => json::write(&mut file, &table),
        Compression::Xz => write_xz(&table, &mut file),
    }
    .with_context(|| file.trouble())?;
    file.flush().with_context(|| file.trouble())?;
    file.finish()?;
    Ok(Outcome::All)
}

/// Volatility goes by the name too, and takes no other file for a symbol table.
fn compression(path: &Path) -> anyhow::Result<Compression> {
    let name = path.as_os_str().as_encoded_bytes();
    if name.ends_with(b".json.xz") {
        Ok(Compression::Xz)
    } else if name.ends_with(b".json") {
        Ok(Compression::Plain)
    } else {
        bail!(
            "{}: Volatility finds a symbol table by its name; end it with .json.xz or .json",
            path.display()
        );
    }
}

fn write_xz(table: &SymbolTable<'_>, file: &mut OutputFile) -> serde_json::Result<()> {
    let xz = XzWriter::new(file, XzOptions::with_preset(XZ_PRESET));
    let mut xz = BufWriter::with_capacity(1 << 16, xz.map_err(serde_json::Error::io)?);
    json::write(&mut xz, table)?;
    let xz = xz.into_inner().map_err(|error| error.into_error());
    let finished = xz.and_then(XzWriter::finish);
    finished.map(drop).map_err(serde_json::Error::io)
}
