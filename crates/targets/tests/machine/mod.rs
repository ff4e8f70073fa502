//! A QEMU without a guest kernel: enough to ask about memory.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// How long QEMU may take to open its socket, or its firmware to set devices up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A running QEMU, ended on drop.
pub(crate) struct Machine {
    child: Child,
    dir: tempfile::TempDir,
}

impl Machine {
    /// Starts QEMU with `arguments` and a QMP socket beside them.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let qmp = format!(
            "unix:{},server=on,wait=off",
            dir.path().join("qmp").display()
        );
        // setpriv lets QEMU die with this test, however the test ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(["-accel", "tcg", "-display", "none", "-nodefaults"])
            .args(["-qmp", &qmp])
            .args(arguments)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("setpriv and qemu-system-x86_64 are installed");
        let machine = Self { child, dir };
        // The greeting says that QEMU has taken this connection out of its queue.
        poll("QEMU greets", || {
            let mut stream = UnixStream::connect(machine.socket()).ok()?;
            stream.read_exact(&mut [0]).ok()
        });
        machine
    }

    /// The path of the QMP socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("qmp")
    }

    /// QEMU's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs one QMP command and returns its answer.
    pub(crate) fn ask(&self, command: &str, arguments: Value) -> Value {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut answer = Value::Null;
        lines.next().expect("a greeting").unwrap();
        for request in [
            json!({ "execute": "qmp_capabilities" }),
            json!({ "execute": command, "arguments": arguments }),
        ] {
            writeln!(stream, "{request}").unwrap();
            answer = loop {
                let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
                if line.get("event").is_none() {
                    break line;
                }
            };
        }
        answer.get("return").unwrap_or(&answer).clone()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `ready` gives something.
pub(crate) fn poll<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
