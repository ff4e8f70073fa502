use thiserror::Error;
use vread_addr::VirtAddr;

use crate::LinuxError;

/// Why there is no value where a path leads.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TypedError {
    /// The kernel has no such type.
    #[error("this kernel has no type `{wanted}`{}", also(similar))]
    NoType {
        /// What was asked for.
        wanted: String,
        /// Types whose names are like it.
        similar: Vec<String>,
    },
    /// The kernel has no such symbol.
    #[error(
        "there is no symbol `{name}` in this kernel; `vread symbols TARGET {name}` lists names that contain it"
    )]
    NoSymbol {
        /// What was asked for.
        name: String,
    },
    /// Several things have this name.
    #[error(
        "this kernel has several symbols `{name}`; give one of their addresses: {}",
        list(addresses)
    )]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Where they lie.
        addresses: Vec<VirtAddr>,
    },
    /// Nothing says what a symbol is.
    #[error(
        "the type of `{name}` is not known; give it with --type, or write ((struct NAME *){name})"
    )]
    NeedsType {
        /// The symbol or address.
        name: String,
    },
    /// The type has no such member.
    #[error("`{of}` has no member `{member}`{}", also(similar))]
    NoMember {
        /// The type.
        of: String,
        /// The member.
        member: String,
        /// Members whose names are like it.
        similar: Vec<String>,
    },
    /// A step that the value's type does not allow.
    #[error("`{path}` is of type `{of}`, which {why}")]
    WrongStep {
        /// The path up to there.
        path: String,
        /// Its type.
        of: String,
        /// What it is not.
        why: &'static str,
    },
    /// The path goes on behind a pointer to nothing.
    #[error("`{path}` is NULL, so it leads nowhere; look at `{path}` itself, or at another object")]
    Null {
        /// The path up to there.
        path: String,
    },
    /// The kernel maps nothing where the value lies.
    #[error(
        "`{path}` lies at {addr}, where the kernel has nothing mapped; is the pointer stale, or one of user space?"
    )]
    Unmapped {
        /// The path up to there.
        path: String,
        /// Where it would lie.
        addr: VirtAddr,
    },
    /// The value is too large to be shown.
    #[error("`{of}` has {size} bytes, and at most {limit} are shown; take a part of it")]
    TooLarge {
        /// The type.
        of: String,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The kernel cannot be asked.
    #[error(transparent)]
    Kernel(#[from] LinuxError),
}

fn also(similar: &[String]) -> String {
    match similar {
        [] => String::new(),
        names => format!("; there are: {}", names.join(", ")),
    }
}

fn list(addresses: &[VirtAddr]) -> String {
    let shown: Vec<String> = addresses.iter().take(8).map(ToString::to_string).collect();
    shown.join(", ")
}
