//! Building `/init` of the guests: the package `vread-guest-helper`, linked statically.

use std::path::PathBuf;
use std::process::Command;

use crate::cache;
use crate::error::GuestError;
use crate::program;

const PACKAGE: &str = "vread-guest-helper";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The program, built anew if its source has changed.
///
/// It has a target folder of its own, so that it can be built while cargo runs the tests that need
/// it. Flags meant for the tests themselves must not reach it.
pub(crate) fn build() -> Result<PathBuf, GuestError> {
    let folder = cache::folder("init")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(cache::workspace_root())
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            PACKAGE,
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(&folder)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env(
            "RUSTFLAGS",
            "-C target-feature=+crt-static -C strip=symbols",
        );
    program::output(&mut command)?;
    Ok(folder.join(TARGET).join("release").join(PACKAGE))
}
