use thiserror::Error;
use vread_addr::{PhysAddr, VirtAddr};
use vread_iov_iter::SourceFailure;
use vread_kcore::KcoreError;

use crate::btf::BtfError;

/// Why something that a kernel's memory should hold cannot be read or cannot be believed.
///
/// A single byte that is not there is no error but a zero; this is about structures.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinuxError {
    /// The target as a whole is gone.
    #[error(transparent)]
    Source(#[from] SourceFailure),
    /// The kernel's page table maps nothing there.
    #[error("kernel address {addr} is not mapped")]
    NotMapped {
        /// The address.
        addr: VirtAddr,
    },
    /// The memory would have to lie where the target has no RAM.
    #[error("physical address {addr} lies outside the target's RAM")]
    NotRam {
        /// The address.
        addr: PhysAddr,
    },
    /// A structure does not obey its own rules.
    #[error("{what} at {at} cannot be believed: {why}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// Where it lies, or where in it the contradiction is.
        at: VirtAddr,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A list or table is longer than any kernel's.
    #[error("{what}: no end after {limit}, at {at}; the list may be damaged or cyclic")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// Where we stopped.
        at: VirtAddr,
        /// The limit.
        limit: usize,
    },
    /// A structure changed at every try to read it.
    #[error("{what} at {at} changed while it was read, {tries} times in a row; try again")]
    Torn {
        /// What was read.
        what: &'static str,
        /// Where it lies.
        at: VirtAddr,
        /// How often.
        tries: u32,
    },
    /// A symbol that is needed is not in the kernel's own table.
    #[error("the kernel has no symbol {name}; was it built without all symbols?")]
    NoSymbol {
        /// Its name.
        name: &'static str,
    },
    /// A type or member that is needed is not in the kernel's BTF.
    #[error("the kernel's BTF has no {name}")]
    NoType {
        /// `type` or `type.member`.
        name: &'static str,
    },
    /// The kernel's BTF cannot be used.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// A key that is needed is not in VMCOREINFO.
    #[error("VMCOREINFO has no usable key {key}")]
    NoKey {
        /// The key.
        key: &'static str,
    },
    /// The file cannot be laid out.
    #[error(transparent)]
    Kcore(#[from] KcoreError),
    /// Something else that this part is made of is missing.
    #[error("not without {what}")]
    Needs {
        /// What is missing.
        what: &'static str,
    },
}
