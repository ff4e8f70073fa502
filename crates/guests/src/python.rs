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
    let _lock = cache::lock("venv")?;
    let venv = cache::folder("venv")?;
    let python = venv.join("bin").join("python3");
    if has_drgn(&python) {
        return Ok(python);
    }
    ensure_packages(&["python3", "python3-venv"])?;
    eprintln!("installing drgn from PyPI");
    // An environment that was cut short is made anew.
    fs::remove_dir_all(&venv).map_err(GuestError::file(&venv))?;
    program::output(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let install = ["-m", "pip", "install", "--quiet", "--upgrade", "drgn"];
    program::output(Command::new(&python).args(install))?;
    let version = "import importlib.metadata; print(importlib.metadata.version('drgn'))";
    let version = program::text(Command::new(&python).args(["-c", version]))?;
    eprintln!("installed drgn {}", version.trim());
    Ok(python)
}

fn has_drgn(python: &Path) -> bool {
    let imported = program::run(Command::new(python).args(["-c", "import drgn"]));
    imported.is_ok_and(|ended| ended.status.success())
}
