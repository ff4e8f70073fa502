//! A running guest.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::json;
use vread_guest_helper::digest::Chunk;
use vread_guest_helper::protocol::{FileRange, Hello, MapId, Output, RangeHash, Request, VERSION};

use crate::config::{Backend, GuestConfig};
use crate::error::GuestError;
use crate::initramfs;
use crate::kernel::Kernel;
use crate::machine::{Machine, WIRE_MODULES};
use crate::modules;
use crate::packages::ensure_packages;
use crate::qmp::QmpClient;
use crate::runtime::Runtime;
use crate::shipped;
use crate::vmallocinfo::VmallocInfoLine;
use crate::wire::{Listener, Wire};

/// QEMU, the programs in the guest, and what unpacks its modules.
const PACKAGES: [&str; 4] = [
    "busybox-static",
    "qemu-system-x86",
    "util-linux",
    "xz-utils",
];

pub(crate) const PAGE_BYTES: u64 = 4096;

/// What a kernel says last.
const PANIC: &str = "Kernel panic - not syncing: Fatal exception";

/// How long QEMU may take to end after its guest has.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// A guest that has started and answers. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Guest {
    // Dropped in this order: the machine before the folder it writes to.
    wire: Mutex<Wire>,
    machine: Machine,
    runtime: Runtime,
    kernel: Kernel,
    hello: Hello,
    boot_time: Duration,
    qmp_paths: Vec<PathBuf>,
    memory_file: Option<PathBuf>,
}

/// A virtually contiguous area of the guest's kernel whose content is known.
#[derive(Debug)]
pub struct BpfMap {
    id: MapId,
    /// Virtual addresses of the whole area, header page and guard page included.
    pub area: Range<u64>,
    /// Virtual addresses of the data, which is the pattern: whole pages.
    pub data: Range<u64>,
}

impl Guest {
    /// Starts a guest and waits until it answers, or until the deadline of `config`.
    ///
    /// A guest whose kernel dies before its first word is started once more, and said so: QEMU's
    /// translator breaks a kernel now and then that boots on a busy machine.
    ///
    /// # Errors
    /// What is missing on the host, or the end of the guest's console when it does not come up.
    pub fn boot(config: &GuestConfig) -> Result<Self, GuestError> {
        match Self::boot_once(config) {
            Err(GuestError::Boot { console, .. }) if console.contains(PANIC) => {
                eprintln!("the guest's kernel died while it booted; once more:\n{console}");
                Self::boot_once(config)
            }
            result => result,
        }
    }

    fn boot_once(config: &GuestConfig) -> Result<Self, GuestError> {
        ensure_packages(&PACKAGES)?;
        let kernel = Kernel::fetch(config.kernel)?;
        let runtime = Runtime::new()?;
        let wanted = WIRE_MODULES.iter().map(|name| (*name).to_owned());
        let wanted: Vec<String> = wanted.chain(config.modules.iter().cloned()).collect();
        let mut programs = Vec::new();
        for program in &config.programs {
            programs.extend(shipped::with_libraries(program)?);
        }
        initramfs::write(
            &runtime.initramfs(),
            &modules::in_load_order(&kernel, &wanted)?,
            &programs,
        )?;

        let listener = Listener::new(&runtime.wire())?;
        let started = Instant::now();
        let mut machine = Machine::start(config, &kernel, &runtime)?;
        let greeted = greet(&listener, started + config.boot_deadline, &mut machine);
        let (wire, hello) = greeted.map_err(|error| GuestError::Boot {
            waited: started.elapsed(),
            reason: match machine.end(LAST_BREATH) {
                Some(status) => format!("{error}; QEMU ended with {status}"),
                None => error.to_string(),
            },
            console: runtime.last_words(),
        })?;
        let boot_time = started.elapsed();
        wire.set_patience(config.answer_deadline)
            .map_err(GuestError::file(runtime.wire()))?;
        let memory_file = match &config.backend {
            Backend::Anonymous | Backend::Memfd => None,
            Backend::File => Some(runtime.memory()),
            Backend::FileAt(path) => Some(path.clone()),
        };
        let qmp_paths = (0..config.qmp_sockets)
            .map(|number| runtime.qmp(number))
            .collect();
        let wire = Mutex::new(wire);
        Ok(Self {
            wire,
            machine,
            runtime,
            kernel,
            hello,
            boot_time,
            qmp_paths,
            memory_file,
        })
    }

