//! What can go wrong on the way to a guest and while talking to it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no guest, or no answer from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// A file or folder of the host could not be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program of the host could not be started.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program of the host ended with a failure.
    #[error("{command} failed with {status}: {stderr}")]
    Program {
        /// The whole command.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
    /// Debian packages are missing and may not be installed.
    #[error(
        "these Debian packages are missing: {packages}; install them as root: apt-get install {packages}"
    )]
    MissingPackages {
        /// Their names.
        packages: String,
    },
    /// The machine's apt configuration names no Debian mirror.
    #[error(
        "no Debian mirror in {}; a deb line with component main is needed there to fetch guest kernels",
        looked_in.display()
    )]
    NoMirror {
        /// The folder looked in.
        looked_in: PathBuf,
    },
    /// The mirror has no such kernel.
    #[error("suite {suite} of {mirror} has no package {wanted}; it has: {have}")]
    NoKernelPackage {
        /// The mirror.
        mirror: String,
        /// The Debian suite.
        suite: &'static str,
        /// What was looked for.
        wanted: String,
        /// The cloud kernels that are there.
        have: String,
    },
    /// A kernel package does not hold what it should.
    #[error("{}: {problem}", path.display())]
    BadKernel {
        /// The unpacked package.
        path: PathBuf,
        /// What is missing or wrong.
        problem: String,
    },
    /// The guest did not come up.
    #[error("the guest did not start within {waited:?}: {reason}\n{console}")]
    Boot {
        /// Time waited.
        waited: Duration,
        /// What ended the wait.
        reason: String,
        /// The end of the console log, and what QEMU said.
        console: String,
    },
    /// A condition did not come true in time.
    #[error("waited {patience:?} for {what}")]
    Never {
        /// What was waited for.
        what: String,
        /// How long.
        patience: Duration,
    },
    /// The wire to the guest broke.
    #[error("the wire to the guest broke: {source}\n{console}")]
    Wire {
        /// What the system said.
        source: io::Error,
        /// The end of the console log, and what QEMU said.
        console: String,
    },
    /// The guest could not do what it was asked.
    #[error("the guest said: {message}")]
    Refused {
        /// What it said.
        message: String,
        /// The error number of its system, where there is one.
        errno: Option<i32>,
    },
    /// The guest's answer makes no sense.
    #[error("an answer of the guest is not understood: {0}")]
    Answer(String),
}

impl GuestError {
    /// For `map_err`: the file that was being used.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
