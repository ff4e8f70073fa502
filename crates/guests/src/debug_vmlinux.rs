//! The distribution's own debug file of a guest's kernel: the truth that a recovered one is held
//! against.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::apt::Suite;
use crate::cache;
use crate::error::GuestError;
use crate::kernel::Kernel;
use crate::mirror;
use crate::program;

/// The `vmlinux` with symbols and DWARF of exactly this kernel, at its link-time addresses. It is
/// fetched when it is not in the cache, with a word about that: hundreds of megabytes, of which only
/// the one file is kept.
///
/// # Errors
/// When it is not in the cache: no mirror, no such package, or a failed download.
pub fn ensure_debug_vmlinux(kernel: &Kernel) -> Result<PathBuf, GuestError> {
    let release = kernel.release();
    let _lock = cache::lock(&format!("debug-{release}"))?;
    let home = cache::folder(&format!("debug/{release}"))?;
    let (name, version) = package(kernel)?;
    let package = format!("{name}_{version}");
    let (vmlinux, stamp) = (home.join("vmlinux"), home.join("package"));
    // The stamp is written behind the file, so that it never speaks of one that was cut short.
    if vmlinux.is_file() && fs::read_to_string(&stamp).is_ok_and(|known| known.trim() == package) {
        return Ok(vmlinux);
    }
    eprintln!("fetching {package}: the debug file of kernel {release}, some 300 MB");
    let mirror = mirror::of_this_machine()?;
    let lists = cache::folder("apt")?.join(release.suite());
    let suite = Suite::update(&lists, release.suite(), &mirror)?;
    let partial = tempfile::Builder::new()
        .prefix("partial-")
        .tempdir_in(&home);
    let partial = partial.map_err(GuestError::file(&home))?;
    suite.download(&format!("{name}={version}"), partial.path())?;
    let deb = only_file(partial.path(), |file| {
        file.extension().is_some_and(|extension| extension == "deb")
    })?;
    unpack_vmlinux(&deb, partial.path())?;
    let unpacked = only_file(partial.path(), |file| {
        let name = file.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("vmlinux"))
    })?;
    // From here on the stamp would be wrong.
    let _ = fs::remove_file(&stamp);
    fs::rename(&unpacked, &vmlinux).map_err(GuestError::file(&vmlinux))?;
    fs::write(&stamp, package).map_err(GuestError::file(&stamp))?;
    Ok(vmlinux)
}

/// Name and version of the debug package that goes with a kernel's package.
fn package(kernel: &Kernel) -> Result<(String, &str), GuestError> {
    let (name, version) = kernel
        .package()
        .split_once('_')
        .ok_or_else(|| GuestError::Answer(format!("{} has no version", kernel.package())))?;
    let signed = name.strip_suffix("-unsigned").unwrap_or(name);
    Ok((format!("{signed}-dbg"), version))
}

/// Takes the one file out of a package that also holds the debug files of thousands of modules.
fn unpack_vmlinux(deb: &Path, into: &Path) -> Result<(), GuestError> {
    let mut archive = Command::new("dpkg-deb");
    archive.arg("--fsys-tarfile").arg(deb);
    let start = |source| GuestError::Start {
        program: "dpkg-deb".to_owned(),
        source,
    };
    let mut archive = archive
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let mut tar = Command::new("tar");
    // The folder first: tar puts there what is named behind it.
    tar.args(["--extract", "--directory"]).arg(into).args([
        "--wildcards",
        "--no-anchored",
        "vmlinux*",
    ]);
    let unpacked = match archive.stdout.take() {
        Some(archive) => program::output_from(&mut tar, archive.into()),
        None => program::output(&mut tar),
    };
    // tar reads to the end, so a failure here is dpkg-deb's own; tar's words are the better ones.
    let ended = archive.wait().map_err(start)?;
    unpacked?;
    match ended.success() {
        true => Ok(()),
        false => Err(GuestError::Program {
            command: format!("dpkg-deb --fsys-tarfile {}", deb.display()),
            status: ended.to_string(),
            stderr: String::new(),
        }),
    }
}

/// The regular file below `folder` that `is_wanted`; symbolic links do not count.
fn only_file(folder: &Path, is_wanted: fn(&Path) -> bool) -> Result<PathBuf, GuestError> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(GuestError::file(&folder))? {
            let entry = entry.map_err(GuestError::file(&folder))?;
            let kind = entry.file_type().map_err(GuestError::file(entry.path()))?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && is_wanted(&entry.path()) {
                return Ok(entry.path());
            }
        }
    }
    Err(GuestError::BadKernel {
        path: folder.to_owned(),
        problem: "the debug package holds no vmlinux".to_owned(),
    })
}
