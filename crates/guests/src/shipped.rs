//! Programs of the host that a guest can run: a test's own, most often, that needs a machine of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::GuestError;
use crate::program;

/// A file that a guest starts with.
#[derive(Debug)]
pub(crate) struct Shipped {
    /// Absolute path in the guest.
    pub(crate) path: String,
    /// Its bytes.
    pub(crate) image: Vec<u8>,
}

/// The program as `/bin/NAME`, and each shared library that it needs where it has it on the host.
pub(crate) fn with_libraries(file: &Path) -> Result<Vec<Shipped>, GuestError> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut shipped = vec![read(file, format!("/bin/{name}"))?];
    let listed = program::text(Command::new("ldd").arg(file))?;
    for library in listed.lines().filter_map(library) {
        shipped.push(read(Path::new(library), library.to_owned())?);
    }
    Ok(shipped)
}

/// The path in a line of ldd(1): `libc.so.6 => /lib/libc.so.6 (0x7f…)`, or without an arrow for the loader. None for
/// what the kernel brings.
fn library(line: &str) -> Option<&str> {
    let found = line.split_once("=>").map_or(line, |(_, found)| found);
    let path = found.split_whitespace().next()?;
    path.starts_with('/').then_some(path)
}

fn read(file: &Path, path: String) -> Result<Shipped, GuestError> {
    let image = fs::read(file).map_err(GuestError::file(file))?;
    Ok(Shipped { path, image })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_libraries_and_the_loader() {
        assert_eq!(
            library("\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)"),
            Some("/lib/x/libc.so.6")
        );
        assert_eq!(
            library("\t/lib64/ld.so.2 (0x00007f)"),
            Some("/lib64/ld.so.2")
        );
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007f)"), None);
        assert_eq!(library("\tstatically linked"), None);
    }
}
