use thiserror::Error;

/// Why bytes are not BTF that can be used. Positions are byte offsets from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BtfError {
    /// Shorter than its header, or than the header says.
    #[error("BTF of {have} bytes is too short, {need} are needed")]
    Short {
        /// How long it is.
        have: usize,
        /// How long it would have to be.
        need: u64,
    },
    /// Longer than any kernel's.
    #[error("BTF of {have} bytes is longer than the limit of {limit}")]
    TooLong {
        /// How long it is.
        have: usize,
        /// The limit.
        limit: usize,
    },
    /// Not BTF, not version 1, or big-endian.
    #[error("the BTF header begins with {found:#x}, not with magic 0xeb9f and version 1")]
    Magic {
        /// Its first three bytes.
        found: u32,
    },
    /// A type's record leaves the type section.
    #[error("BTF type {id} at byte {at} leaves the type section")]
    Record {
        /// The type.
        id: u32,
        /// Where its record begins.
        at: usize,
    },
    /// A kind that no known kernel writes: what follows it cannot be found.
    #[error("BTF type {id} at byte {at} is of unknown kind {kind}")]
    Kind {
        /// The type.
        id: u32,
        /// Where its record begins.
        at: usize,
        /// The kind.
        kind: u32,
    },
    /// More types than any kernel has.
    #[error("more than {limit} BTF types")]
    TooManyTypes {
        /// The limit.
        limit: u32,
    },
    /// A name that is outside the string section or has no end.
    #[error("BTF type {id} has its name at string offset {name}, outside the string section")]
    Name {
        /// The type.
        id: u32,
        /// The offset.
        name: u32,
    },
    /// Types of a module that go on from those of another module.
    #[error("BTF cannot go on from BTF that is split itself")]
    SplitBase,
}
