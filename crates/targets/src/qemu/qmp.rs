//! QMP, QEMU's control protocol: one JSON object a line over a unix socket.
//!
//! The client is ours because we need four commands, a deadline over the whole exchange, a bound on
//! what the other side may send, and an error where it stops in mid-sentence; the crates at hand bring
//! QEMU's whole schema and take these for granted.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{fs::FileTypeExt as _, net::UnixStream},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, sockopt},
        time::{TimeVal, TimeValLike as _},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    TargetError,
    error::{printable, quote},
};

/// How long a QMP server may take to greet us or to answer a command. QEMU answers in well under a
/// millisecond unless it is stopped or talks to somebody else.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest message accepted. `info mtree` of a machine with hundreds of devices has 200 KiB; taken
/// apart, a message can need thirty times its length.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// The most events skipped while waiting for one answer.
const MAX_EVENTS: usize = 10_000;

/// A connection to a QMP server that has greeted us and takes commands.
///
/// QEMU serves one client per socket at a time: hold this only as long as needed.
#[derive(Debug)]
pub(crate) struct Qmp {
    path: PathBuf,
    stream: UnixStream,
    /// What has arrived and not been used yet.
    pending: Vec<u8>,
    peer_pid: i32,
    version: String,
}

/// What a QMP server says, one object a line.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Message {
    Greeting {
        #[serde(rename = "QMP")]
        qmp: Greeting,
    },
    Return {
        #[serde(rename = "return")]
        value: Value,
    },
    Error {
        error: CommandError,
    },
    Event {
        event: String,
    },
}

#[derive(Debug, Deserialize)]
struct Greeting {
    version: GreetingVersion,
}

#[derive(Debug, Deserialize)]
struct GreetingVersion {
    qemu: VersionTriple,
    #[serde(default)]
    package: String,
}

#[derive(Debug, Deserialize)]
struct VersionTriple {
    major: u32,
    minor: u32,
    micro: u32,
}

#[derive(Debug, Deserialize)]
struct CommandError {
    class: String,
    desc: String,
}

impl Qmp {
    /// Connects to the QMP server that listens on `path` and waits for its greeting.
    pub(crate) fn connect(path: &Path, timeout: Duration) -> Result<Self, TargetError> {
        let stream = connect_stream(path, timeout)?;
        let peer_pid = socket::getsockopt(&stream, sockopt::PeerCredentials)
            .map_err(|errno| TargetError::qmp_io(path, errno.into()))?
            .pid();
        let mut qmp = Self {
            path: path.to_owned(),
            stream,
            pending: Vec::new(),
            peer_pid,
            version: String::new(),
        };
        let deadline = deadline_in(timeout);
        let line = match qmp.read_line(deadline) {
            Ok(line) => line,
            Err(TargetError::QmpTimeout { path, .. }) => {
                return Err(TargetError::QmpNoGreeting { path, timeout });
            }
            Err(TargetError::QmpEnded { path, before }) if before.is_empty() => {
                return Err(TargetError::NotQmp {
                    path,
                    got: "the end of the connection".into(),
                });
            }
            Err(TargetError::QmpEnded { path, before }) => {
                return Err(TargetError::NotQmp {
                    path,
                    got: quote(&before),
                });
            }
            Err(other) => return Err(other),
        };
        let Ok(Message::Greeting { qmp: greeting }) = serde_json::from_slice(&line) else {
            return Err(TargetError::NotQmp {
                path: path.to_owned(),
                got: quote(&line),
            });
        };
        let VersionTriple {
            major,
            minor,
            micro,
        } = greeting.version.qemu;
        let package = greeting.version.package;
        qmp.version = match package.trim() {
            "" => format!("{major}.{minor}.{micro}"),
            package => format!("{major}.{minor}.{micro} ({package})"),
        };
        qmp.execute("qmp_capabilities", None)?;
        Ok(qmp)
    }

    /// The process that opened the listening end, as this process sees its id; 0 where it is not to be
    /// seen from here.
    pub(crate) fn peer_pid(&self) -> i32 {
        self.peer_pid
    }

