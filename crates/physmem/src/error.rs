use std::io;
use std::path::PathBuf;

use vread_addr::{ByteLen, PhysAddr, PhysRange, VirtAddr};
use vread_iov_iter::SourceFailure;

/// Why a machine's memory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No range of RAM was named.
    #[error("no range of RAM was named, so there is nothing to read")]
    NoRanges,
    /// Two ranges name the same memory.
    #[error("the ranges of RAM {first} and {second} overlap")]
    Overlap {
        /// The one that starts first.
        first: PhysRange,
        /// The one that starts inside it.
        second: PhysRange,
    },
    /// A range reaches beyond what can be addressed.
    #[error("the range of RAM {range} does not fit behind position {at:#x}")]
    Wraps {
        /// The range.
        range: PhysRange,
        /// Where it was said to start, in its file or process.
        at: u64,
    },
    /// A file could not be opened or asked about.
    #[error("{}: cannot {verb}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A RAM image must be a plain file.
    #[error(
        "{} is not a regular file; name the raw memory image or the VMM's memory file",
        path.display()
    )]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// A file is shorter than the RAM that it should hold.
    #[error(
        "{}: the RAM range {range} needs {needed} bytes of file, it has {actual}; the image was cut \
         short, copy it again, or name smaller ranges",
        path.display()
    )]
    TooShort {
        /// The file.
        path: PathBuf,
        /// The range that lies beyond its end.
        range: PhysRange,
        /// How long the file would have to be.
        needed: ByteLen,
        /// How long it is.
        actual: ByteLen,
    },
    /// The process does not exist.
    #[error("there is no process {pid}; it may have ended")]
    NoProcess {
        /// Its number.
        pid: u32,
    },
    /// The system forbids to look into the process.
    #[error("process {pid}: not permitted to {verb} ({source}); {advice}")]
    NotPermitted {
        /// Its number.
        pid: u32,
        /// What was tried.
        verb: &'static str,
        /// What the user can do.
        advice: String,
        /// What the system said.
        source: io::Error,
    },
    /// The process has no memory where its RAM was said to be.
    #[error(
        "process {pid} has nothing mapped at {addr}, where its RAM {range} should be; is it the \
         process that runs the machine?"
    )]
    NotMapped {
        /// Its number.
        pid: u32,
        /// The first address without memory.
        addr: VirtAddr,
        /// The range of RAM that should be there.
        range: PhysRange,
    },
    /// [`Access::Mapped`](crate::Access::Mapped) was demanded, and cannot be had.
    #[error(
        "process {pid}: the RAM {range} cannot be mapped: {reason}; start the machine with shared \
         memory (QEMU: -object memory-backend-memfd,share=on), or read through the process instead"
    )]
    CannotMap {
        /// Its number.
        pid: u32,
        /// The range of RAM.
        range: PhysRange,
        /// Why not.
        reason: String,
    },
}

/// Why a read was refused or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The address is not RAM of the machine.
    #[error("physical address {addr} is not RAM of this machine")]
    NotRam {
        /// The first address asked for that is not RAM.
        addr: PhysAddr,
    },
    /// The memory can no longer be read.
    #[error("cannot read physical memory at {addr}: {failure}")]
    Failed {
        /// The first address whose bytes did not arrive.
        addr: PhysAddr,
        /// Why.
        #[source]
        failure: SourceFailure,
    },
}
