//! Debian's cloud kernels: which there are, and getting hold of one.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::apt::{self, Suite};
use crate::cache;
use crate::error::GuestError;
use crate::mirror;

/// A newest version that was looked up longer ago than this is looked up again.
const RESOLVED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Packages that newer images are split into. A plain `linux-base` is something else.
const PARTS: [&str; 3] = ["linux-base-", "linux-binary-", "linux-modules-"];

/// A kernel series that vread is tested against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelRelease {
    /// Of Debian 11, bullseye.
    V5_10,
    /// Of Debian 12, bookworm.
    V6_1,
    /// Of Debian 13, trixie.
    V6_12,
    /// Of Debian's unstable suite, sid, for as long as it is there.
    V7_2,
}

impl KernelRelease {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::V7_2];

    /// Name of the environment variable that chooses which kernels tests boot.
    pub const CHOICE: &str = "VREAD_KERNELS";

    /// The series as the kernel spells it, such as `6.12`.
    #[must_use]
    pub fn series(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V7_2 => "7.2",
        }
    }

    /// Those that tests should boot: what the environment variable [`KernelRelease::CHOICE`] lists,
    /// such as `5.10,7.2`; [`KernelRelease::ALL`] for `all` and when it is not set.
    ///
    /// # Panics
    /// When the variable names a kernel that there is not: a guest must not be skipped in silence.
    #[must_use]
    pub fn under_test() -> Vec<Self> {
        let Ok(listed) = std::env::var(Self::CHOICE) else {
            return Self::ALL.to_vec();
        };
        if listed == "all" {
            return Self::ALL.to_vec();
        }
        let parsed = listed.split(',').map(|series| match series.trim().parse() {
            Ok(release) => release,
            #[expect(clippy::panic, reason = "a guest must not be skipped in silence")]
            Err(error) => panic!("{}: {error}", Self::CHOICE),
        });
        parsed.collect()
    }

    /// Where Debian keeps it.
    pub(crate) fn suite(self) -> &'static str {
        match self {
            Self::V5_10 => "bullseye",
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
            Self::V7_2 => "sid",
        }
    }

    /// Newer images have no unsigned twin of the whole.
    fn suffix(self) -> &'static str {
        match self {
            Self::V5_10 | Self::V6_1 | Self::V6_12 => "-cloud-amd64-unsigned",
            Self::V7_2 => "-cloud-amd64",
        }
    }
}

impl fmt::Display for KernelRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.series())
    }
}

impl std::str::FromStr for KernelRelease {
    type Err = String;

    fn from_str(series: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL
            .into_iter()
            .find(|release| release.series() == series);
        known.ok_or_else(|| {
            let all = Self::ALL.map(Self::series).join(", ");
            format!("{series} is no test kernel; there are {all}")
        })
    }
}

/// An unpacked kernel package.
#[derive(Clone, Debug)]
pub struct Kernel {
    release: KernelRelease,
    package: String,
    root: PathBuf,
    uname: String,
}

impl Kernel {
    /// The newest kernel of the series: from the cache if it was looked up within a day, else from
    /// the machine's Debian mirror. Says on standard error which version it is when that changes.
    ///
    /// # Errors
    /// Only when the kernel is not in the cache: no mirror, no such package, or a failed download.
    pub fn fetch(release: KernelRelease) -> Result<Self, GuestError> {
        let _lock = cache::lock(&format!("kernel-{release}"))?;
        let home = cache::folder(&format!("kernels/{release}"))?;
        let current = home.join("current");
        let known = fs::read_to_string(&current)
            .ok()
            .map(|text| text.trim().to_owned());
        let known = known.filter(|package| home.join(package).is_dir());
        if let Some(package) = &known
            && was_written_within(&current, RESOLVED_FOR)
        {
            return Self::unpacked(release, package, &home);
        }
        let package = match (download_newest(release, &home), known) {
            (Ok(package), _) => package,
            (Err(error), Some(package)) => {
                eprintln!("{error}\nkernel {release}: using {package}, which is in the cache");
                package
            }
            (Err(error), None) => return Err(error),
        };
        fs::write(&current, &package).map_err(GuestError::file(&current))?;
        eprintln!("kernel {release}: {package}");
        Self::unpacked(release, &package, &home)
    }

    fn unpacked(release: KernelRelease, package: &str, home: &Path) -> Result<Self, GuestError> {
        let root = home.join(package);
        let bad = |problem: &str| GuestError::BadKernel {
            path: root.clone(),
            problem: format!("{problem}; remove this folder to fetch it again"),
        };
        let modules = ["usr/lib/modules", "lib/modules"].map(|folder| root.join(folder));
        let modules = modules
            .iter()
            .find_map(|folder| fs::read_dir(folder).ok()?.next());
        let modules = modules.ok_or_else(|| bad("there are no modules"))?;
        let modules = modules.map_err(GuestError::file(&root))?;
        let uname = modules.file_name().to_string_lossy().into_owned();
        let kernel = Self {
            release,
            package: package.to_owned(),
            root: root.clone(),
            uname,
        };
        if !kernel.image().is_file() {
            return Err(bad("there is no vmlinuz"));
        }
        Ok(kernel)
    }

