//! The rival: a server of the same library that does nothing but answer with zeros. What it reaches is
//! what the kernel and the library allow.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData,
    ReplyEntry, ReplyOpen, Request, Session,
};
use vread_kcore_fuse::MAX_READ;

/// Where the zeros come from.
#[derive(Clone, Copy)]
pub(crate) enum From {
    /// One buffer again and again, which stays in a cache.
    OneBuffer,
    /// As much memory as the file has: what a target's memory costs, too, since it must be read once.
    AllMemory,
}

/// Mounts a file `kcore` of `size` zeros on `folder`, for as long as the result lives.
pub(crate) fn serve(folder: &Path, size: u64, from: From) -> BackgroundSession {
    let mut config = Config::default();
    config.n_threads = Some(2);
    config.mount_options = vec![
        MountOption::RO,
        MountOption::CUSTOM(format!("max_read={MAX_READ}")),
    ];
    // Pages of its own, not the kernel's page of zeros many times.
    let len = match from {
        From::OneBuffer => u64::from(MAX_READ),
        From::AllMemory => size,
    };
    let mut bytes = vec![0xff; len as usize];
    bytes.fill(0);
    let session = Session::new(Zeros { bytes, size }, folder, &config);
    session.unwrap().spawn().unwrap()
}

/// A server that answers every read with zeros.
struct Zeros {
    bytes: Vec<u8>,
    size: u64,
}

impl Zeros {
    fn attr(&self, ino: INodeNo) -> FileAttr {
        let folder = ino == INodeNo::ROOT;
        FileAttr {
            ino,
            size: if folder { 0 } else { self.size },
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if folder {
                FileType::Directory
            } else {
                FileType::RegularFile
            },
            perm: if folder { 0o500 } else { 0o400 },
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 8,
            flags: 0,
        }
    }
}

impl Filesystem for Zeros {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        config.set_max_write(MAX_READ).unwrap();
        Ok(())
    }

    fn lookup(&self, _req: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == "kcore" {
            true => reply.entry(&Duration::ZERO, &self.attr(INodeNo(2)), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::ZERO, &self.attr(ino));
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let left = self.size.saturating_sub(offset);
        let len = left.min(u64::from(size)) as usize;
        // Where there is one buffer, some of it will do.
        let start = (offset as usize).min(self.bytes.len() - len);
        reply.data(&self.bytes[start..start + len]);
    }
}
