//! The folder of one running guest: its sockets, its log, its memory file. Gone when it is dropped.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::GuestError;
use crate::program;

/// How much of a log goes into an error.
const LOG_TAIL_BYTES: usize = 6000;

#[derive(Debug)]
pub(crate) struct Runtime {
    folder: TempDir,
}

impl Runtime {
    /// A new folder with a short path, since a Unix socket's path has at most 107 bytes.
    pub(crate) fn new() -> Result<Self, GuestError> {
        let folder = tempfile::Builder::new().prefix("vread-guest-").tempdir();
        Ok(Self {
            folder: folder.map_err(GuestError::file(std::env::temp_dir()))?,
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
