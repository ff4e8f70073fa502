use std::{io, path::PathBuf, time::Duration};

use thiserror::Error;
use vread_addr::{PhysRange, VirtAddr};
use vread_kcore::KcoreError;
use vread_linux::{AttachError, LinuxError};
use vread_physmem::OpenError;
use vread_vmalloc::ArenaError;

/// Why a target cannot be opened. Each message names the thing and the way out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The word names no kind of target.
    #[error(
        "`{word}` is no target: say qemu:SOCKET (a QMP socket), qemu:PID (a QEMU process) or arena"
    )]
    UnknownWord {
        /// What was said, made printable.
        word: String,
    },
    /// `qemu:` without a path or a process id.
    #[error(
        "`qemu:` needs the path of a QMP socket or the id of a QEMU process, as in qemu:/run/vm.sock or qemu:1234"
    )]
    NothingAfterQemu,

    /// Nothing but an arena is ours to change.
    #[error("{target}: only the areas of the target arena can be changed; leave --churn away")]
    NoAreasToChange {
        /// The target, as it was said.
        target: String,
    },

    /// No file at the socket's path.
    #[error("{path}: no such socket; start QEMU with -qmp unix:{path},server=on,wait=off", path = path.display())]
    NoSuchSocket {
        /// The path asked for.
        path: PathBuf,
    },
    /// The path is a file of another kind.
    #[error("{path}: not a socket; give the path of QEMU's -qmp unix:… option", path = path.display())]
    NotASocket {
        /// The path asked for.
        path: PathBuf,
    },
    /// A socket file that no process listens on.
    #[error("{path}: nobody listens on this socket any more, its QEMU has ended; start it again or give the socket of one that runs", path = path.display())]
    NobodyListens {
        /// The path asked for.
        path: PathBuf,
    },
    /// The listener's queue is full.
    #[error("{path}: several other clients wait for this QMP socket, which serves one at a time; disconnect them, or start QEMU with a second -qmp unix:OTHER,server=on,wait=off", path = path.display())]
    QmpBusy {
        /// The socket.
        path: PathBuf,
    },
    /// Connected, but nothing was said.
    #[error("{path}: no QMP greeting within {} s: another client holds this socket (QEMU serves one at a time), or QEMU is stopped, or this is no QMP socket; disconnect the other client, or start QEMU with a second -qmp unix:OTHER,server=on,wait=off", timeout.as_secs_f64(), path = path.display())]
    QmpNoGreeting {
        /// The socket.
        path: PathBuf,
        /// How long we waited.
        timeout: Duration,
    },
    /// Something else listens there.
    #[error("{path}: not a QMP socket (it answered with {got}); give the path of QEMU's -qmp unix:… option", path = path.display())]
    NotQmp {
        /// The socket.
        path: PathBuf,
        /// What came instead of a greeting, made printable.
        got: String,
    },
    /// No answer in time.
    #[error("{path}: QEMU did not answer within {} s; is the process stopped?", timeout.as_secs_f64(), path = path.display())]
    QmpTimeout {
        /// The socket.
        path: PathBuf,
        /// How long we waited.
        timeout: Duration,
    },
    /// The other side hung up.
    #[error("{path}: QEMU ended the conversation; has it just ended?", path = path.display())]
    QmpEnded {
        /// The socket.
        path: PathBuf,
        /// What it had said of an unfinished message.
        before: Vec<u8>,
    },
    /// QEMU refused a command.
    #[error("{path}: QEMU refused `{command}` with {class}: {description}", path = path.display())]
    QmpCommand {
        /// The socket.
        path: PathBuf,
        /// The command.
        command: String,
        /// QEMU's class of error.
        class: String,
        /// QEMU's description.
        description: String,
    },
    /// QEMU's answer is not what the command gives.
    #[error("{path}: to `{command}` QEMU answered {got}, expected {expected}; please report this with QEMU's version", path = path.display())]
    QmpAnswer {
        /// The socket.
        path: PathBuf,
        /// The command.
        command: String,
        /// What the command should give.
        expected: &'static str,
        /// What it gave, made printable and cut.
        got: String,
    },
    /// The system refused something about the socket.
    #[error("{path}: {source}{}", hint(source), path = path.display())]
    QmpIo {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// No such process.
    #[error("there is no process {pid}; `pgrep -a qemu` lists the ones that run QEMU")]
    NoSuchProcess {
        /// The id asked for.
        pid: u32,
    },
    /// The process was started without a QMP socket.
    #[error(
        "process {pid} ({name}) has no QMP socket on its command line; start QEMU with -qmp unix:/run/vm.sock,server=on,wait=off"
    )]
    NoQmpOnCommandLine {
        /// The process.
        pid: u32,
        /// Its name, made printable.
        name: String,
    },
    /// The path on the command line is another QEMU's socket by now.
    #[error("{path}: this socket is named on the command line of process {pid}, but process {owner} answers on it; give qemu:{owner}, or start {pid} again with a socket of its own", path = path.display())]
    SocketOfAnother {
        /// The socket.
        path: PathBuf,
        /// The process that was asked for.
        pid: u32,
        /// The process that answers.
        owner: u32,
    },
    /// None of the process's QMP sockets could be used; one line for each.
    #[error(
        "none of the QMP sockets of process {pid} can be used:{}",
        lines(reasons)
    )]
    NoUsableSocket {
        /// The process.
        pid: u32,
        /// Why not, socket by socket.
        reasons: Vec<TargetError>,
    },
    /// The socket's QEMU is not to be seen.
    #[error("{path}: QEMU's process cannot be seen from here (it runs in another process-id namespace); run vread in that namespace, or as root outside of all", path = path.display())]
    QemuOutOfSight {
        /// The socket.
        path: PathBuf,
    },
    /// The process that listens does not have the guest's memory.
    #[error("{path}: process {pid}, which opened this socket, does not have the guest's memory at host address {hva:#x}; if a wrapper started QEMU, give qemu:PID with QEMU's own process id", path = path.display())]
    NotTheQemu {
        /// The socket.
        path: PathBuf,
        /// The process that opened it.
        pid: u32,
        /// Where QEMU says that the guest's memory is.
        hva: VirtAddr,
    },
    /// The process may not be read by us.
    #[error("process {pid} is not ours to read ({source}); run vread as the user who runs QEMU, or as root{}", ptrace_scope(*scope))]
    NotOurs {
        /// The process.
        pid: u32,
        /// The system's reason.
        source: io::Error,
        /// `kernel.yama.ptrace_scope`, where the host has one.
        scope: Option<u8>,
    },
    /// The system refused something about the process.
    #[error("{path}: {source}", path = path.display())]
    ProcIo {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// The guest's memory is encrypted against its host.
    #[error("{path}: the guest's memory is encrypted ({object}); from the host it is ciphertext only, so look at this guest from inside", path = path.display())]
    Encrypted {
        /// The socket.
        path: PathBuf,
        /// The QEMU object that protects it.
        object: String,
    },
    /// The machine has no main memory that QEMU would tell of.
    #[error("{path}: this machine has no main memory in QEMU's address space `memory`; is it a QEMU of another architecture or a machine that is not set up yet?", path = path.display())]
    NoRam {
        /// The socket.
        path: PathBuf,
    },
    /// The memory map changed each time it was looked at.
    #[error("{path}: the machine's memory map keeps changing; is its firmware still setting devices up? try again in a second", path = path.display())]
    LayoutUnstable {
        /// The socket.
        path: PathBuf,
    },
    /// QEMU tells of more memory than any machine has, or takes too long to.
    #[error("{path}: QEMU was asked about its memory for too long, and told of {ranges} ranges; is it overloaded? try again", path = path.display())]
    LayoutTooLong {
        /// The socket.
        path: PathBuf,
        /// How many ranges it had told of.
        ranges: usize,
    },
    /// A range of main memory is not in one piece in QEMU's own memory.
    #[error("{path}: guest memory {range} is not one piece of QEMU's memory ({first:#x} to {last:#x}); please report this with QEMU's version and command line", path = path.display())]
    SplitRam {
        /// The socket.
        path: PathBuf,
        /// The guest-physical range.
        range: PhysRange,
        /// The host address of its first byte.
        first: VirtAddr,
        /// The host address of its last byte.
        last: VirtAddr,
    },

    /// The target has no kernel.
    #[error("{target} has no kernel to ask; give a guest, such as qemu:/run/vm.sock")]
    NoKernel {
        /// The target's word.
        target: String,
    },
    /// The target is nothing that could be stopped.
    #[error("{target} cannot be paused; --pause is for guests of QEMU")]
    NoPause {
        /// The target's word.
        target: String,
    },
    /// QEMU says that the guest did not stop.
    #[error("{path}: QEMU says that the guest is `{status}` after it was told to stop; try again, or leave --pause away", path = path.display())]
    NotStopped {
        /// The socket.
        path: PathBuf,
        /// QEMU's word for what the guest does.
        status: String,
    },
    /// Not an address that this kernel's CPU accepts.
    #[error("{addr} is not a canonical address; this kernel's addresses are {lowest} and above")]
    NotCanonical {
        /// The address asked for.
        addr: VirtAddr,
        /// The kernel's lowest address.
        lowest: VirtAddr,
    },
    /// A user-space address.
    #[error(
        "{addr} is an address of user space, and differs from process to process; this kernel's addresses are {lowest} and above"
    )]
    UserAddress {
        /// The address asked for.
        addr: VirtAddr,
        /// The kernel's lowest address.
        lowest: VirtAddr,
    },
    /// QEMU's memory could not be opened.
    #[error(transparent)]
    Memory(#[from] OpenError),
    /// There is no kernel to read in the guest.
    #[error("{guest}: {source}{hint}")]
    Attach {
        /// The guest, in words.
        guest: String,
        /// What was found instead.
        source: AttachError,
        /// What QEMU's word adds, from a semicolon on.
        hint: String,
    },
    /// A kernel is in the guest's memory, and the guest runs something else.
    #[error(
        "{guest}: the kernel {release} is in memory but does not run: the guest is in its firmware or boot loader, as after a restart; try again in a moment"
    )]
    NotRunning {
        /// The guest, in words.
        guest: String,
        /// The kernel's release, made printable.
        release: String,
    },
    /// Something that the kernel's memory should hold is missing or does not make sense.
    #[error("{guest}: {source}{lacks}")]
    Kernel {
        /// The guest, in words.
        guest: String,
        /// What does not work.
        source: LinuxError,
        /// What was found to be missing when the guest was opened, from a semicolon on.
        lacks: String,
    },
    /// The target's segments do not make an image.
    #[error("the target's memory cannot be laid out as a file: {0}")]
    Image(#[from] KcoreError),
    /// The arena could not be set up.
    #[error("the arena could not be set up: {0}")]
    Arena(#[from] ArenaError),
}

impl TargetError {
    pub(crate) fn qmp_io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::QmpIo {
            path: path.into(),
            source,
        }
    }

    /// Whether QEMU does not know the command.
    pub(crate) fn is_command_not_found(&self) -> bool {
        matches!(self, Self::QmpCommand { class, .. } if class == "CommandNotFound")
    }
}

/// The longest piece of foreign text that goes into a message.
const MAX_QUOTED_BYTES: usize = 120;

/// Foreign bytes as one short, harmless piece of a message.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let cut = bytes.get(..MAX_QUOTED_BYTES).unwrap_or(bytes);
    let more = if cut.len() < bytes.len() { "…" } else { "" };
    format!("{}{more}", cut.escape_ascii())
}

/// As [`printable`], between quotation marks.
pub(crate) fn quote(bytes: &[u8]) -> String {
    format!("\"{}\"", printable(bytes))
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; run vread as the user who runs QEMU, or as root, or let QEMU create the socket for you"
        }
        _ => "",
    }
}

fn ptrace_scope(scope: Option<u8>) -> String {
    match scope {
        None | Some(0) => String::new(),
        Some(scope) => {
            format!(" (kernel.yama.ptrace_scope is {scope}: only root may read other processes)")
        }
    }
}

fn lines(reasons: &[TargetError]) -> String {
    reasons.iter().fold(String::new(), |mut text, reason| {
        text.push_str("\n  ");
        text.push_str(&reason.to_string());
        text
    })
}
