//! Programs of another Debian suite than the machine's own, without installing them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::apt::{self, Suite};
use crate::cache;
use crate::error::GuestError;
use crate::mirror;

/// A package of a suite and all that it depends on, unpacked into a folder of its own.
///
/// Its programs run with the suite's own loader and libraries, which needs neither root nor `chroot`;
/// files and pipes are the machine's.
#[derive(Clone, Debug)]
pub struct UnpackedPackage {
    root: PathBuf,
}

impl UnpackedPackage {
    /// crash of Debian's unstable suite, which is the newest that Debian has; fetched when it is not
    /// in the cache, with a word about that.
    ///
    /// # Errors
    /// When it is not in the cache: no mirror, no such package, or a failed download.
    pub fn ensure_newest_crash() -> Result<Self, GuestError> {
        Self::ensure("sid", "crash")
    }

    /// crash of Debian 12, likewise: older than most kernels under test.
    ///
    /// # Errors
    /// As those of [`ensure_newest_crash`](Self::ensure_newest_crash).
    pub fn ensure_crash_of_debian_12() -> Result<Self, GuestError> {
        Self::ensure("bookworm", "crash")
    }

    /// drgn of Debian 12, likewise, with the Python that it was built for.
    ///
    /// # Errors
    /// As those of [`ensure_newest_crash`](Self::ensure_newest_crash).
    pub fn ensure_drgn_of_debian_12() -> Result<Self, GuestError> {
        Self::ensure("bookworm", "python3-drgn")
    }

    fn ensure(suite: &'static str, package: &str) -> Result<Self, GuestError> {
        let _lock = cache::lock(&format!("suite-{suite}"))?;
        let home = cache::folder(&format!("suites/{suite}"))?;
        let root = home.join(package);
        if root.is_dir() {
            return Ok(Self { root });
        }
        eprintln!("fetching {package} and what it needs from Debian's {suite}");
        let lists = cache::folder("apt")?.join(suite);
        let suite = Suite::update(&lists, suite, &mirror::of_this_machine()?)?;
        // Unpacked beside, so that a folder of that name is always whole.
        let partial = tempfile::Builder::new()
            .prefix("partial-")
            .tempdir_in(&home);
        let partial = partial.map_err(GuestError::file(&home))?;
        let debs = partial.path().join("debs");
        fs::create_dir_all(debs.join("partial")).map_err(GuestError::file(&debs))?;
        suite.download_with_dependencies(package, &debs)?;
        let unpacked = partial.path().join("root");
        for deb in fs::read_dir(&debs).map_err(GuestError::file(&debs))? {
            let deb = deb.map_err(GuestError::file(&debs))?.path();
            if deb.extension().is_some_and(|extension| extension == "deb") {
                apt::unpack(&deb, &unpacked)?;
            }
        }
        fs::rename(&unpacked, &root).map_err(GuestError::file(&root))?;
        Ok(Self { root })
    }

    /// One of the package's programs, ready for its arguments.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let usr = self.root.join("usr");
        // Older suites have libraries at both places.
        let folders = [&usr, &self.root].map(|folder| folder.join("lib/x86_64-linux-gnu"));
        let loader = folders
            .iter()
            .map(|folder| folder.join("ld-linux-x86-64.so.2"))
            .find(|loader| loader.is_file());
        let mut command = Command::new(loader.unwrap_or_default());
        command
            .arg("--library-path")
            .arg(folders.map(|folder| folder.display().to_string()).join(":"))
            .arg(usr.join("bin").join(program))
            // Python finds its own modules by the first, and those of packages by the second.
            .env("PYTHONHOME", &usr)
            .env("PYTHONPATH", usr.join("lib/python3/dist-packages"));
        command
    }
}
