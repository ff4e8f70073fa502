//! Guests of QEMU: what QEMU itself says about their memory.

mod command_line;
mod flat_view;
mod layout;
mod process;
mod qmp;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use self::layout::{GuestRam, Sharing};
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
        let mut qmp = Qmp::connect(path, qmp::ANSWER_TIMEOUT)?;
        layout::refuse_encrypted(&mut qmp)?;
        let mut ram = layout::main_memory(&mut qmp)?;
        let status = query::<Status>(&mut qmp, "query-status")?.status;
        let name = query::<Name>(&mut qmp, "query-name")?.name;
        let pid = process::owner_of(&qmp, &mut ram)?;
        Ok(Self {
            pid,
            socket: path.to_owned(),
            version: qmp.version().to_owned(),
            name,
            status,
            ram,
        })
    }

    /// Asks the QEMU with process id `pid` through the first of its QMP sockets that is free.
    ///
    /// # Errors
    ///
    /// As [`of_socket`](Self::of_socket); where every socket of several fails, one reason for each.
    pub fn of_pid(pid: u32) -> Result<Self, TargetError> {
        let mut reasons = Vec::new();
        for path in process::qmp_sockets(pid)? {
            match Self::of_socket(&path) {
                Ok(guest) if guest.pid == pid => return Ok(guest),
                Ok(guest) => reasons.push(TargetError::SocketOfAnother {
                    path,
                    pid,
                    owner: guest.pid,
                }),
                Err(error) => reasons.push(error),
            }
        }
        match reasons.len() {
            1 => Err(reasons.remove(0)),
            _ => Err(TargetError::NoUsableSocket { pid, reasons }),
        }
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
