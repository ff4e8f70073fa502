use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a folder cannot be mounted on, or the mount did not end well.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MountError {
    /// Nothing there.
    #[error("{dir}: no such folder; make it first: mkdir {dir}", dir = dir.display())]
    NoSuchDirectory {
        /// The folder asked for.
        dir: PathBuf,
    },
    /// A file of another kind.
    #[error("{dir}: not a folder; name an empty folder to mount on", dir = dir.display())]
    NotADirectory {
        /// The path asked for.
        dir: PathBuf,
    },
    /// Something is mounted there.
    #[error("{dir}: already a mount (of type {kind}); unmount it with fusermount3 -u {dir}, or name another folder", dir = dir.display())]
    AlreadyMounted {
        /// The folder asked for.
        dir: PathBuf,
        /// The file system's type.
        kind: String,
    },
    /// A mount there whose server has ended, and that is not ours to clear.
    #[error("{dir}: a dead mount of type {kind}; clear it with fusermount3 -u -z {dir}", dir = dir.display())]
    DeadMount {
        /// The folder asked for.
        dir: PathBuf,
        /// The file system's type.
        kind: String,
    },
    /// A dead mount of ours that could not be cleared.
    #[error("{dir}: a mount left over from a crash, and fusermount3 -u -z cannot clear it: {reason}", dir = dir.display())]
    CannotClear {
        /// The folder asked for.
        dir: PathBuf,
        /// What `fusermount3` said.
        reason: String,
    },
    /// The system refused to look at the folder.
    #[error("{dir}: {source}", dir = dir.display())]
    Directory {
        /// The folder asked for.
        dir: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system refused to mount.
    #[error("{dir}: cannot mount: {source}; is FUSE there (modprobe fuse, package fuse3), and may you open /dev/fuse and write to the folder?", dir = dir.display())]
    Mount {
        /// The folder.
        dir: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The conversation with the kernel broke off.
    #[error("{dir}: serving the mount failed: {source}", dir = dir.display())]
    Serve {
        /// The folder.
        dir: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file's name cannot be one.
    #[error("`{name}` cannot be the name of a file")]
    BadName {
        /// The name.
        name: String,
    },
}
