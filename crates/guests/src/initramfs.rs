//! The file system a guest starts from: our first program, busybox beside it, and modules.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use cpio::newc::{Builder, ModeFileType, trailer};

use crate::error::GuestError;
use crate::init_program;
use crate::modules::Module;
use crate::shipped::Shipped;

const BUSYBOX: &str = "/bin/busybox";

/// Writes the archive, in cpio's form `newc`, that the kernel unpacks into its first file system.
pub(crate) fn write(
    archive: &Path,
    modules: &[Module],
    shipped: &[Shipped],
) -> Result<(), GuestError> {
    let init = read(&init_program::build()?)?;
    let busybox = read(Path::new(BUSYBOX))?;
    pack(archive, &init, &busybox, modules, shipped).map_err(GuestError::file(archive))
}

fn pack(
    archive: &Path,
    init: &[u8],
    busybox: &[u8],
    modules: &[Module],
    shipped: &[Shipped],
) -> io::Result<()> {
    let mut out = Archive {
        out: BufWriter::new(File::create(archive)?),
        entries: 0,
    };
    for folder in ["bin", "dev", "modules"] {
        out.folder(folder)?;
    }
    // The kernel opens it for the first program's standard streams before anything is mounted.
    out.device("dev/console", 5, 1)?;
    out.program("init", init)?;
    out.program("bin/busybox", busybox)?;
    let mut order = String::new();
    for module in modules {
        out.program(&format!("modules/{}.ko", module.name), &module.image)?;
        order.push_str(&module.name);
        order.push('\n');
    }
    out.program("modules/order", order.as_bytes())?;
    out.shipped(shipped)?;
    trailer(&mut out.out)?;
    out.out.flush()
}

struct Archive {
    out: BufWriter<File>,
    entries: u32,
}

impl Archive {
    fn folder(&mut self, name: &str) -> io::Result<()> {
        let entry = Builder::new(name)
            .mode(0o755)
            .set_mode_file_type(ModeFileType::Directory);
        self.add(entry, &[])
    }

    fn device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        let entry = Builder::new(name)
            .mode(0o600)
            .set_mode_file_type(ModeFileType::Char);
        self.add(entry.rdev_major(major).rdev_minor(minor), &[])
    }

    fn program(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let entry = Builder::new(name)
            .mode(0o755)
            .set_mode_file_type(ModeFileType::Regular);
        self.add(entry, bytes)
    }

    /// Each file below the folders that its path names; two programs may share a library.
    fn shipped(&mut self, files: &[Shipped]) -> io::Result<()> {
        let mut made = BTreeSet::from(["bin", "dev", "modules"]);
        for file in files {
            let path = file.path.trim_start_matches('/');
            for (end, _) in path.match_indices('/') {
                if made.insert(&path[..end]) {
                    self.folder(&path[..end])?;
                }
            }
            if made.insert(path) {
                self.program(path, &file.image)?;
            }
        }
        Ok(())
    }

    /// Entries are told apart by their inode number: two of the same would be one file.
    fn add(&mut self, entry: Builder, bytes: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut writer = entry.ino(self.entries).write(&mut self.out, len);
        writer.write_all(bytes)?;
        writer.finish().map(drop)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, GuestError> {
    fs::read(path).map_err(GuestError::file(path))
}
