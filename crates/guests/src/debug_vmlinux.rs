//! The distribution's own debug files of a guest's kernel: the truth that a recovered one is held
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

/// The debug files of one kernel.
#[derive(Debug, Clone)]
pub struct DebugFiles {
    vmlinux: PathBuf,
    modules: PathBuf,
}

impl DebugFiles {
    /// The image.
    #[must_use]
    pub fn vmlinux(&self) -> &Path {
        &self.vmlinux
    }

    /// The file of a module, called as in `/proc/modules`, if the package has one.
    #[must_use]
    pub fn module(&self, name: &str) -> Option<PathBuf> {
        let file = self.modules.join(name).with_extension("ko");
        file.is_file().then_some(file)
    }
}

/// The `vmlinux` with symbols and DWARF of exactly this kernel, at its link-time addresses: see
/// [`ensure_debug_files`].
///
/// # Errors
/// As those of [`ensure_debug_files`].
pub fn ensure_debug_vmlinux(kernel: &Kernel) -> Result<PathBuf, GuestError> {
    ensure_debug_files(kernel).map(|files| files.vmlinux)
}

/// The image and the modules of exactly this kernel with symbols and DWARF. They are fetched when they are not in
/// the cache, with a word about that: hundreds of megabytes.
///
/// # Errors
/// When they are not in the cache: no mirror, no such package, or a failed download.
pub fn ensure_debug_files(kernel: &Kernel) -> Result<DebugFiles, GuestError> {
    let release = kernel.release();
    let _lock = cache::lock(&format!("debug-{release}"))?;
    let home = cache::folder(&format!("debug/{release}"))?;
    let (name, version) = package(kernel)?;
    let package = format!("{name}_{version}");
    let stamp = home.join("package");
    let files = DebugFiles {
        vmlinux: home.join("vmlinux"),
        modules: home.join("modules"),
    };
    // The stamp is written behind the files, so that it never speaks of some that were cut short.
    let known = fs::read_to_string(&stamp).is_ok_and(|known| known.trim() == package);
    if known && files.vmlinux.is_file() && files.modules.is_dir() {
        return Ok(files);
    }
    eprintln!("fetching {package}: the debug files of kernel {release}, some 300 MB");
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
    unpack(&deb, partial.path())?;
    // From here on the stamp would be wrong.
    let _ = fs::remove_file(&stamp);
    let _ = fs::remove_dir_all(&files.modules);
    fs::create_dir(&files.modules).map_err(GuestError::file(&files.modules))?;
    let is_vmlinux = |file: &Path| {
        let name = file.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("vmlinux"))
    };
    let vmlinux = only_file(partial.path(), is_vmlinux)?;
    fs::rename(&vmlinux, &files.vmlinux).map_err(GuestError::file(&vmlinux))?;
    for module in files_below(partial.path(), |file| {
        file.extension().is_some_and(|extension| extension == "ko")
    })? {
        let name = module.file_stem().unwrap_or_default().to_string_lossy();
        // Files may be named with a hyphen where the module has none.
        let kept = files.modules.join(format!("{}.ko", name.replace('-', "_")));
        fs::rename(&module, &kept).map_err(GuestError::file(&module))?;
    }
    fs::write(&stamp, package).map_err(GuestError::file(&stamp))?;
    Ok(files)
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

/// Takes the image and those modules that test guests may load out of a package that holds thousands.
fn unpack(deb: &Path, into: &Path) -> Result<(), GuestError> {
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
        // Where the modules of test guests are, of some 1500.
        "kernel/drivers/char/*.ko",
        "kernel/drivers/firmware/qemu_fw_cfg.ko",
        "kernel/drivers/net/*.ko",
        "kernel/drivers/virtio/*.ko",
        "kernel/lib/*.ko",
        "kernel/net/netfilter/nf_*.ko",
        "kernel/net/sched/*.ko",
        "--exclude=*/drivers/net/*/*",
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

/// The regular file below `folder` that `is_wanted`.
fn only_file(folder: &Path, is_wanted: impl Fn(&Path) -> bool) -> Result<PathBuf, GuestError> {
    let found = files_below(folder, is_wanted)?;
    found
        .into_iter()
        .next()
        .ok_or_else(|| GuestError::BadKernel {
            path: folder.to_owned(),
            problem: "the debug package holds no vmlinux".to_owned(),
        })
}

/// The regular files below `folder` that are wanted; symbolic links do not count.
fn files_below(
    folder: &Path,
    is_wanted: impl Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, GuestError> {
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(GuestError::file(&folder))? {
            let entry = entry.map_err(GuestError::file(&folder))?;
            let kind = entry.file_type().map_err(GuestError::file(entry.path()))?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && is_wanted(&entry.path()) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}
