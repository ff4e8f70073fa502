//! `cargo xtask tidy`: house rules that no compiler knows, one file for each.

mod arrows;
mod conformance;
mod length;
mod lints;
mod names;
mod unsafety;

use anyhow::{Context as _, bail};

use crate::workspace;

/// What a check has to say about one place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    /// Worth a look; does not fail.
    Warning(String),
    /// Against a rule.
    Error(String),
}

/// Runs all checks and prints every finding.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = workspace::root();
    let metadata = workspace::metadata(root)?;
    let sources = workspace::sources(root)?;
    let manifests = lints::manifests(&metadata)?;
    let architecture = std::fs::read_to_string(root.join(arrows::LIST)).context(arrows::LIST)?;
    let listed = std::fs::read_to_string(root.join(unsafety::LIST)).unwrap_or_default();
    let proofs =
        std::fs::read_to_string(root.join(conformance::LIST)).context(conformance::LIST)?;
    let findings = [
        arrows::check(&arrows::Drawn::of(&metadata), &architecture),
        unsafety::check(&sources, &listed, &unsafety::crate_roots(&metadata, root)),
        length::check(&sources),
        names::check(&sources, &names::packages(&metadata)),
        lints::check(&manifests),
        conformance::check(&proofs, &sources),
    ]
    .concat();
    let mut errors = 0;
    for finding in &findings {
        match finding {
            Finding::Warning(text) => println!("warning: {text}"),
            Finding::Error(text) => {
                println!("error: {text}");
                errors += 1;
            }
        }
    }
    if errors > 0 {
        bail!("{errors} findings are against a rule");
    }
    println!("{} source files follow the house rules", sources.len());
    let (facts, proved) = conformance::proved(&proofs);
    println!(
        "{proved} of {facts} facts of the read path are proved by a test: {:.1} %",
        100.0 * proved as f64 / facts as f64
    );
    Ok(())
}
