use core::fmt;

use vread_addr::ByteLen;

/// How far a copy into an [`IovIter`](crate::IovIter) got, and why it stopped there.
///
/// `copied + zeroed` is less than what was asked for exactly when `stopped` is `Some`. An iterator that
/// is full refuses the next byte like one that is not resident: with [`Stop::DestFault`].
#[must_use = "a short copy is not a success"]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of content that arrived.
    pub copied: ByteLen,
    /// Zeros that arrived in place of bytes that cannot or must not be read.
    pub zeroed: ByteLen,
    /// Why less arrived than was asked for.
    pub stopped: Option<Stop>,
}

impl Progress {
    /// `len` bytes of content arrived.
    pub fn copied(len: ByteLen) -> Self {
        Self {
            copied: len,
            ..Self::default()
        }
    }

    /// `len` zeros arrived in place of a hole.
    pub fn zeroed(len: ByteLen) -> Self {
        Self {
            zeroed: len,
            ..Self::default()
        }
    }

    /// Nothing arrived, because the source failed.
    pub fn failed(failure: SourceFailure) -> Self {
        Self {
            stopped: Some(Stop::Failed(failure)),
            ..Self::default()
        }
    }

    /// The same progress, marked as stopped by the destination unless all of `want` arrived.
    pub fn or_dest_fault(self, want: ByteLen) -> Self {
        if self.advanced() < want && self.stopped.is_none() {
            return Self {
                stopped: Some(Stop::DestFault),
                ..self
            };
        }
        self
    }

    /// The bytes that arrived, content and zeros: the step by which a cursor moves.
    #[must_use]
    pub fn advanced(&self) -> ByteLen {
        // A copy cannot move more than the address space holds.
        self.copied.saturating_add(self.zeroed)
    }

    /// This progress followed by `next`, whose reason to stop becomes that of the whole.
    pub fn then(self, next: Self) -> Self {
        Self {
            copied: self.copied.saturating_add(next.copied),
            zeroed: self.zeroed.saturating_add(next.zeroed),
            stopped: next.stopped,
        }
    }
}

/// Why a copy ended before all that was asked for had arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The reader's buffer refused the next byte. Fault it in and go on, or give up with `EFAULT`.
    DestFault,
    /// The source as a whole is gone; there is no use in going on.
    Failed(SourceFailure),
}

/// Why a source as a whole can no longer be read. (A single byte that is not there is no failure: it
/// is a zero.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceFailure {
    /// The party that had the memory has ended.
    Gone,
    /// The machine was restarted, so that what the source knows of it is of a system that is gone.
    Restarted,
    /// The memory's file is now too short to hold what it held.
    Truncated,
    /// The system refused the read with this error number.
    Os(i32),
    /// What the target says about its own memory no longer makes sense, try after try.
    Torn,
    /// The reader asked us to stop.
    Cancelled,
}

impl fmt::Display for SourceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the target has ended"),
            Self::Restarted => f.write_str("the guest restarted; open the file again"),
            Self::Truncated => f.write_str("the memory's file was truncated"),
            Self::Os(errno) => write!(f, "the system refused the read (errno {errno})"),
            Self::Torn => f.write_str("the target's own records keep changing while they are read"),
            Self::Cancelled => f.write_str("the read was cancelled"),
        }
    }
}

impl core::error::Error for SourceFailure {}
