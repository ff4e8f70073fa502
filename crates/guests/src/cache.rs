//! `.cache/` of the workspace: what was fetched once and is kept out of the repository.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::GuestError;

/// Root of the workspace that this crate was built in.
pub(crate) fn workspace_root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// A folder below `.cache/`, made if it is not there.
pub(crate) fn folder(name: &str) -> Result<PathBuf, GuestError> {
    let path = workspace_root().join(".cache").join(name);
    fs::create_dir_all(&path).map_err(GuestError::file(&path))?;
    Ok(path)
}

/// Held by the one process that changes what `name` stands for; others wait.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Ends the lock when it is closed.
    _file: File,
}

/// Waits until nobody else holds the lock of `name`.
pub(crate) fn lock(name: &str) -> Result<Lock, GuestError> {
    let path = folder("locks")?.join(name);
    let file = File::create(&path).map_err(GuestError::file(&path))?;
    file.lock().map_err(GuestError::file(&path))?;
    Ok(Lock { _file: file })
}
