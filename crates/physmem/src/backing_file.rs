use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{self, Access, AtFlags, SeekFrom};
use rustix::io::Errno;
use vread_addr::{ByteLen, PAGE_SIZE};
use vread_iov_iter::SourceFailure;

/// The file system of tmpfs and memfd, see statfs(2).
const TMPFS_MAGIC: i64 = 0x0102_1994;
/// The file system of huge pages, see statfs(2).
const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;

/// The file that holds RAM: a saved image, or the memory file of a running machine.
#[derive(Debug)]
pub(crate) struct BackingFile {
    file: File,
    kind: Kind,
    residency: Residency,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// tmpfs or memfd: the pages are the file. To look for the end of content takes a step for each page.
    Memory,
    /// hugetlbfs: it calls everything content, and a page that is only looked at through a mapping is taken
    /// from the pool.
    Huge,
    /// Anything else: content lies in extents.
    Stored,
}

/// Whether mincore(2) tells which pages of a file hold something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Residency {
    Told,
    Hidden,
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
        let kind = match fs::fstatfs(&file) {
            Ok(stat) if stat.f_type == TMPFS_MAGIC => Kind::Memory,
            Ok(stat) if stat.f_type == HUGETLBFS_MAGIC => Kind::Huge,
            _ => Kind::Stored,
        };
        // Of huge pages it tells only which ones we have touched ourselves; of a stored file, which ones are
        // cached, holes among them.
        let residency = if kind == Kind::Memory && is_residency_told(&file) {
            Residency::Told
        } else {
            Residency::Hidden
        };
        Self {
            file,
            kind,
            residency,
        }
    }

    pub(crate) fn residency(&self) -> Residency {
        self.residency
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether it lies in huge pages, of which nothing can be told without its owner.
    pub(crate) fn is_huge(&self) -> bool {
        self.kind == Kind::Huge
    }

    /// What a mapping's position in the file and its length must be a multiple of: the size of its pages.
    pub(crate) fn map_unit(&self) -> io::Result<ByteLen> {
        if !self.is_huge() {
            return Ok(PAGE_SIZE);
        }
        // By definition of hugetlbfs.
        let unit = self.file.metadata()?.blksize();
        Ok(ByteLen::new(unit).max(PAGE_SIZE))
    }

    /// The length of the file now, in bytes.
    pub(crate) fn size(&self) -> io::Result<u64> {
        self.file.metadata().map(|meta| meta.size())
    }

    /// What lies at byte `at`, without populating it. Content may go on after the extent. One or two system
    /// calls.
    pub(crate) fn extent(&self, at: u64) -> Result<Extent, SourceFailure> {
        match fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) if data > at => Ok(Extent::Hole { until: data }),
            // Not further than the page: a machine's memory may be one content of many GiB, and to find its
            // end takes some 30 ns a page.
            Ok(_) if self.kind == Kind::Memory => Ok(Extent::Data {
                until: at.saturating_add(1),
            }),
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

/// The kernel's rule since 5.2: the owner of the file, and whoever could write it.
fn is_residency_told(file: &File) -> bool {
    let owned = file
        .metadata()
        .is_ok_and(|meta| meta.uid() == rustix::process::geteuid().as_raw());
    owned || {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::accessat(fs::CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    }
}

pub(crate) fn os_failure(error: &io::Error) -> SourceFailure {
    SourceFailure::Os(error.raw_os_error().unwrap_or(libc::EIO))
}
