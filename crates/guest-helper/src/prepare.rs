//! Turns a kernel that has just started into a guest that can be asked.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::system::{RebootCommand, finit_module, reboot};
use vread_guest_helper::protocol::{Hello, VERSION};

/// Where the host put the modules, and the list that says in which order to load them.
const MODULES: &str = "/modules";
const MODULE_ORDER: &str = "/modules/order";

/// Type and place of each file system. The last two serve tests that look into the kernel.
const MOUNTS: [(&str, &str); 6] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/tmp"),
    ("debugfs", "/sys/kernel/debug"),
    ("bpf", "/sys/fs/bpf"),
];

/// 1 gives real addresses to a reader with `CAP_SYSLOG`, which we are, in every kernel we boot.
const SYSCTLS: [(&str, &str); 1] = [("/proc/sys/kernel/kptr_restrict", "1")];

/// Mounts, sets and loads what the guest needs; what could not be done is told to the host, which
/// knows whether it matters.
pub(crate) fn guest() -> Hello {
    let mut missing = BTreeMap::new();
    for (kind, place) in MOUNTS {
        let done = fs::create_dir_all(place).and_then(|()| mount_at(kind, place));
        note(&mut missing, place, done);
    }
    for (path, value) in SYSCTLS {
        note(&mut missing, path, fs::write(path, value));
    }
    // Before 5.11 the memory of BPF maps counts as locked memory.
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    note(
        &mut missing,
        "memlock",
        setrlimit(Resource::Memlock, unlimited).map_err(io::Error::from),
    );
    let modules = load_modules(&mut missing);
    Hello {
        version: VERSION,
        release: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        cmdline: fs::read_to_string("/proc/cmdline")
            .unwrap_or_default()
            .trim_end()
            .to_owned(),
        modules,
        missing,
    }
}

/// Turns the machine off; a machine that stays on is stopped by the host's deadline.
pub(crate) fn power_off() -> ! {
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        eprintln!("vread-guest-helper: power off failed: {error}");
    }
    loop {
        std::thread::park();
    }
}

fn mount_at(kind: &str, place: &str) -> io::Result<()> {
    mount(kind, place, kind, MountFlags::empty(), None::<&CStr>).map_err(io::Error::from)
}

fn load_modules(missing: &mut BTreeMap<String, String>) -> Vec<String> {
    let order = match fs::read_to_string(MODULE_ORDER) {
        Ok(order) => order,
        Err(error) => {
            missing.insert(MODULE_ORDER.to_owned(), error.to_string());
            return Vec::new();
        }
    };
    let mut loaded = Vec::new();
    for name in order.lines() {
        let image = Path::new(MODULES).join(name).with_extension("ko");
        let done = File::open(image)
            .and_then(|image| finit_module(&image, c"", 0).map_err(io::Error::from));
        if note(missing, name, done).is_some() {
            loaded.push(name.to_owned());
        }
    }
    loaded
}

fn note<T>(missing: &mut BTreeMap<String, String>, what: &str, done: io::Result<T>) -> Option<T> {
    done.map_err(|error| missing.insert(what.to_owned(), error.to_string()))
        .ok()
}
