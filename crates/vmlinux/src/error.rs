use std::{fmt, io};

use thiserror::Error;
use vread_addr::ByteLen;
use vread_iov_iter::SourceFailure;
use vread_linux::LinuxError;

/// Why there is no vmlinux.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VmlinuxError {
    /// The kernel's symbols cannot be had, and without them there is nothing to write.
    #[error("no vmlinux without the kernel's symbols: {0}")]
    Symbols(#[source] LinuxError),
    /// The target as a whole is gone.
    #[error(transparent)]
    Source(#[from] SourceFailure),
    /// The file cannot be written.
    #[error("{0}")]
    Write(#[from] io::Error),
    /// What the target says about itself does not fit into the format.
    #[error("the kernel's symbols and types do not fit into a file: {0}")]
    Format(String),
}

/// What a vmlinux lacks, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A section whose borders cannot be believed.
    SectionLeftOut {
        /// Its name.
        section: &'static str,
        /// The symbol at its start.
        start: &'static str,
        /// The symbol behind its end.
        end: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// Memory of a section that is not there.
    Holes {
        /// Its name.
        section: String,
        /// How much of it is zeros now.
        zeroed: ByteLen,
    },
    /// Types that a module adds cannot be believed.
    NoModuleTypes {
        /// The module; `None` where the list of modules itself cannot be read.
        module: Option<String>,
        /// Why.
        why: LinuxError,
    },
    /// There are no types.
    NoTypes {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SectionLeftOut {
                section,
                start,
                end,
                why,
            } => {
                write!(
                    f,
                    "section {section} is left out: of its borders {start} and {end}, {why}"
                )
            }
            Self::Holes { section, zeroed } => {
                write!(
                    f,
                    "{:#x} bytes of section {section} are not there; they are zeros in the file",
                    zeroed.get()
                )
            }
            Self::NoModuleTypes { module, why } => {
                let module = module.as_deref().unwrap_or("all modules");
                write!(f, "types of {module} are left out: {why}")
            }
            Self::NoTypes { why } => {
                write!(f, "symbols and text only, no types: {why}")
            }
        }
    }
}
