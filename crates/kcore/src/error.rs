use thiserror::Error;
use vread_addr::FileOffset;

/// Why an image could not be laid out, or a read was refused before its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KcoreError {
    /// More segments than an ELF header can count.
    #[error("{segments} segments are more than the {limit} that an ELF header can count")]
    TooManySegments {
        /// How many there are.
        segments: usize,
        /// How many there can be.
        limit: usize,
    },
    /// A note or the whole file would be longer than its fields can say.
    #[error("the image does not fit a file of 64-bit offsets")]
    TooLarge,
    /// The read would pass the largest file position, 2^63 - 1 (`EINVAL`, K63).
    #[error("a read of {count} bytes at file offset {at} passes the largest file position")]
    PositionOverflow {
        /// Where the read would start.
        at: FileOffset,
        /// How many bytes it would have.
        count: usize,
    },
}
