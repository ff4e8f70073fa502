use std::{error::Error, fmt::Debug};

use vread_addr::{ByteLen, FileOffset};
use vread_iov_iter::{IovIter, Progress};
use vread_nofault::UserBuf;

/// Whether what a file says changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// At any time: each read looks anew, and nobody on the way keeps a byte.
    Live,
    /// With each open: whoever has it open sees what it was then, and nobody on the way keeps a byte. Its size
    /// need not be known before.
    MadeAtOpen,
    /// Never while it is open: the system may keep it until it is opened again.
    Fixed,
}

/// A file of the mount, by name.
pub trait ServedFile: Debug + Send + Sync {
    /// Its name in the folder: neither empty nor with a slash.
    fn name(&self) -> &str;

    /// What `stat` says: at least the end of the last byte worth reading. 0 only for a text whose length is
    /// not known before it is made, as that of files in `/proc`: readers of ELF files take 0 for the end.
    fn size(&self) -> ByteLen;

    /// Whether what it says changes.
    fn content(&self) -> Content {
        Content::Live
    }

    /// A view of the file as it is now, for one `open`.
    ///
    /// # Errors
    ///
    /// The reason why there is none; the opener gets `EIO`.
    fn open(&self) -> Result<Box<dyn OpenFile>, Box<dyn Error + Send + Sync>>;
}

/// A view of a file that one opener has. Several threads may read it at once.
pub trait OpenFile: Debug + Send + Sync {
    /// Fills `iter` from byte `at` of the file. Less than asked, without a reason in
    /// [`Progress::stopped`], is the end of the file.
    fn read_at(&self, at: FileOffset, iter: &mut IovIter<'_, UserBuf<'_>>) -> Progress;
}