    /// The series.
    #[must_use]
    pub fn release(&self) -> KernelRelease {
        self.release
    }

    /// Name and version of the Debian package.
    #[must_use]
    pub fn package(&self) -> &str {
        &self.package
    }

    /// What `uname -r` says when it runs.
    #[must_use]
    pub fn uname(&self) -> &str {
        &self.uname
    }

    /// The bootable image.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        let in_boot = self
            .root
            .join("boot")
            .join(format!("vmlinuz-{}", self.uname));
        if in_boot.is_file() {
            in_boot
        } else {
            self.modules().join("vmlinuz")
        }
    }

    /// The folder of its modules.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        let newer = self.root.join("usr/lib/modules").join(&self.uname);
        if newer.is_dir() {
            newer
        } else {
            self.root.join("lib/modules").join(&self.uname)
        }
    }
}

fn was_written_within(file: &Path, age: Duration) -> bool {
    let written = fs::metadata(file).and_then(|metadata| metadata.modified());
    let elapsed = written
        .ok()
        .and_then(|written| SystemTime::now().duration_since(written).ok());
    elapsed.is_some_and(|elapsed| elapsed < age)
}

/// Name of the folder that holds the newest kernel of the series: package and version.
fn download_newest(release: KernelRelease, home: &Path) -> Result<String, GuestError> {
    let mirror = mirror::of_this_machine()?;
    eprintln!(
        "kernel {release}: looking for the newest version in Debian's {}",
        release.suite()
    );
    let suite = Suite::update(
        &cache::folder("apt")?.join(release.suite()),
        release.suite(),
        &mirror,
    )?;
    let Some((name, version)) = newest(&suite, release)? else {
        let have = suite.package_names("linux-image-")?;
        let have = have.iter().filter(|name| name.ends_with("-cloud-amd64"));
        return Err(GuestError::NoKernelPackage {
            mirror: mirror.uri,
            suite: release.suite(),
            wanted: format!("linux-image-{release}*{}", release.suffix()),
            have: have.map(String::as_str).collect::<Vec<_>>().join(" "),
        });
    };
    let package = format!("{name}_{version}");
    let root = home.join(&package);
    if !root.is_dir() {
        download(&suite, &name, home, &root)?;
    }
    Ok(package)
}

fn newest(suite: &Suite, release: KernelRelease) -> Result<Option<(String, String)>, GuestError> {
    let mut best: Option<(String, String)> = None;
    for name in suite.package_names(&format!("linux-image-{release}."))? {
        if !name.ends_with(release.suffix()) {
            continue;
        }
        let version = suite.version(&name)?;
        let better = match &best {
            Some((_, best)) => apt::is_newer(&version, best)?,
            None => true,
        };
        if better {
            best = Some((name, version));
        }
    }
    Ok(best)
}

/// Unpacks beside `root` first, so that a folder of that name is always whole.
fn download(suite: &Suite, name: &str, home: &Path, root: &Path) -> Result<(), GuestError> {
    let partial = tempfile::Builder::new().prefix("partial-").tempdir_in(home);
    let partial = partial.map_err(GuestError::file(home))?;
    let image = download_and_unpack(suite, name, partial.path())?;
    for part in apt::dependencies(&image, &PARTS)? {
        download_and_unpack(suite, &part, partial.path())?;
    }
    fs::rename(partial.keep(), root).map_err(GuestError::file(root))
}

/// The package file is kept in a folder of its own, since only apt knows what it will be called.
fn download_and_unpack(suite: &Suite, package: &str, root: &Path) -> Result<PathBuf, GuestError> {
    eprintln!("fetching {package}");
    let folder = root.join("debs").join(package);
    fs::create_dir_all(&folder).map_err(GuestError::file(&folder))?;
    suite.download(package, &folder)?;
    let file = fs::read_dir(&folder)
        .map_err(GuestError::file(&folder))?
        .next();
    let deb = file
        .transpose()
        .map_err(GuestError::file(&folder))?
        .map(|file| file.path());
    let deb = deb.ok_or_else(|| GuestError::BadKernel {
        path: folder,
        problem: format!("apt-get download left no file of {package}"),
    })?;
    apt::unpack(&deb, root)?;
    Ok(deb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_its_series() {
        for release in KernelRelease::ALL {
            assert_eq!(release.series().parse(), Ok(release));
        }
        let error = "6.2".parse::<KernelRelease>().unwrap_err();
        assert!(error.contains("5.10, 6.1, 6.12, 7.2"), "{error}");
    }
}
