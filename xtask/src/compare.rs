//! `cargo xtask compare`: what two debug files say differently.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::ensure;
use vread_layouts::{DebugFile, Disagreement};

/// The most differences shown of each kind.
const SHOWN: usize = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file in question, such as one written by `vread vmlinux`
    ours: PathBuf,
    /// The file that is right, such as the distribution's debug file
    truth: PathBuf,
}

/// Compares types member by member and symbols by address; fails if any differs.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let ours = read(&arguments.ours)?;
    let truth = read(&arguments.truth)?;
    let types = Disagreement::between(&ours.types, &truth.types);
    let symbols = Disagreement::between_symbols(&ours.symbols, &truth.symbols);
    for found in [&types, &symbols] {
        for different in found.different.iter().take(SHOWN) {
            println!("{different}\n");
        }
    }
    println!("types:   {types}");
    println!("symbols: {symbols}");
    let different = types.different.len() + symbols.different.len();
    ensure!(different == 0, "{different} differences");
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<DebugFile> {
    let started = Instant::now();
    let read = DebugFile::read(file)?;
    println!(
        "{}: {} types, {} symbols, read in {:.1} s",
        file.display(),
        read.types.len(),
        read.symbols.len(),
        started.elapsed().as_secs_f64(),
    );
    Ok(read)
}
