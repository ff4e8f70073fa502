//! What kind of guest a test wants.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kernel::KernelRelease;

/// Loaded into every guest, so that symbols and memory of modules exist: network devices, text
/// search, a queueing discipline and a compressor, none of which needs hardware; and the driver
/// through which a guest tells QEMU where its VMCOREINFO is.
const MODULES: [&str; 8] = [
    "dummy",
    "ifb",
    "veth",
    "ts_bm",
    "ts_kmp",
    "sch_prio",
    "lz4hc_compress",
    "qemu_fw_cfg",
];

/// Where the guest's RAM is on the host.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Backend {
    /// Private anonymous memory of QEMU, which is what a plain `-m` gives.
    #[default]
    Anonymous,
    /// A shared mapping of a `memfd`: no path, but a descriptor in `/proc/PID/fd`.
    Memfd,
    /// A shared mapping of a file in the guest's runtime folder; see `Guest::memory_file`.
    File,
    /// A shared mapping of this file, which QEMU makes and the test removes.
    FileAt(PathBuf),
}

/// Whether the kernel moves itself to a random place when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kaslr {
    /// It does, as everywhere.
    #[default]
    On,
    /// It does not (`nokaslr`).
    Off,
}

/// How to boot a guest. Made by [`GuestConfig::new`], changed by its methods.
#[derive(Clone, Debug)]
pub struct GuestConfig {
    pub(crate) kernel: KernelRelease,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    pub(crate) cpu_model: String,
    pub(crate) backend: Backend,
    pub(crate) kaslr: Kaslr,
    pub(crate) qmp_sockets: usize,
    pub(crate) modules: Vec<String>,
    pub(crate) programs: Vec<PathBuf>,
    pub(crate) kernel_args: Vec<String>,
    pub(crate) qemu_args: Vec<String>,
    pub(crate) boot_deadline: Duration,
    pub(crate) answer_deadline: Duration,
}

impl GuestConfig {
    /// 512 MiB of anonymous memory, two processors of QEMU's fullest model (with 5-level paging
    /// where the kernel knows it), KASLR, one QMP socket.
    #[must_use]
    pub fn new(kernel: KernelRelease) -> Self {
        Self {
            kernel,
            memory_mib: 512,
            cpus: 2,
            cpu_model: "max".to_owned(),
            backend: Backend::default(),
            kaslr: Kaslr::default(),
            qmp_sockets: 1,
            modules: MODULES.map(str::to_owned).to_vec(),
            programs: Vec::new(),
            kernel_args: Vec::new(),
            qemu_args: Vec::new(),
            boot_deadline: Duration::from_secs(120),
            answer_deadline: Duration::from_secs(120),
        }
    }

    /// Size of the RAM in MiB; with 4096 or more a part of it lies above 4 GiB, with a hole before.
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Number of processors.
    #[must_use]
    pub fn cpus(mut self, count: u32) -> Self {
        self.cpus = count;
        self
    }

    /// QEMU's name of the processor, with its features, such as `max,la57=off`; `cx16=off` is always
    /// added, since QEMU gets that instruction wrong.
    #[must_use]
    pub fn cpu_model(mut self, model: &str) -> Self {
        model.clone_into(&mut self.cpu_model);
        self
    }

    /// Where the RAM is on the host.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Whether the kernel moves itself.
    #[must_use]
    pub fn kaslr(mut self, kaslr: Kaslr) -> Self {
        self.kaslr = kaslr;
        self
    }

    /// How many QMP sockets QEMU serves, at least one; each serves one client at a time.
    #[must_use]
    pub fn qmp_sockets(mut self, count: usize) -> Self {
        self.qmp_sockets = count.max(1);
        self
    }

    /// One more module to load, with those it depends on.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// A program of the host to run in the guest, as `/bin/` and its name; the shared libraries that it needs come
    /// with it. (It reaches only what a guest has: a kernel, busybox and memory.)
    #[must_use]
    pub fn program(mut self, file: &Path) -> Self {
        self.programs.push(file.to_owned());
        self
    }

    /// More words for the kernel's command line.
    #[must_use]
    pub fn kernel_args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.kernel_args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// More arguments for QEMU, such as `-device vmcoreinfo`.
    #[must_use]
    pub fn qemu_args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.qemu_args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// How long the guest may take from the start of QEMU to its first word; 120 seconds if not
    /// set, of which an idle machine needs about two.
    #[must_use]
    pub fn boot_deadline(mut self, deadline: Duration) -> Self {
        self.boot_deadline = deadline;
        self
    }

    /// How long the wire may be silent while an answer is due; 120 seconds if not set.
    #[must_use]
    pub fn answer_deadline(mut self, deadline: Duration) -> Self {
        self.answer_deadline = deadline;
        self
    }
}
