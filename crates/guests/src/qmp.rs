//! Asking QEMU itself, as a test does it: loudly.

use std::io::{self, BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::GuestError;

/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a QMP socket. QEMU serves one client per socket at a time.
#[derive(Debug)]
pub struct QmpClient {
    stream: UnixStream,
    lines: Lines<BufReader<UnixStream>>,
}

impl QmpClient {
    /// Connects and waits for the greeting.
    ///
    /// # Errors
    /// Nobody listens, or does not greet.
    pub fn connect(socket: &Path) -> Result<Self, GuestError> {
        let connected = || -> io::Result<Self> {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let lines = BufReader::new(stream.try_clone()?).lines();
            Ok(Self { stream, lines })
        };
        let mut client = connected().map_err(GuestError::file(socket))?;
        client.next_message()?;
        client.execute("qmp_capabilities", json!({}))?;
        Ok(client)
    }

    /// Runs a command; what it returns. Events are passed over.
    ///
    /// # Errors
    /// QEMU's own words when it refuses, or when it is gone.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, GuestError> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream, "{request}").map_err(unheard)?;
        loop {
            let mut message = self.next_message()?;
            if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
            if message.get("error").is_some() {
                return Err(GuestError::Answer(format!("QEMU to {request}: {message}")));
            }
        }
    }

    /// Runs a command of the human monitor; what it prints.
    ///
    /// # Errors
    /// As [`QmpClient::execute`].
    pub fn human(&mut self, command_line: &str) -> Result<String, GuestError> {
        let printed = self.execute(
            "human-monitor-command",
            json!({ "command-line": command_line }),
        )?;
        Ok(printed.as_str().unwrap_or_default().to_owned())
    }

    fn next_message(&mut self) -> Result<Value, GuestError> {
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let line = self.lines.next().unwrap_or_else(|| Err(ended()));
        serde_json::from_str(&line.map_err(unheard)?)
            .map_err(|error| GuestError::Answer(format!("QEMU: {error}")))
    }
}

fn unheard(error: io::Error) -> GuestError {
    GuestError::Answer(format!("QEMU is not heard: {error}"))
}
