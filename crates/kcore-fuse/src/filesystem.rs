//! The files as `fuser` asks for them.

use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::OsStr,
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, Request,
};
use vread_addr::FileOffset;
use vread_iov_iter::{IovIter, SourceFailure, Stop};
use vread_nofault::UserBuf;

use crate::{Content, MAX_READ, OpenFile, ServedFile};

/// The most failures told, each once.
const MAX_TOLD: usize = 16;

/// The most files open at once.
const MAX_OPEN: usize = 1 << 16;

/// What glibc's stdio keeps of a file. gdb reads through stdio, and shows what it kept.
const LIVE_BLKSIZE: u32 = 8;

/// The same for a file that does not change.
const FIXED_BLKSIZE: u32 = 4096;

/// Sizes follow the target's memory, so attributes are asked for anew each time.
const ATTR_TTL: Duration = Duration::ZERO;

/// Names never change.
const ENTRY_TTL: Duration = Duration::from_secs(3600);

thread_local! {
    /// Where a worker gathers a reply. It is as long as the largest request from the first one on, so
    /// that no read allocates. What is in it beyond a reply's end never leaves.
    static REPLY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The table of files, and who has which open.
pub(crate) struct KcoreFs {
    files: Vec<Box<dyn ServedFile>>,
    open: RwLock<HashMap<u64, Arc<dyn OpenFile>>>,
    next_handle: AtomicU64,
    owner: Owner,
    mounted_at: SystemTime,
    on_failure: Box<dyn Fn(&str) + Send + Sync>,
    told: Mutex<Vec<String>>,
}

/// Whose files they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl fmt::Debug for KcoreFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KcoreFs")
            .field("files", &self.files)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl KcoreFs {
    pub(crate) fn new(
        files: Vec<Box<dyn ServedFile>>,
        owner: Owner,
        on_failure: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Self {
        Self {
            files,
            open: RwLock::default(),
            next_handle: AtomicU64::new(1),
            owner,
            mounted_at: SystemTime::now(),
            on_failure,
            told: Mutex::default(),
        }
    }

    fn file(&self, ino: INodeNo) -> Option<&dyn ServedFile> {
        let index = ino.0.checked_sub(FIRST_FILE)?;
        let index = usize::try_from(index).ok()?;
        self.files.get(index).map(AsRef::as_ref)
    }

    fn attr(&self, ino: INodeNo) -> Option<FileAttr> {
        let blksize = match self.file(ino).map(ServedFile::content) {
            Some(Content::Live) => LIVE_BLKSIZE,
            Some(Content::MadeAtOpen | Content::Fixed) | None => FIXED_BLKSIZE,
        };
        let (kind, perm, nlink, size) = match self.file(ino) {
            Some(file) => (FileType::RegularFile, 0o400, 1, file.size().get()),
            None if ino == INodeNo::ROOT => (FileType::Directory, 0o500, 2, 0),
            None => return None,
        };
        Some(FileAttr {
            ino,
            size,
            blocks: 0,
            atime: self.mounted_at,
            mtime: self.mounted_at,
            ctime: self.mounted_at,
            crtime: self.mounted_at,
            kind,
            perm,
            nlink,
            uid: self.owner.uid,
            gid: self.owner.gid,
            rdev: 0,
            blksize,
            flags: 0,
        })
    }

    fn files_with_inodes(&self) -> impl Iterator<Item = (u64, &str)> {
        (FIRST_FILE..).zip(self.files.iter().map(|file| file.name()))
    }

    fn opened(&self) -> RwLockReadGuard<'_, HashMap<u64, Arc<dyn OpenFile>>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened_mut(&self) -> RwLockWriteGuard<'_, HashMap<u64, Arc<dyn OpenFile>>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells a failure once, in whatever longer words it comes again: a reader may try a thousand times.
    fn tell(&self, failure: &dyn fmt::Display) {
        let words = failure.to_string();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let known = told.iter().any(|told| words.contains(told.as_str()));
        if told.len() < MAX_TOLD && !known {
            (self.on_failure)(&words);
            told.push(words);
        }
    }
}

/// The inode of the first file; the folder is 1.
const FIRST_FILE: u64 = 2;

impl Filesystem for KcoreFs {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // The kernel sizes requests in both directions by what it may write, though we are read only.
        // A kernel that takes less says so by its own limits.
        let _ = config.set_max_write(MAX_READ);
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        // Lets eu-readelf and others map a file that bypasses the page cache.
        let _ = config.add_capabilities(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self
            .files_with_inodes()
            .find(|(_, file)| parent == INodeNo::ROOT && name == *file)
            .and_then(|(ino, _)| self.attr(INodeNo(ino)));
        match found {
            Some(attr) => reply.entry_with_ttls(&ATTR_TTL, &ENTRY_TTL, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(ino) {
            Some(attr) => reply.attr(&ATTR_TTL, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EACCES);
        }
        let Some(file) = self.file(ino) else {
            return reply.error(Errno::ENOENT);
        };
        // Not under the lock: it may take its time.
        let view = match file.open() {
            Ok(view) => view,
            Err(error) => {
                self.tell(&format_args!("{}: {error}", file.name()));
                return reply.error(Errno::EIO);
            }
        };
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let mut open = self.opened_mut();
        if open.len() >= MAX_OPEN {
            return reply.error(Errno::ENFILE);
        }
        open.insert(handle, Arc::from(view));
        drop(open);
        let caching = match file.content() {
            Content::Live | Content::MadeAtOpen => FopenFlags::FOPEN_DIRECT_IO,
            Content::Fixed => FopenFlags::empty(),
        };
        reply.opened(FileHandle(handle), caching | FopenFlags::FOPEN_NOFLUSH);
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.opened().get(&fh.0).cloned() else {
            return reply.error(Errno::EBADF);
        };
        REPLY.with_borrow_mut(|buffer| {
            let max = usize::try_from(MAX_READ).unwrap_or(usize::MAX);
            buffer.resize(max, 0);
            let size = usize::try_from(size).unwrap_or(max);
            let buffer = buffer.get_mut(..size.min(max)).unwrap_or_default();
            let mut segment = UserBuf::new(buffer);
            let mut iter = IovIter::ubuf(&mut segment);
            let progress = file.read_at(FileOffset::new(offset), &mut iter);
            let delivered = progress.advanced().to_usize_clamped();
            if let Some(Stop::Failed(failure)) = progress.stopped {
                self.tell(&failure);
                if delivered == 0 {
                    return reply.error(errno_of(failure));
                }
            }
            reply.data(buffer.get(..delivered).unwrap_or_default());
        });
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        // Dropped behind the lock: the last reader may still hold it, and an image is not small.
        let view = self.opened_mut().remove(&fh.0);
        reply.ok();
        drop(view);
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if ino != INodeNo::ROOT {
            return reply.error(Errno::ENOTDIR);
        }
        let folders = [
            (INodeNo::ROOT, FileType::Directory, "."),
            (INodeNo::ROOT, FileType::Directory, ".."),
        ];
        let files = self
            .files_with_inodes()
            .map(|(ino, name)| (INodeNo(ino), FileType::RegularFile, name));
        // An entry's offset is where the next one begins.
        for ((ino, kind, name), next) in folders.into_iter().chain(files).zip(1_u64..) {
            if next > offset && reply.add(ino, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

fn errno_of(failure: SourceFailure) -> Errno {
    match failure {
        SourceFailure::Cancelled => Errno::EINTR,
        _ => Errno::EIO,
    }
}