    /// QEMU's version as it greets.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The socket's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a command and returns what it gives.
    pub(crate) fn execute(
        &mut self,
        command: &str,
        arguments: Option<Value>,
    ) -> Result<Value, TargetError> {
        let mut request = match arguments {
            Some(arguments) => json!({ "execute": command, "arguments": arguments }).to_string(),
            None => json!({ "execute": command }).to_string(),
        };
        request.push('\n');
        let deadline = deadline_in(ANSWER_TIMEOUT);
        self.stream
            .set_write_timeout(Some(ANSWER_TIMEOUT))
            .and_then(|()| self.stream.write_all(request.as_bytes()))
            .map_err(|error| TargetError::qmp_io(&self.path, error))?;
        for _ in 0..MAX_EVENTS {
            let line = self.read_line(deadline)?;
            match serde_json::from_slice(&line) {
                Ok(Message::Return { value }) => return Ok(value),
                Ok(Message::Error { error }) => {
                    return Err(TargetError::QmpCommand {
                        path: self.path.clone(),
                        command: command.into(),
                        class: printable(error.class.as_bytes()),
                        description: printable(error.desc.as_bytes()),
                    });
                }
                Ok(Message::Event { event }) => tracing::trace!(event, "qmp event skipped"),
                Ok(Message::Greeting { .. }) | Err(_) => {
                    return Err(TargetError::QmpAnswer {
                        path: self.path.clone(),
                        command: command.into(),
                        expected: "a JSON object with \"return\" or \"error\"",
                        got: quote(&line),
                    });
                }
            }
        }
        Err(TargetError::QmpTimeout {
            path: self.path.clone(),
            timeout: ANSWER_TIMEOUT,
        })
    }

    /// Runs a command of the human monitor and returns what it prints.
    pub(crate) fn human(&mut self, command_line: &str) -> Result<String, TargetError> {
        let value = self.execute(
            "human-monitor-command",
            Some(json!({ "command-line": command_line })),
        )?;
        match value {
            Value::String(text) => Ok(text),
            other => Err(self.unexpected(command_line, "text", &other)),
        }
    }

    /// The error for an answer to `command` that is not what it should be.
    pub(crate) fn unexpected(
        &self,
        command: &str,
        expected: &'static str,
        got: &Value,
    ) -> TargetError {
        TargetError::QmpAnswer {
            path: self.path.clone(),
            command: command.into(),
            expected,
            got: quote(got.to_string().as_bytes()),
        }
    }

    /// The next line without its end.
    fn read_line(&mut self, deadline: Instant) -> Result<Vec<u8>, TargetError> {
        let mut searched = 0;
        let mut chunk = [0_u8; 16 << 10];
        loop {
            let unsearched = self.pending.get(searched..).unwrap_or_default();
            if let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') {
                let end = searched.saturating_add(end);
                let mut line: Vec<u8> = self.pending.drain(..=end).collect();
                line.truncate(line.trim_ascii_end().len());
                return Ok(line);
            }
            searched = self.pending.len();
            if searched > MAX_MESSAGE_BYTES {
                return Err(TargetError::NotQmp {
                    path: self.path.clone(),
                    got: format!("a line of more than {MAX_MESSAGE_BYTES} bytes"),
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.timeout());
            }
            self.stream
                .set_read_timeout(Some(left))
                .map_err(|error| TargetError::qmp_io(&self.path, error))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    return Err(TargetError::QmpEnded {
                        path: self.path.clone(),
                        before: std::mem::take(&mut self.pending),
                    });
                }
                Ok(got) => self
                    .pending
                    .extend_from_slice(chunk.get(..got).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(self.timeout());
                }
                Err(error) => return Err(TargetError::qmp_io(&self.path, error)),
            }
        }
    }

    fn timeout(&self) -> TargetError {
        TargetError::QmpTimeout {
            path: self.path.clone(),
            timeout: ANSWER_TIMEOUT,
        }
    }
}

