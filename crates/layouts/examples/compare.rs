//! `cargo run -p vread-layouts --example compare OURS TRUTH`
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a tool for the desk"
)]

use std::path::Path;
use std::time::Instant;

use vread_layouts::{DebugFile, Disagreement};

fn main() {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let start = Instant::now();
    let ours = DebugFile::read(Path::new(&files[0])).unwrap();
    println!(
        "{}: {} types, {} symbols, {:?}",
        files[0],
        ours.types.len(),
        ours.symbols.len(),
        start.elapsed()
    );
    let start = Instant::now();
    let truth = DebugFile::read(Path::new(&files[1])).unwrap();
    println!(
        "{}: {} types, {} symbols, {:?}",
        files[1],
        truth.types.len(),
        truth.symbols.len(),
        start.elapsed()
    );
    for (what, found) in [
        ("types", Disagreement::between(&ours.types, &truth.types)),
        (
            "symbols",
            Disagreement::between_symbols(&ours.symbols, &truth.symbols),
        ),
    ] {
        for different in found.different.iter().take(10) {
            println!("{different}\n");
        }
        println!(
            "{what}: {} names in both, {} values equal, {} different, {} names unknown to the truth ({:?}), {} missing",
            found.names,
            found.equal,
            found.different.len(),
            found.unknown.len(),
            found.unknown.iter().take(10).collect::<Vec<_>>(),
            found.missing
        );
    }
}
