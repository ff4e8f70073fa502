use thiserror::Error;
use vread_addr::{ByteLen, PhysAddr};
use vread_iov_iter::SourceFailure;

/// Why there is no kernel to attach to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// Nothing in memory looks like a Linux kernel.
    #[error(
        "no Linux kernel found in {scanned} bytes of RAM: no page holds VMCOREINFO; the target runs \
         something else, has not loaded its kernel yet, or its memory is encrypted"
    )]
    NotLinux {
        /// How much RAM was searched.
        scanned: ByteLen,
    },
    /// A Linux kernel is in memory but has not yet written VMCOREINFO.
    #[error(
        "a Linux kernel ({banner}) is in memory at {at} but has not set up VMCOREINFO; it is still \
         booting (try again in a moment), or was built without CONFIG_VMCORE_INFO"
    )]
    StillBooting {
        /// Where its banner was found.
        at: PhysAddr,
        /// The start of the banner.
        banner: String,
    },
    /// VMCOREINFO was found, and none of it is true of the memory that it lies in.
    #[error(
        "VMCOREINFO of {release} found at {at} does not match the memory around it ({why}); it is a \
         copy, or that of a kernel that is gone or still booting"
    )]
    Stale {
        /// The page it was found in.
        at: PhysAddr,
        /// The release that it names.
        release: String,
        /// What does not match.
        why: String,
    },
    /// Several kernels are in memory, and nothing tells which one runs.
    #[error(
        "{} kernels are in memory and nothing tells which one runs: {}",
        candidates.len(),
        list(candidates)
    )]
    Ambiguous {
        /// Release and page of each.
        candidates: Vec<(String, PhysAddr)>,
    },
    /// A kernel of a kind that is not supported.
    #[error("the kernel {release} cannot be read: {why}")]
    Unsupported {
        /// Its release.
        release: String,
        /// What is not supported.
        why: &'static str,
    },
    /// The target as a whole is gone.
    #[error(transparent)]
    Source(#[from] SourceFailure),
}

fn list(candidates: &[(String, PhysAddr)]) -> String {
    let each = candidates
        .iter()
        .map(|(release, at)| format!("{release} at {at}"));
    each.collect::<Vec<_>>().join(", ")
}
