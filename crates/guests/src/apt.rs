//! An apt of the project's own: one suite, its own lists and cache, the machine's keys and mirror.
//!
//! It does not touch the machine's package state and needs no privilege.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::GuestError;
use crate::mirror::Mirror;
use crate::program;

/// One Debian suite, as apt sees it.
#[derive(Debug)]
pub(crate) struct Suite {
    home: PathBuf,
}

impl Suite {
    /// Fetches the package lists of `suite` into the folder `home`.
    pub(crate) fn update(home: &Path, suite: &str, mirror: &Mirror) -> Result<Self, GuestError> {
        for folder in ["lists/partial", "cache/archives/partial"] {
            let folder = home.join(folder);
            fs::create_dir_all(&folder).map_err(GuestError::file(&folder))?;
        }
        let signed_by = mirror.signed_by.as_deref();
        let options = signed_by
            .map(|keyring| format!("[signed-by={keyring}] "))
            .unwrap_or_default();
        for (name, text) in [
            (
                "sources.list",
                format!("deb {options}{} {suite} main\n", mirror.uri),
            ),
            ("status", String::new()),
        ] {
            let file = home.join(name);
            fs::write(&file, text).map_err(GuestError::file(&file))?;
        }
        let apt = Self {
            home: home.to_owned(),
        };
        program::output(apt.command("apt-get").args(["--quiet", "update"]))?;
        Ok(apt)
    }

    /// Names of all packages that start with `prefix`.
    pub(crate) fn package_names(&self, prefix: &str) -> Result<Vec<String>, GuestError> {
        let names = program::text(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Version that the suite has of a package.
    pub(crate) fn version(&self, package: &str) -> Result<String, GuestError> {
        let shown =
            program::text(
                self.command("apt-cache")
                    .args(["show", "--no-all-versions", package]),
            )?;
        let version = shown
            .lines()
            .find_map(|line| line.strip_prefix("Version: "));
        version.map(str::to_owned).ok_or_else(|| {
            GuestError::Answer(format!(
                "apt-cache show {package} names no version: {shown:?}"
            ))
        })
    }

    /// Puts the package file into `folder`.
    pub(crate) fn download(&self, package: &str, folder: &Path) -> Result<(), GuestError> {
        let mut command = self.command("apt-get");
        program::output(
            command
                .current_dir(folder)
                .args(["--quiet", "download", package]),
        )
        .map(drop)
    }

    /// Puts the files of the package and of all that it depends on into `folder`, which has a folder
    /// `partial`. What the machine itself has installed does not count.
    pub(crate) fn download_with_dependencies(
        &self,
        package: &str,
        folder: &Path,
    ) -> Result<(), GuestError> {
        let mut command = self.command("apt-get");
        let mut archives = OsString::from("Dir::Cache::archives=");
        archives.push(folder);
        command
            .arg("-o")
            .arg(archives)
            // The lock is that of the machine's own package state, which is not touched.
            .args(["-o", "Debug::NoLocking=1", "--no-install-recommends"])
            .args(["--quiet", "--yes", "--download-only", "install", package]);
        program::output(&mut command).map(drop)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let home = |name: &str| self.home.join(name).display().to_string();
        for (option, value) in [
            ("APT::Architecture", "amd64".to_owned()),
            // Else an update that reached nothing counts as done.
            ("APT::Update::Error-Mode", "any".to_owned()),
            // The unprivileged user that apt drops to cannot write into our folders.
            ("APT::Sandbox::User", "root".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            (
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                "false".to_owned(),
            ),
            ("Dir::Cache", home("cache")),
            ("Dir::Etc::preferences", "/dev/null".to_owned()),
            ("Dir::Etc::preferencesparts", "/dev/null".to_owned()),
            ("Dir::Etc::sourcelist", home("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
            ("Dir::State::lists", home("lists")),
            ("Dir::State::status", home("status")),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
        command
    }
}

/// Names in the `Depends` field of a package file that start with one of `prefixes`.
pub(crate) fn dependencies(deb: &Path, prefixes: &[&str]) -> Result<Vec<String>, GuestError> {
    let depends = program::text(
        Command::new("dpkg-deb")
            .arg("--field")
            .arg(deb)
            .arg("Depends"),
    )?;
    let names = depends
        .split([',', '|'])
        .filter_map(|entry| entry.split_whitespace().next());
    let wanted = names.filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
    Ok(wanted.map(str::to_owned).collect())
}

/// Unpacks a package file without running anything in it.
pub(crate) fn unpack(deb: &Path, into: &Path) -> Result<(), GuestError> {
    program::output(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(into)).map(drop)
}

/// Whether Debian version `a` is newer than `b`.
pub(crate) fn is_newer(a: &str, b: &str) -> Result<bool, GuestError> {
    let compared = program::run(Command::new("dpkg").args(["--compare-versions", a, "gt", b]))?;
    Ok(compared.status.success())
}