/// Connects, waiting no longer than `timeout` for a listener whose queue is full.
fn connect_stream(path: &Path, timeout: Duration) -> Result<UnixStream, TargetError> {
    let io_error = |errno: Errno| TargetError::qmp_io(path, errno.into());
    let address = UnixAddr::new(path).map_err(io_error)?;
    let socket: OwnedFd = socket::socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(io_error)?;
    // unix(7): `connect` waits for as long as a send would, then fails with EAGAIN.
    let wait = TimeVal::milliseconds(i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX));
    socket::setsockopt(&socket, sockopt::SendTimeout, &wait).map_err(io_error)?;
    match socket::connect(socket.as_raw_fd(), &address) {
        Ok(()) => {}
        Err(Errno::EAGAIN) => {
            return Err(TargetError::QmpBusy {
                path: path.to_owned(),
            });
        }
        Err(Errno::ECONNREFUSED) if !is_socket(path) => {
            return Err(TargetError::NotASocket {
                path: path.to_owned(),
            });
        }
        Err(Errno::ECONNREFUSED) => {
            return Err(TargetError::NobodyListens {
                path: path.to_owned(),
            });
        }
        Err(Errno::ENOENT) => {
            return Err(TargetError::NoSuchSocket {
                path: path.to_owned(),
            });
        }
        Err(errno) => return Err(io_error(errno)),
    }
    Ok(UnixStream::from(socket))
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn deadline_in(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        os::unix::net::UnixListener,
        thread,
    };

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}"#;

    /// A server that says `lines` one after another, each but the first once it was asked something.
    fn serve(lines: &'static [&'static str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut requests = BufReader::new(stream.try_clone().unwrap());
            let mut stream = stream;
            for (index, line) in lines.iter().enumerate() {
                if index > 0 {
                    requests.read_line(&mut String::new()).unwrap();
                }
                stream.write_all(line.as_bytes()).unwrap();
                stream.write_all(b"\n").unwrap();
            }
        });
        (dir, path)
    }

    #[test]
    fn skips_events_before_the_answer() {
        let (_dir, path) = serve(&[
            GREETING,
            r#"{"return": {}}"#,
            "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"RESUME\"}\r\n{\"return\": \"text\\r\\n\"}\r",
        ]);
        let mut qmp = Qmp::connect(&path, ANSWER_TIMEOUT).unwrap();
        assert_eq!(qmp.version(), "7.2.22 (Debian)");
        assert_eq!(qmp.human("info name").unwrap(), "text\r\n");
        assert_eq!(qmp.peer_pid(), i32::try_from(std::process::id()).unwrap());
    }

    #[test]
    fn reports_a_command_error_with_its_description() {
        let (_dir, path) = serve(&[
            GREETING,
            r#"{"return": {}}"#,
            r#"{"error": {"class": "CommandNotFound", "desc": "The command foo has not been found"}}"#,
        ]);
        let mut qmp = Qmp::connect(&path, ANSWER_TIMEOUT).unwrap();
        let error = qmp.execute("foo", None).unwrap_err();
        assert!(error.is_command_not_found(), "{error}");
        assert!(error.to_string().contains("The command foo"), "{error}");
    }

    #[test]
    fn refuses_a_server_that_speaks_otherwise() {
        let (_dir, path) = serve(&["QEMU 7.2.22 monitor - type 'help' for more information"]);
        let error = Qmp::connect(&path, ANSWER_TIMEOUT).unwrap_err();
        assert!(matches!(error, TargetError::NotQmp { .. }), "{error}");
    }

    #[test]
    fn tells_a_silent_server_from_a_wrong_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let _listener = UnixListener::bind(&path).unwrap();
        let error = Qmp::connect(&path, Duration::from_millis(50)).unwrap_err();
        assert!(
            matches!(error, TargetError::QmpNoGreeting { .. }),
            "{error}"
        );
    }

    #[test]
    fn tells_a_dead_socket_from_a_file_and_from_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let connect = || Qmp::connect(&path, ANSWER_TIMEOUT).unwrap_err();
        assert!(matches!(connect(), TargetError::NoSuchSocket { .. }));
        drop(UnixListener::bind(&path).unwrap());
        assert!(matches!(connect(), TargetError::NobodyListens { .. }));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(matches!(connect(), TargetError::NotASocket { .. }));
    }
}
