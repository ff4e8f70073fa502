//! The wire to the host: a character device named on the kernel's command line.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::termios::{OptionalActions, isatty, tcgetattr, tcsetattr};

/// `vread.wire=` a serial port of this name, or the name of a port of the virtual console device.
const PARAMETER: &str = "vread.wire=";
const DEFAULT: &str = "ttyS1";

/// A driver may still be naming its ports when the first program starts.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// Opens the wire; a terminal is made transparent first.
pub(crate) fn open() -> io::Result<File> {
    let cmdline = fs::read_to_string("/proc/cmdline")?;
    let name = cmdline
        .split_whitespace()
        .find_map(|word| word.strip_prefix(PARAMETER));
    let file = open_when_there(name.unwrap_or(DEFAULT))?;
    if isatty(&file) {
        let mut settings = tcgetattr(&file)?;
        settings.make_raw();
        tcsetattr(&file, OptionalActions::Now, &settings)?;
    }
    Ok(file)
}

fn open_when_there(name: &str) -> io::Result<File> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let tried =
            device(name).and_then(|path| OpenOptions::new().read(true).write(true).open(path));
        match tried {
            Err(error) if error.kind() == io::ErrorKind::NotFound && Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

/// Without udev nobody makes `/dev/virtio-ports`, so ports are looked up by name in sysfs.
fn device(name: &str) -> io::Result<PathBuf> {
    let direct = Path::new("/dev").join(name);
    if direct.exists() {
        return Ok(direct);
    }
    for port in fs::read_dir("/sys/class/virtio-ports")? {
        let port = port?;
        let port_name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        if port_name.trim_end() == name {
            return Ok(Path::new("/dev").join(port.file_name()));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("no serial port is called {name}"),
    ))
}
