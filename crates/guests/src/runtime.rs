//! The folder of one running guest: its sockets, its log, its memory file. Gone when it is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::cache;
use crate::error::GuestError;
use crate::program;

/// Start of the folder's name.
const PREFIX: &str = "vread-guest-";

/// In each folder; locked as long as somebody uses it.
const IN_USE: &str = "in-use";

/// How much of a log goes into an error.
const LOG_TAIL_BYTES: usize = 6000;

#[derive(Debug)]
pub(crate) struct Runtime {
    folder: TempDir,
    /// Ends the lock when it is closed.
    _in_use: File,
}

impl Runtime {
    /// A new folder with a short path, since a Unix socket's path has at most 107 bytes.
    ///
    /// A process that was killed leaves its folder behind; such folders are removed here.
    pub(crate) fn new() -> Result<Self, GuestError> {
        // A folder that is new and not yet in use must not be taken for one that is left over.
        let _lock = cache::lock("runtime")?;
        let parent = std::env::temp_dir();
        remove_left_over(&parent);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent);
        let folder = folder.map_err(GuestError::file(parent))?;
        let path = folder.path().join(IN_USE);
        let in_use = File::create_new(&path).map_err(GuestError::file(&path))?;
        in_use.lock().map_err(GuestError::file(path))?;
        Ok(Self {
            folder,
            _in_use: in_use,
        })
    }

    pub(crate) fn initramfs(&self) -> PathBuf {
        self.path("initramfs")
    }

    pub(crate) fn wire(&self) -> PathBuf {
        self.path("wire")
    }

    pub(crate) fn qmp(&self, number: usize) -> PathBuf {
        self.path(&format!("qmp{number}"))
    }

    pub(crate) fn memory(&self) -> PathBuf {
        self.path("memory")
    }

    pub(crate) fn console(&self) -> PathBuf {
        self.path("console")
    }

    /// What QEMU itself says.
    pub(crate) fn machine_log(&self) -> PathBuf {
        self.path("qemu")
    }

    /// The ends of the console log and of QEMU's own words, for an error message.
    pub(crate) fn last_words(&self) -> String {
        let tail = |file: &Path| program::tail(&fs::read(file).unwrap_or_default(), LOG_TAIL_BYTES);
        let (console, machine) = (tail(&self.console()), tail(&self.machine_log()));
        format!("--- QEMU said: {machine}\n--- end of the guest's console:\n{console}")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Whoever cannot be looked at or removed belongs to somebody else, and is no trouble of ours.
fn remove_left_over(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    for folder in ours.map(|entry| entry.path()) {
        let in_use = File::open(folder.join(IN_USE));
        if in_use.is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(folder);
        }
    }
}
