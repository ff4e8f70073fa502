//! Guests of QEMU: what QEMU itself says about their memory.

mod command_line;
mod flat_view;
mod layout;
mod paging;
mod pause;
mod process;
mod qmp;
mod register_words;
pub(crate) mod registers;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use self::layout::{GuestRam, Sharing};
pub(crate) use self::paging::CpuWord;
pub use self::pause::{PauseEnd, Paused};
use self::qmp::Qmp;
use crate::{TargetError, error::printable};

/// A running QEMU and where it keeps its guest's memory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QemuGuest {
    /// QEMU's process.
    pub pid: u32,
    /// The QMP socket that told.
    pub socket: PathBuf,
    /// QEMU's version.
    pub version: String,
    /// The guest's name (`-name`), where it has one.
    pub name: Option<String>,
    /// Whether the guest ran (QEMU's word, such as `running` or `paused`).
    pub status: String,
    /// The guest's main memory, in ascending order.
    pub ram: Vec<GuestRam>,
}

#[derive(Debug, Deserialize)]
struct Status {
    status: String,
}

#[derive(Debug, Deserialize)]
struct Name {
    #[serde(default)]
    name: Option<String>,
}

impl QemuGuest {
    /// Asks the QEMU that serves QMP on the socket `path`; hangs up before returning, so that the
    /// socket is free for others.
    ///
    /// # Errors
    ///
    /// Each way in which the path, the process or the machine does not serve has its own
    /// [`TargetError`].
    pub fn of_socket(path: &Path) -> Result<Self, TargetError> {
        Ok(OnTheLine::call(path)?.guest)
    }

    /// Asks the QEMU with process id `pid` through the first of its QMP sockets that is free.
    ///
    /// # Errors
    ///
    /// As [`of_socket`](Self::of_socket); where every socket of several fails, one reason for each.
    pub fn of_pid(pid: u32) -> Result<Self, TargetError> {
        Ok(OnTheLine::call_pid(pid)?.guest)
    }
}

/// A QEMU that has told about its guest and has not hung up: for as long as it answers, its process id
/// is that of no other process.
#[derive(Debug)]
pub(crate) struct OnTheLine {
    pub(crate) guest: QemuGuest,
    /// What the first vCPU runs.
    pub(crate) cpu: CpuWord,
    qmp: Qmp,
}

impl OnTheLine {
    /// Calls the QEMU that serves QMP on the socket `path`.
    pub(crate) fn call(path: &Path) -> Result<Self, TargetError> {
        let mut qmp = Qmp::connect(path, qmp::ANSWER_TIMEOUT)?;
        layout::refuse_encrypted(&mut qmp)?;
        let mut ram = layout::main_memory(&mut qmp)?;
        let status = query::<Status>(&mut qmp, "query-status")?.status;
        let name = query::<Name>(&mut qmp, "query-name")?.name;
        let cpu = paging::of_first_cpu(&mut qmp)?;
        let pid = process::owner_of(&qmp, &mut ram)?;
        let guest = QemuGuest {
            pid,
            socket: path.to_owned(),
            version: qmp.version().to_owned(),
            name,
            status,
            ram,
        };
        Ok(Self { guest, cpu, qmp })
    }

    /// Calls the QEMU with process id `pid` through the first of its QMP sockets that is free.
    pub(crate) fn call_pid(pid: u32) -> Result<Self, TargetError> {
        let mut reasons = Vec::new();
        for path in process::qmp_sockets(pid)? {
            match Self::call(&path) {
                Ok(line) if line.guest.pid == pid => return Ok(line),
                Ok(line) => reasons.push(TargetError::SocketOfAnother {
                    path,
                    pid,
                    owner: line.guest.pid,
                }),
                Err(error) => reasons.push(error),
            }
        }
        match reasons.len() {
            1 => Err(reasons.remove(0)),
            _ => Err(TargetError::NoUsableSocket { pid, reasons }),
        }
    }

    /// Asks the QEMU of a guest that is known, in a short call, what its first vCPU runs now.
    pub(crate) fn ask_cpu(guest: &QemuGuest) -> Result<CpuWord, TargetError> {
        let mut qmp = registers::connect(guest, &guest.socket)?;
        paging::of_first_cpu(&mut qmp)
    }

    /// Hangs up, after hearing from QEMU that it is still there.
    pub(crate) fn hang_up(mut self) -> Result<QemuGuest, TargetError> {
        query::<Status>(&mut self.qmp, "query-status")?;
        Ok(self.guest)
    }
}

impl QemuGuest {
    /// The guest in words, for messages.
    pub(crate) fn title(&self) -> String {
        let socket = self.socket.display();
        match &self.name {
            Some(name) => format!("guest {} of {socket}", printable(name.as_bytes())),
            None => format!("the guest of {socket}"),
        }
    }
}

fn query<T: for<'de> Deserialize<'de>>(
    qmp: &mut Qmp,
    command: &'static str,
) -> Result<T, TargetError> {
    let value = qmp.execute(command, None)?;
    T::deserialize(&value).map_err(|_| qmp.unexpected(command, "its documented fields", &value))
}
