use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{self, SeekFrom};
use rustix::io::Errno;
use vread_iov_iter::SourceFailure;

/// The file that holds RAM: a saved image, or the memory file of a running machine.
#[derive(Debug)]
pub(crate) struct BackingFile {
    file: File,
}

/// What lies at a position, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Content up to this position.
    Data { until: u64 },
    /// Nothing was ever written up to this position.
    Hole { until: u64 },
}

impl BackingFile {
    pub(crate) fn new(file: File) -> Self {
        Self { file }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The length of the file now, in bytes.
    pub(crate) fn size(&self) -> io::Result<u64> {
        self.file.metadata().map(|meta| meta.size())
    }

    /// What lies at byte `at`, without populating it. Two system calls.
    pub(crate) fn extent(&self, at: u64) -> Result<Extent, SourceFailure> {
        match fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) if data > at => Ok(Extent::Hole { until: data }),
            Ok(_) => match fs::seek(&self.file, SeekFrom::Hole(at)) {
                // A file that shrank or was punched since the first call.
                Ok(hole) if hole <= at => self.beyond_data(at),
                Ok(hole) => Ok(Extent::Data { until: hole }),
                Err(Errno::NXIO) => self.beyond_data(at),
                Err(errno) => Err(SourceFailure::Os(errno.raw_os_error())),
            },
            Err(Errno::NXIO) => self.beyond_data(at),
            // A file system that cannot tell: everything is content.
            Err(Errno::INVAL | Errno::SPIPE | Errno::OPNOTSUPP) => {
                Ok(Extent::Data { until: u64::MAX })
            }
            Err(errno) => Err(SourceFailure::Os(errno.raw_os_error())),
        }
    }

    /// No content at `at` or after it: the hole at the file's end, unless the end has come before.
    fn beyond_data(&self, at: u64) -> Result<Extent, SourceFailure> {
        let size = self.size().map_err(|error| os_failure(&error))?;
        if at < size {
            Ok(Extent::Hole { until: size })
        } else {
            Err(SourceFailure::Truncated)
        }
    }
}

pub(crate) fn os_failure(error: &io::Error) -> SourceFailure {
    SourceFailure::Os(error.raw_os_error().unwrap_or(libc::EIO))
}
