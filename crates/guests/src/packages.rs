//! Debian packages that must be on the host.

use std::process::Command;

use crate::cache;
use crate::error::GuestError;
use crate::program;

/// Sees to it that these Debian packages are installed, and says so when it installs some.
///
/// Root installs them with `apt-get`; anybody else through `sudo -n`.
///
/// # Errors
/// [`GuestError::MissingPackages`] when packages are missing and neither way is open; else what
/// `apt-get` said.
pub fn ensure_packages(names: &[&str]) -> Result<(), GuestError> {
    let missing = missing(names)?;
    if missing.is_empty() {
        return Ok(());
    }
    let Some(prefix) = privilege()? else {
        return Err(GuestError::MissingPackages {
            packages: missing.join(" "),
        });
    };
    let _lock = cache::lock("packages")?;
    // Another process may have installed them while we waited.
    let missing = self::missing(names)?;
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    eprintln!("installing Debian packages: {packages}");
    apt_get(prefix, &["update"])?;
    let install = ["install", "--yes", "--no-install-recommends"];
    apt_get(prefix, &[&install, missing.as_slice()].concat())
}

fn missing<'a>(names: &[&'a str]) -> Result<Vec<&'a str>, GuestError> {
    let mut missing = Vec::new();
    for name in names {
        let status = program::run(Command::new("dpkg-query").args([
            "--show",
            "--showformat=${db:Status-Status}",
            name,
        ]))?;
        if status.stdout != b"installed" {
            missing.push(*name);
        }
    }
    Ok(missing)
}

/// What to put before `apt-get`, or none when we may not install.
fn privilege() -> Result<Option<&'static [&'static str]>, GuestError> {
    let id = program::text(Command::new("id").arg("-u"))?;
    if id.trim() == "0" {
        return Ok(Some(&[]));
    }
    let sudo = program::run(Command::new("sudo").args(["-n", "true"]));
    Ok(sudo
        .is_ok_and(|ended| ended.status.success())
        .then_some(&["sudo", "-n"]))
}

fn apt_get(prefix: &[&str], arguments: &[&str]) -> Result<(), GuestError> {
    let words = [
        prefix,
        &[
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "--quiet",
        ],
    ]
    .concat();
    let mut command = Command::new(words[0]);
    program::output(command.args(&words[1..]).args(arguments)).map(drop)
}