    /// Process id of QEMU.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.machine.pid()
    }

    /// The first QMP socket.
    #[must_use]
    pub fn qmp_path(&self) -> &Path {
        self.qmp_paths
            .first()
            .map_or(Path::new(""), PathBuf::as_path)
    }

    /// All QMP sockets; each serves one client at a time.
    #[must_use]
    pub fn qmp_paths(&self) -> &[PathBuf] {
        &self.qmp_paths
    }

    /// The file that holds the guest's RAM, if a file does.
    #[must_use]
    pub fn memory_file(&self) -> Option<&Path> {
        self.memory_file.as_deref()
    }

    /// The kernel package it runs.
    #[must_use]
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// What it said of itself when it was ready.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Time from the start of QEMU to the guest's first word.
    #[must_use]
    pub fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// QEMU's command line, for a person to read.
    #[must_use]
    pub fn command_line(&self) -> &str {
        self.machine.command_line()
    }

    /// All that the guest wrote to its console so far.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn console(&self) -> Result<String, GuestError> {
        let path = self.runtime.console();
        let bytes = fs::read(&path).map_err(GuestError::file(path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The whole of a file in the guest, such as `/proc/kallsyms`.
    ///
    /// # Errors
    /// [`GuestError::Refused`] when the guest cannot; [`GuestError::Wire`] when it is gone. So for
    /// all requests below.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, GuestError> {
        self.ask(&Request::Read {
            path: path.to_owned(),
        })
    }

    /// The whole of a text file in the guest.
    ///
    /// # Errors
    /// As [`Guest::read`], or the file is not UTF-8.
    pub fn read_text(&self, path: &str) -> Result<String, GuestError> {
        String::from_utf8(self.read(path)?)
            .map_err(|error| GuestError::Answer(format!("{path} is no text: {error}")))
    }

    /// A part of a file in the guest, such as `/proc/kcore`; shorter only at the file's end.
    ///
    /// # Errors
    /// As [`Guest::read`].
    pub fn read_at(&self, path: &str, range: FileRange) -> Result<Vec<u8>, GuestError> {
        self.ask(&Request::ReadAt {
            path: path.to_owned(),
            range,
        })
    }

    /// Hashes of a file in pieces of `lines` lines; compare with
    /// [`digest::line_chunks`](crate::digest::line_chunks).
    ///
    /// # Errors
    /// As [`Guest::read`].
    pub fn hash_lines(&self, path: &str, lines: u64) -> Result<Vec<Chunk>, GuestError> {
        self.ask_json(&Request::HashLines {
            path: path.to_owned(),
            lines,
        })
    }

    /// Hashes of a file in pieces of `bytes` bytes; compare with
    /// [`digest::byte_chunks`](crate::digest::byte_chunks).
    ///
    /// # Errors
    /// As [`Guest::read`].
    pub fn hash_bytes(&self, path: &str, bytes: u64) -> Result<Vec<Chunk>, GuestError> {
        self.ask_json(&Request::HashBytes {
            path: path.to_owned(),
            bytes,
        })
    }

    /// Hashes of many parts of a file, one answer each and in order; compare with
    /// [`digest::of`](crate::digest::of). Twenty thousand parts are one round trip.
    ///
    /// # Errors
    /// As [`Guest::read`]; a part that cannot be read is told in its own answer.
    pub fn hash_ranges(
        &self,
        path: &str,
        ranges: &[FileRange],
    ) -> Result<Vec<RangeHash>, GuestError> {
        let ranges = ranges.to_vec();
        self.ask_json(&Request::HashRanges {
            path: path.to_owned(),
            ranges,
        })
    }

    /// Writes to a file in the guest that exists, with one `write`: for sysctls and the like.
    ///
    /// # Errors
    /// As [`Guest::read`].
    pub fn write(&self, path: &str, text: &str) -> Result<(), GuestError> {
        self.order(&Request::Write {
            path: path.to_owned(),
            text: text.to_owned(),
        })
    }

    /// Runs a program in the guest and waits for it; there is `/bin/busybox` with its applets.
    ///
    /// # Errors
    /// As [`Guest::read`]; the program's own failure is in its output.
    pub fn run(&self, argv: &[&str]) -> Result<Output, GuestError> {
        self.ask_json(&Request::Run {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        })
    }

    /// The areas of the guest's vmalloc space as its kernel lists them.
    ///
    /// # Errors
    /// As [`Guest::read`], or a line that is not understood.
    pub fn vmallocinfo(&self) -> Result<Vec<VmallocInfoLine>, GuestError> {
        let text = self.read_text("/proc/vmallocinfo")?;
        let parsed = text.lines().map(|line| {
            VmallocInfoLine::parse(line)
                .ok_or_else(|| GuestError::Answer(format!("a line of vmallocinfo: {line:?}")))
        });
        parsed.collect()
    }

    /// Makes the guest's kernel keep `bytes` (rounded up to pages) of the pattern of `seed` in one
    /// virtually contiguous area; see [`pattern`](crate::pattern).
    ///
    /// # Errors
    /// As [`Guest::read`], or the area does not show in vmallocinfo.
    pub fn create_bpf_map(&self, bytes: u64, seed: u64) -> Result<BpfMap, GuestError> {
        let before = self.vmallocinfo()?;
        let id = self.ask_json(&Request::BpfMapCreate { bytes, seed })?;
        let data_bytes = bytes.next_multiple_of(PAGE_BYTES);
        // One page for the map's own structure before the data, one guard page after it.
        let area_bytes = data_bytes + 2 * PAGE_BYTES;
        let after = self.vmallocinfo()?;
        let mut new = after.into_iter().filter(|line| {
            line.range.end - line.range.start == area_bytes && !before.contains(line)
        });
        let (Some(line), None) = (new.next(), new.next()) else {
            return Err(GuestError::Answer(format!(
                "not exactly one new area of {area_bytes:#x} bytes in vmallocinfo for the map"
            )));
        };
        let start = line.range.start + PAGE_BYTES;
        Ok(BpfMap {
            id,
            area: line.range,
            data: start..start + data_bytes,
        })
    }

    /// Overwrites the data of a map with the pattern of another seed.
    ///
    /// # Errors
    /// As [`Guest::read`].
    pub fn fill_bpf_map(&self, map: &BpfMap, seed: u64) -> Result<(), GuestError> {
        self.order(&Request::BpfMapFill { map: map.id, seed })
    }

    /// Gives a map back; the kernel frees its area some time later.
    ///
    /// # Errors
    /// As [`Guest::read`].
    pub fn close_bpf_map(&self, map: BpfMap) -> Result<(), GuestError> {
        self.order(&Request::BpfMapClose { map: map.id })
    }

    /// Keeps `bytes` (rounded up to pages) of the pattern of `seed` in pages that the guest's kernel took
    /// out of its direct map.
    ///
    /// # Errors
    /// As [`Guest::read`]: kernels before 5.14 cannot, and some later ones must be told to
    /// (`secretmem.enable=1`).
    pub fn keep_secret_memory(&self, bytes: u64, seed: u64) -> Result<(), GuestError> {
        self.order(&Request::SecretMemory { bytes, seed })
    }

    /// Starts processes that sleep; their pids in the guest.
    ///
    /// # Errors
    /// As [`Guest::read`].
    pub fn spawn_processes(&self, count: u32) -> Result<Vec<u32>, GuestError> {
        self.ask_json(&Request::SpawnProcesses { count })
    }

    /// Starts threads that sleep, in the guest's process 1; their thread ids.
    ///
    /// # Errors
    /// As [`Guest::read`].
    pub fn spawn_threads(&self, count: u32) -> Result<Vec<u32>, GuestError> {
        self.ask_json(&Request::SpawnThreads { count })
    }

    /// Restarts the guest as its reset button would, and does not wait for it. QEMU stays.
    ///
    /// # Errors
    /// QEMU does not obey.
    pub fn push_reset_button(&self) -> Result<(), GuestError> {
        let mut qmp = QmpClient::connect(self.qmp_path())?;
        // It was started to end with its guest.
        qmp.execute("set-action", json!({ "reboot": "reset" }))?;
        qmp.execute("system_reset", json!({})).map(drop)
    }

    /// Waits until a guest that was [reset](Guest::push_reset_button) answers again.
    ///
    /// # Errors
    /// It does not; it is of no use then.
    pub fn wait_for_restart(&mut self, patience: Duration) -> Result<(), GuestError> {
        let wire = self.wire.get_mut().unwrap_or_else(PoisonError::into_inner);
        let greeted = wire.set_patience(patience).and_then(|()| wire.receive());
        match greeted {
            Ok(_) => Ok(()),
            Err(source) => Err(self.broken_wire(source)),
        }
    }

    /// How QEMU ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        self.machine.ended()
    }

    /// Turns the guest off in good order and waits until QEMU has ended.
    ///
    /// # Errors
    /// As [`Guest::read`], or QEMU is still there at the deadline; it is killed then.
    pub fn power_off(mut self, deadline: Duration) -> Result<(), GuestError> {
        self.order(&Request::PowerOff)?;
        if self.machine.end(deadline).is_none() {
            let source = io::Error::new(io::ErrorKind::TimedOut, "the guest did not turn off");
            return Err(self.broken_wire(source));
        }
        Ok(())
    }

    fn order(&self, request: &Request) -> Result<(), GuestError> {
        self.ask(request).map(drop)
    }

    pub(crate) fn ask_json<T: DeserializeOwned>(&self, request: &Request) -> Result<T, GuestError> {
        let answer = self.ask(request)?;
        serde_json::from_slice(&answer).map_err(|error| GuestError::Answer(error.to_string()))
    }

    fn ask(&self, request: &Request) -> Result<Vec<u8>, GuestError> {
        // The wire itself knows whether a request was cut short.
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = wire
            .ask(request)
            .map_err(|source| self.broken_wire(source))?;
        reply.map_err(|failure| GuestError::Refused {
            message: failure.message,
            errno: failure.errno,
        })
    }

    fn broken_wire(&self, source: io::Error) -> GuestError {
        GuestError::Wire {
            source,
            console: self.runtime.last_words(),
        }
    }
}

/// Waits for the first word of a guest.
fn greet(
    listener: &Listener,
    deadline: Instant,
    machine: &mut Machine,
) -> io::Result<(Wire, Hello)> {
    let mut wire = listener.accept(deadline, || machine.ended())?;
    wire.set_patience(deadline.saturating_duration_since(Instant::now()))?;
    let hello = wire
        .receive()?
        .map_err(|failure| io::Error::other(failure.message))?;
    let hello: Hello = serde_json::from_slice(&hello)?;
    if hello.version != VERSION {
        let message = format!("the guest speaks version {}, we {VERSION}", hello.version);
        return Err(io::Error::other(message));
    }
    Ok((wire, hello))
}
