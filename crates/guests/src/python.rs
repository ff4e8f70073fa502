//! Peers that come from PyPI, in a Python environment of the project's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;
use crate::error::GuestError;
use crate::packages::ensure_packages;
use crate::program;

/// The Python interpreter of an environment that has drgn; installs the newest one when there is
/// none, and says so.
///
/// # Errors
/// What `python3`, `pip` or `apt-get` said.
pub fn ensure_drgn() -> Result<PathBuf, GuestError> {
    ensure("venv", "drgn", "drgn")
}

/// As [`ensure_drgn`], for Volatility 3.
///
/// # Errors
/// What `python3`, `pip` or `apt-get` said.
pub fn ensure_volatility() -> Result<PathBuf, GuestError> {
    ensure("venv-volatility", "volatility3", "volatility3")
}

/// Environments are apart, so that no package's needs are another's trouble.
fn ensure(folder: &str, package: &str, module: &str) -> Result<PathBuf, GuestError> {
    let _lock = cache::lock(folder)?;
    let venv = cache::folder(folder)?;
    let python = venv.join("bin").join("python3");
    if has(&python, module) {
        return Ok(python);
    }
    ensure_packages(&["python3", "python3-venv"])?;
    eprintln!("installing {package} from PyPI");
    // An environment that was cut short is made anew.
    fs::remove_dir_all(&venv).map_err(GuestError::file(&venv))?;
    program::output(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let install = ["-m", "pip", "install", "--quiet", "--upgrade", package];
    program::output(Command::new(&python).args(install))?;
    let version =
        format!("import importlib.metadata; print(importlib.metadata.version({package:?}))");
    let version = program::text(Command::new(&python).args(["-c", &version]))?;
    eprintln!("installed {package} {}", version.trim());
    Ok(python)
}

fn has(python: &Path, module: &str) -> bool {
    let imported = program::run(Command::new(python).args(["-c", &format!("import {module}")]));
    imported.is_ok_and(|ended| ended.status.success())
}
