use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::proc_maps::{MappedFile, Vma};

/// The file behind a shared mapping of the process `pid`: that very file, opened again for reading, or
/// one line for each way that did not lead to it.
///
/// A memfd has no path, and a path may name another file by now; so the ways are, in order: the
/// mapping itself (which needs a capability), the process's descriptors, the path as the process sees it.
/// What is not the same device and inode is not taken.
pub(crate) fn open(pid: u32, vma: &Vma, wanted: &MappedFile) -> Result<File, String> {
    let mut reasons = Vec::new();
    let mut take = |path: PathBuf, which: fn(&Metadata, &MappedFile) -> bool| match open_if(
        &path, wanted, which,
    ) {
        Ok(file) => Some(file),
        Err(reason) => {
            reasons.push(format!("{}: {reason}", path.display()));
            None
        }
    };
    // The kernel follows this link without a name. Its file may be on a file system that tells `stat`
    // another device than the mapping, so the inode must do.
    let (start, end) = (vma.range.start().get(), vma.range.end().get());
    let mapping = PathBuf::from(format!("/proc/{pid}/map_files/{start:x}-{end:x}"));
    if let Some(file) = take(mapping, |meta, wanted| meta.ino() == wanted.inode) {
        return Ok(file);
    }
    for path in descriptors_of(pid, wanted) {
        if let Some(file) = take(path, is_it) {
            return Ok(file);
        }
    }
    let by_name = PathBuf::from(format!("/proc/{pid}/root{}", wanted.name));
    if let Some(file) = take(by_name, is_it) {
        return Ok(file);
    }
    Err(reasons.join("; "))
}

/// The descriptors of the process that show the file. They are asked first and opened afterwards, since
/// opening one of another kind may have effects.
fn descriptors_of(pid: u32, wanted: &MappedFile) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| fs::metadata(path).is_ok_and(|meta| is_it(&meta, wanted)))
        .collect()
}

fn open_if(
    path: &PathBuf,
    wanted: &MappedFile,
    which: fn(&Metadata, &MappedFile) -> bool,
) -> Result<File, String> {
    let check = |meta: Metadata| {
        if meta.is_file() && which(&meta, wanted) {
            Ok(())
        } else {
            Err("is another file".to_owned())
        }
    };
    check(fs::metadata(path).map_err(|error| error.to_string())?)?;
    let file = File::open(path).map_err(|error| error.to_string())?;
    // Again: the name may have been given to another file meanwhile.
    check(file.metadata().map_err(|error| error.to_string())?)?;
    Ok(file)
}

fn is_it(meta: &Metadata, wanted: &MappedFile) -> bool {
    meta.is_file()
        && meta.ino() == wanted.inode
        && rustix::fs::major(meta.dev()) == wanted.dev_major
        && rustix::fs::minor(meta.dev()) == wanted.dev_minor
}
