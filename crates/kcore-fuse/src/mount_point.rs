//! Whether a folder can be mounted on.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use crate::{MountError, SOURCE, detach};

/// The most mounts looked at.
const MAX_MOUNTS: usize = 1 << 20;

/// Checks that `dir` is a folder with nothing mounted on it, after clearing a dead mount of ours.
/// Returns its canonical path.
pub(crate) fn prepare(dir: &Path) -> Result<PathBuf, MountError> {
    match fs::metadata(dir) {
        Ok(metadata) if !metadata.is_dir() => {
            return Err(MountError::NotADirectory { dir: dir.into() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(MountError::NoSuchDirectory { dir: dir.into() });
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(MountError::NotADirectory { dir: dir.into() });
        }
        // What a FUSE mount answers whose server has ended.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => match dead_mount(dir) {
            Some(mount) if mount.is_ours() => detach::clear(dir)?,
            other => {
                return Err(MountError::DeadMount {
                    dir: dir.into(),
                    kind: other.map_or("unknown".into(), |mount| mount.kind),
                });
            }
        },
        Err(source) => {
            return Err(MountError::Directory {
                dir: dir.into(),
                source,
            });
        }
    }
    let dir = fs::canonicalize(dir).map_err(|source| MountError::Directory {
        dir: dir.into(),
        source,
    })?;
    match mount_at(&dir) {
        Some(mount) => Err(MountError::AlreadyMounted {
            dir,
            kind: mount.kind,
        }),
        None => Ok(dir),
    }
}

/// A mount, as `/proc/self/mountinfo` shows it.
#[derive(Debug, PartialEq, Eq)]
struct MountInfo {
    point: PathBuf,
    kind: String,
    source: String,
}

impl MountInfo {
    fn is_ours(&self) -> bool {
        (self.kind == "fuse" || self.kind.starts_with("fuse.")) && self.source == SOURCE
    }
}

/// The dead mount at `dir`. The folder itself no longer resolves, the one above does.
fn dead_mount(dir: &Path) -> Option<MountInfo> {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = fs::canonicalize(parent).ok()?;
    mount_at(&parent.join(dir.file_name()?))
}

/// The topmost mount on exactly `dir`, a canonical path.
fn mount_at(dir: &Path) -> Option<MountInfo> {
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    mounts
        .split(|byte| *byte == b'\n')
        .take(MAX_MOUNTS)
        .filter_map(parse_mountinfo_line)
        .filter(|mount| mount.point == dir)
        .last()
}

/// `36 35 98:0 /root /mount/point rw,noatime shared:1 - fuse.sshfs source rw`: the fifth field, and the
/// two behind the lone dash.
fn parse_mountinfo_line(line: &[u8]) -> Option<MountInfo> {
    let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
    let mut fields = line.split(|byte| *byte == b' ');
    let point = PathBuf::from(OsString::from_vec(unescape(fields.nth(4)?)));
    let mut behind = fields.skip_while(|field| *field != b"-").skip(1);
    Some(MountInfo {
        point,
        kind: text(behind.next()?),
        source: text(behind.next()?),
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_mount_with_a_space_in_its_path() {
        let line = b"36 35 0:98 / /mnt/my\\040vm\\134 rw,nosuid shared:7 master:1 - fuse vread ro";
        let mount = parse_mountinfo_line(line).unwrap();
        assert_eq!(mount.point, Path::new("/mnt/my vm\\"));
        assert!(mount.is_ours());
    }

    #[test]
    fn knows_what_is_mounted_on_proc() {
        assert_eq!(mount_at(Path::new("/proc")).unwrap().kind, "proc");
        let error = prepare(Path::new("/proc")).unwrap_err();
        assert!(
            matches!(error, MountError::AlreadyMounted { .. }),
            "{error}"
        );
    }

    #[test]
    fn tells_what_is_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(
            prepare(&file),
            Err(MountError::NotADirectory { .. })
        ));
        assert!(matches!(
            prepare(&file.join("below")),
            Err(MountError::NotADirectory { .. })
        ));
        assert!(matches!(
            prepare(&dir.path().join("none")),
            Err(MountError::NoSuchDirectory { .. })
        ));
        assert!(prepare(dir.path()).is_ok());
    }
}
