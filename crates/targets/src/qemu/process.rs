//! Which process is the QEMU behind a socket, and which sockets a QEMU has.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use vread_addr::{VirtAddr, VirtRange};

use crate::{
    TargetError,
    error::printable,
    qemu::{
        command_line::{self, QmpEndpoint},
        layout::GuestRam,
        qmp::Qmp,
    },
};

/// The most lines of a `maps` file, and the most files of a folder in /proc, looked at.
const MAX_ENTRIES: usize = 1 << 22;

/// The paths of the QMP sockets that process `pid` was told to listen on.
pub(crate) fn qmp_sockets(pid: u32) -> Result<Vec<PathBuf>, TargetError> {
    let arguments = command_line(pid)?;
    let endpoints = command_line::qmp_endpoints(&arguments);
    let paths: Vec<PathBuf> = endpoints
        .iter()
        .filter_map(|endpoint| match endpoint {
            QmpEndpoint::Path(path) => Some(as_seen_by(pid, path)),
            QmpEndpoint::Descriptor(descriptor) => socket_of_descriptor(pid, *descriptor),
        })
        .collect();
    if paths.is_empty() {
        let name = arguments.first().cloned().unwrap_or_default();
        return Err(TargetError::NoQmpOnCommandLine {
            pid,
            name: printable(name.as_bytes()),
        });
    }
    Ok(paths)
}

/// The process that has the guest's memory `ram` at the places QEMU told on `qmp`.
///
/// That is the one that opened the listening socket, unless a wrapper opened it and passed it on: then
/// it is one of those that hold the socket now.
///
/// On the way, each range learns which file is behind it.
pub(crate) fn owner_of(qmp: &Qmp, ram: &mut [GuestRam]) -> Result<u32, TargetError> {
    let path = qmp.path();
    let opener = u32::try_from(qmp.peer_pid())
        .ok()
        .filter(|pid| *pid != 0)
        .ok_or_else(|| TargetError::QemuOutOfSight {
            path: path.to_owned(),
        })?;
    if has_memory(opener, ram)? {
        return Ok(opener);
    }
    for pid in holders_of(path) {
        if pid != opener && has_memory(pid, ram).unwrap_or_default() {
            tracing::debug!(pid, opener, "the socket was opened by another process");
            return Ok(pid);
        }
    }
    Err(TargetError::NotTheQemu {
        path: path.to_owned(),
        pid: opener,
        hva: ram.first().map(|ram| ram.hva).unwrap_or_default(),
    })
}

fn command_line(pid: u32) -> Result<Vec<OsString>, TargetError> {
    let path = PathBuf::from(format!("/proc/{pid}/cmdline"));
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(TargetError::NoSuchProcess { pid });
        }
        Err(source) => return Err(TargetError::ProcIo { path, source }),
    };
    Ok(bytes
        .split(|byte| *byte == 0)
        .map(|argument| OsString::from_vec(argument.to_vec()))
        .collect())
}

/// A path on QEMU's command line, as this process reaches it: relative to QEMU's working folder, and in
/// QEMU's own file system where it has one of its own.
fn as_seen_by(pid: u32, path: &Path) -> PathBuf {
    if path.is_relative() {
        let cwd = PathBuf::from(format!("/proc/{pid}/cwd"));
        let folder = fs::read_link(&cwd)
            .ok()
            .filter(|folder| folder.join(path).exists());
        return folder.unwrap_or(cwd).join(path);
    }
    let own = Path::new(&format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap_or(path));
    match (path.exists(), own.exists()) {
        (false, true) => own,
        _ => path.to_owned(),
    }
}

/// The path that the listening socket `/proc/PID/fd/N` is bound to.
fn socket_of_descriptor(pid: u32, descriptor: u32) -> Option<PathBuf> {
    let link = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).ok()?;
    let inode = socket_inode(link.as_os_str())?;
    listening_sockets()
        .into_iter()
        .find_map(|(listening, path)| (listening == inode).then_some(path))
}

/// The processes that hold the listening socket bound to `path`.
fn holders_of(path: &Path) -> Vec<u32> {
    let inodes: Vec<u64> = listening_sockets()
        .into_iter()
        .filter_map(|(inode, bound)| (bound == path).then_some(inode))
        .collect();
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .take(MAX_ENTRIES)
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|descriptors| {
                descriptors
                    .take(MAX_ENTRIES)
                    .flatten()
                    .filter_map(|entry| fs::read_link(entry.path()).ok())
                    .filter_map(|link| socket_inode(link.as_os_str()))
                    .any(|inode| inodes.contains(&inode))
            })
        })
        .collect()
}

/// `socket:[12345]`
fn socket_inode(link: &OsStr) -> Option<u64> {
    let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
    inode.parse().ok()
}

/// The listening unix sockets that are bound to a path, with their inodes.
fn listening_sockets() -> Vec<(u64, PathBuf)> {
    fs::read("/proc/net/unix")
        .map(|text| parse_listening_sockets(&text))
        .unwrap_or_default()
}

