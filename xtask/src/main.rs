//! What a developer of vread runs.
#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    Ok(())
}
