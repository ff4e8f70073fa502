//! A QEMU without a kernel of ours in it: enough to ask about memory, or to watch a firmware.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::error::GuestError;
use crate::packages::ensure_packages;
use crate::poll::wait_until;
use crate::qmp::QmpClient;

/// How long QEMU may take to open its socket.
const START: Duration = Duration::from_secs(20);

/// A running QEMU, ended on drop.
#[derive(Debug)]
pub struct BareMachine {
    child: Child,
    dir: TempDir,
}

impl BareMachine {
    /// Starts QEMU with `arguments`, in a folder of its own, and a QMP socket there; waits until it
    /// greets.
    ///
    /// # Errors
    /// QEMU is not there, or does not open its socket.
    pub fn start(arguments: &[&str]) -> Result<Self, GuestError> {
        ensure_packages(&["qemu-system-x86", "util-linux"])?;
        let dir = tempfile::tempdir().map_err(GuestError::file(std::env::temp_dir()))?;
        let qmp = format!("unix:{},server=on,wait=off", socket(&dir).display());
        // setpriv lets QEMU die with the test, however the test ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(["-accel", "tcg", "-display", "none", "-nodefaults"])
            .args(["-qmp", &qmp])
            .args(arguments)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .spawn()
            .map_err(|source| GuestError::Start {
                program: "setpriv".to_owned(),
                source,
            })?;
        let machine = Self { child, dir };
        // The greeting says that QEMU has taken this connection out of its queue.
        wait_until("QEMU to greet", START, || {
            QmpClient::connect(&machine.socket()).ok()
        })?;
        Ok(machine)
    }

    /// QEMU's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder that QEMU works in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The path of the QMP socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(&self.dir)
    }

    /// The word for it on vread's command line.
    #[must_use]
    pub fn word(&self) -> String {
        format!("qemu:{}", self.socket().display())
    }

    /// Runs one QMP command and returns its answer.
    ///
    /// # Errors
    /// As [`QmpClient::execute`].
    pub fn ask(&self, command: &str, arguments: Value) -> Result<Value, GuestError> {
        QmpClient::connect(&self.socket())?.execute(command, arguments)
    }
}

impl Drop for BareMachine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket(dir: &TempDir) -> PathBuf {
    dir.path().join("qmp")
}