/// Lines such as `0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/vm.sock`: address,
/// references, protocol, flags (0x10000: it listens), type, state, inode, path.
fn parse_listening_sockets(text: &[u8]) -> Vec<(u64, PathBuf)> {
    const ACCEPTS_CONNECTIONS: u64 = 1 << 16;
    text.split(|byte| *byte == b'\n')
        .take(MAX_ENTRIES)
        .filter_map(|line| {
            let mut fields = line
                .splitn(8, |byte| *byte == b' ')
                .filter_map(|field| str::from_utf8(field).ok());
            let flags = u64::from_str_radix(fields.nth(3)?, 16).ok()?;
            let rest = line
                .splitn(7, |byte| *byte == b' ')
                .nth(6)?
                .trim_ascii_start();
            let path_at = rest.iter().position(|byte| *byte == b' ')?;
            let (inode, path) = rest.split_at_checked(path_at)?;
            let inode = str::from_utf8(inode).ok()?.parse().ok()?;
            let path = PathBuf::from(OsStr::from_bytes(path.strip_prefix(b" ")?));
            (flags & ACCEPTS_CONNECTIONS != 0).then_some((inode, path))
        })
        .collect()
}

/// Whether the process has every range of `ram` mapped; if so, each learns which file is behind it.
fn has_memory(pid: u32, ram: &mut [GuestRam]) -> Result<bool, TargetError> {
    let path = PathBuf::from(format!("/proc/{pid}/maps"));
    let maps = fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => TargetError::NoSuchProcess { pid },
        io::ErrorKind::PermissionDenied => TargetError::NotOurs {
            pid,
            source,
            scope: ptrace_scope(),
        },
        _ => TargetError::ProcIo { path, source },
    })?;
    let mappings = mappings(&maps);
    let joined = joined(&mappings);
    let has = |ram: &GuestRam| {
        VirtRange::from_len(ram.hva, ram.range.len())
            .is_some_and(|wanted| joined.iter().any(|range| range.contains_range(&wanted)))
    };
    if !ram.iter().all(has) {
        return Ok(false);
    }
    for ram in ram {
        let mapping = mappings.iter().find(|found| found.range.contains(ram.hva));
        ram.file = mapping.and_then(|mapping| mapping.file.clone());
    }
    Ok(true)
}

/// A line of a `maps` file.
#[derive(Debug, PartialEq, Eq)]
struct ProcessMapping {
    range: VirtRange,
    file: Option<PathBuf>,
}

fn mappings(maps: &[u8]) -> Vec<ProcessMapping> {
    maps.split(|byte| *byte == b'\n')
        .take(MAX_ENTRIES)
        .filter_map(parse_maps_line)
        .collect()
}

/// The mapped ranges, with those that touch made one.
fn joined(mappings: &[ProcessMapping]) -> Vec<VirtRange> {
    let mut ranges: Vec<VirtRange> = Vec::new();
    for ProcessMapping { range, .. } in mappings {
        let grown = ranges
            .last_mut()
            .filter(|last| last.end() == range.start())
            .and_then(|last| {
                *last = VirtRange::new(last.start(), range.end())?;
                Some(())
            });
        if grown.is_none() {
            ranges.push(*range);
        }
    }
    ranges
}

/// `7fe33be00000-7fe35be00000 rw-s 00000000 00:01 1025                       /memfd:ram (deleted)`
fn parse_maps_line(line: &[u8]) -> Option<ProcessMapping> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let (start, end) = str::from_utf8(fields.next()?).ok()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let name = fields.nth(4).unwrap_or_default().trim_ascii_start();
    Some(ProcessMapping {
        range: VirtRange::new(VirtAddr::new(start), VirtAddr::new(end))?,
        file: name
            .starts_with(b"/")
            .then(|| PathBuf::from(OsStr::from_bytes(name))),
    })
}

/// The host's rule for who may read whose memory, where it has one.
fn ptrace_scope() -> Option<u8> {
    fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn joins_mappings_that_touch() {
        let maps = b"1000-3000 rw-p 00000000 00:00 0 \n\
            3000-4000 r--p 00000000 00:00 0                  [x]\n\
            5000-6000 rw-s 00000000 00:01 17                 /dev/shm/my ram (deleted)\n";
        let range = |a, b| VirtRange::new(VirtAddr::new(a), VirtAddr::new(b)).unwrap();
        let mappings = mappings(maps);
        assert_eq!(
            joined(&mappings),
            [range(0x1000, 0x4000), range(0x5000, 0x6000)]
        );
        let files: Vec<_> = mappings.iter().map(|mapping| &mapping.file).collect();
        let shm = Some(PathBuf::from("/dev/shm/my ram (deleted)"));
        assert_eq!(files, [&None, &None, &shm]);
    }

    #[test]
    fn reads_listening_sockets_with_spaces_in_their_path() {
        let text = b"Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01  4711 /run/my vm.sock
0000000000000000: 00000003 00000000 00000000 0001 03  4712 /run/my vm.sock
0000000000000000: 00000002 00000000 00010000 0001 01  4713
";
        assert_eq!(
            parse_listening_sockets(text),
            [(4711, PathBuf::from("/run/my vm.sock"))]
        );
    }

    #[test]
    fn finds_the_holder_of_a_socket_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        assert_eq!(holders_of(&path), [std::process::id()]);
    }
}
