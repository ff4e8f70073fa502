//! Taking a mount away without its server's help.

use std::{io, path::Path, process::Command};

use rustix::mount::UnmountFlags;

use crate::MountError;

/// Takes the mount at `dir` out of the tree, even while files on it are open.
pub(crate) fn detach_now(dir: &Path) -> io::Result<()> {
    // Root may do so itself; everybody else has a helper for it.
    if rustix::mount::unmount(dir, UnmountFlags::DETACH).is_ok() {
        return Ok(());
    }
    let output = Command::new("fusermount3")
        .args(["-u", "-z", "--"])
        .arg(dir)
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("fusermount3: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(reason))
}

/// Clears what a crash left at `dir`.
pub(crate) fn clear(dir: &Path) -> Result<(), MountError> {
    tracing::warn!(dir = %dir.display(), "clearing a dead mount left by a crash");
    detach_now(dir).map_err(|error| MountError::CannotClear {
        dir: dir.into(),
        reason: error.to_string(),
    })
}
