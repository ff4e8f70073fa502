//! What the host asks, what the guest answers, and how both lie on the wire.
//!
//! A request is one line of JSON. A reply is one line of JSON ([`Status`]) and, when that line says
//! so, as many bytes of payload: the bytes of a file as they are, or the answer in JSON. The guest
//! sends one reply unasked when it is ready (that of [`Request::Hello`]), then exactly one for each
//! request, in order.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Raised whenever the two ends would misunderstand each other.
pub const VERSION: u32 = 2;

/// Longest request line, in bytes: room for half a million ranges.
pub const MAX_REQUEST_BYTES: u64 = 32 << 20;

/// Longest payload of a reply, in bytes.
pub const MAX_PAYLOAD_BYTES: u64 = 1 << 30;

/// A question, or an order, to the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Who are you? Answer: [`Hello`].
    Hello,
    /// The whole of a file. Answer: its bytes.
    Read {
        /// Absolute path in the guest.
        path: String,
    },
    /// A part of a file, with `pread`. Answer: its bytes, fewer at the end of the file.
    ReadAt {
        /// Absolute path in the guest.
        path: String,
        /// The part.
        range: FileRange,
    },
    /// Hash a file in pieces of so many lines. Answer: a list of [`crate::digest::Chunk`].
    HashLines {
        /// Absolute path in the guest.
        path: String,
        /// Lines in one piece.
        lines: u64,
    },
    /// Hash a file in pieces of so many bytes. Answer: a list of [`crate::digest::Chunk`].
    HashBytes {
        /// Absolute path in the guest.
        path: String,
        /// Bytes in one piece.
        bytes: u64,
    },
    /// Hash many parts of one file, each with `pread`. Answer: a list of [`RangeHash`], one each.
    HashRanges {
        /// Absolute path in the guest.
        path: String,
        /// The parts, in any order.
        ranges: Vec<FileRange>,
    },
    /// Write to a file that exists, with one `write`. Answer: nothing.
    Write {
        /// Absolute path in the guest.
        path: String,
        /// What to write.
        text: String,
    },
    /// Run a program and wait for it. Answer: [`Output`].
    Run {
        /// The program and its arguments.
        argv: Vec<String>,
    },
    /// Make a BPF array map that user space may map: one virtually contiguous area of the kernel,
    /// whose data begins one page into it. Answer: its [`MapId`].
    BpfMapCreate {
        /// Bytes of data, rounded up to whole pages.
        bytes: u64,
        /// Seed of the [`crate::pattern`] to fill it with.
        seed: u64,
    },
    /// Overwrite the data of a map with another pattern. Answer: nothing.
    BpfMapFill {
        /// The map.
        map: MapId,
        /// Seed of the new pattern.
        seed: u64,
    },
    /// Give a map back to the kernel. Answer: nothing.
    BpfMapClose {
        /// The map; its id is not used again.
        map: MapId,
    },
    /// Keep memory that the kernel has no mapping of its own of. Answer: nothing.
    SecretMemory {
        /// Bytes, rounded up to whole pages.
        bytes: u64,
        /// Seed of the [`crate::pattern`] to fill it with.
        seed: u64,
    },
    /// Start processes that sleep until the guest ends. Answer: a list of their pids.
    SpawnProcesses {
        /// How many.
        count: u32,
    },
    /// Start threads of the helper that sleep until the guest ends. Answer: a list of their tids.
    SpawnThreads {
        /// How many.
        count: u32,
    },
    /// Read a page of a file into a buffer that is evicted meanwhile. Answer: [`StormReport`].
    Storm {
        /// Absolute path in the guest.
        path: String,
        /// Where the page begins, which holds the start of the storm's pattern.
        offset: u64,
        /// How.
        storm: Storm,
    },
    /// Turn the machine off. Answer: nothing, and then the wire ends.
    PowerOff,
}

/// A part of a file in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRange {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// A BPF map of the helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapId(pub u32);

/// What the guest is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the guest's end.
    pub version: u32,
    /// `uname -r`.
    pub release: String,
    /// `/proc/cmdline`, without the line end.
    pub cmdline: String,
    /// Modules that the helper loaded, in that order.
    pub modules: Vec<String>,
    /// What the helper could not prepare, by name, and why.
    pub missing: BTreeMap<String, String>,
}

/// What one part of a file holds in the guest's own view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeHash {
    /// Bytes read; fewer than asked exactly at the end of the file or with an `errno`.
    pub got: u64,
    /// [`crate::digest::of`] the bytes read.
    pub hash: u64,
    /// Whether all bytes read are zero.
    pub all_zero: bool,
    /// The error that ended the read early.
    pub errno: Option<i32>,
}

/// Reads of one page with `preadv`, into segments that lie on a page each, while a second thread evicts the
/// page of the segment in the middle, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storm {
    /// Seed of the [`crate::pattern`] whose first page is read.
    pub seed: u64,
    /// How many segments share the page's bytes, 1 to 1024.
    pub segments: u32,
    /// How many reads.
    pub calls: u32,
    /// When to end before that.
    pub seconds: u32,
}

/// What came of a [`Storm`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StormReport {
    /// Reads that were made.
    pub calls: u32,
    /// Those that failed with `EFAULT`.
    pub failed: u32,
    /// Those that left a byte in the buffer that does not belong there.
    pub misplaced: u32,
    /// Those that did not fail and did not deliver what they were to.
    pub wrong: u32,
    /// How often that page was taken away.
    pub evictions: u64,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

/// First line of a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Done; so many bytes of payload follow.
    Ok(u64),
    /// Not done.
    Failed(Failure),
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong with what.
    pub message: String,
    /// The system's error, where there is one.
    pub errno: Option<i32>,
}

/// Sends one request.
///
/// # Errors
/// Those of the wire.
pub fn send_request(wire: &mut impl Write, request: &Request) -> io::Result<()> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    wire.write_all(&line)?;
    wire.flush()
}

/// Receives one request; none when the wire has ended.
///
/// # Errors
/// Those of the wire, or a line that is no request.
pub fn receive_request(wire: &mut impl BufRead) -> io::Result<Option<Request>> {
    receive_line(wire, MAX_REQUEST_BYTES)
}

/// Sends one reply.
///
/// # Errors
/// Those of the wire.
pub fn send_reply(wire: &mut impl Write, reply: Result<&[u8], Failure>) -> io::Result<()> {
    let (status, payload) = match reply {
        Ok(payload) => (Status::Ok(payload.len() as u64), payload),
        Err(failure) => (Status::Failed(failure), [].as_slice()),
    };
    let mut line = serde_json::to_vec(&status)?;
    line.push(b'\n');
    wire.write_all(&line)?;
    wire.write_all(payload)?;
    wire.flush()
}

/// Receives one reply: the payload, or why there is none.
///
/// # Errors
/// Those of the wire, its end among them, or a line that is no status.
pub fn receive_reply(wire: &mut impl BufRead) -> io::Result<Result<Vec<u8>, Failure>> {
    let status = receive_line(wire, MAX_REQUEST_BYTES)?
        .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the guest closed the wire"))?;
    let len = match status {
        Status::Ok(len) if len <= MAX_PAYLOAD_BYTES => len,
        Status::Ok(len) => {
            return Err(invalid(format!(
                "a payload of {len} bytes, over {MAX_PAYLOAD_BYTES}"
            )));
        }
        Status::Failed(failure) => return Ok(Err(failure)),
    };
    let mut payload = Vec::new();
    wire.take(len).read_to_end(&mut payload)?;
    if (payload.len() as u64) < len {
        let message = format!("the wire ended after {} of {len} bytes", payload.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
    }
    Ok(Ok(payload))
}

fn receive_line<T: DeserializeOwned>(wire: &mut impl BufRead, limit: u64) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    wire.take(limit).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| {
        let start = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        invalid(format!(
            "a line that is not of the protocol: {error}: {start:?}"
        ))
    })
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line() {
        let ranges = vec![
            FileRange {
                offset: u64::MAX,
                len: 1,
            },
            FileRange { offset: 0, len: 0 },
        ];
        let sent = [
            Request::Hello,
            Request::HashRanges {
                path: "/proc/kcore".to_owned(),
                ranges,
            },
            Request::Write {
                path: "/a b".to_owned(),
                text: "x\ny".to_owned(),
            },
        ];
        let mut wire = Vec::new();
        for request in &sent {
            send_request(&mut wire, request).unwrap();
        }
        assert_eq!(
            wire.iter().filter(|byte| **byte == b'\n').count(),
            sent.len()
        );
        let mut wire = wire.as_slice();
        for request in sent {
            assert_eq!(receive_request(&mut wire).unwrap(), Some(request));
        }
        assert_eq!(receive_request(&mut wire).unwrap(), None);
    }

    #[test]
    fn a_payload_may_hold_anything() {
        let failure = Failure {
            message: "no\nsuch file".to_owned(),
            errno: Some(2),
        };
        let mut wire = Vec::new();
        send_reply(&mut wire, Ok(b"\n{}\0\xff")).unwrap();
        send_reply(&mut wire, Err(failure.clone())).unwrap();
        send_reply(&mut wire, Ok(b"")).unwrap();
        let mut wire = wire.as_slice();
        assert_eq!(receive_reply(&mut wire).unwrap().unwrap(), b"\n{}\0\xff");
        assert_eq!(receive_reply(&mut wire).unwrap().unwrap_err(), failure);
        assert_eq!(receive_reply(&mut wire).unwrap().unwrap(), b"");
        let end = receive_reply(&mut wire).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_payload_cut_short_is_an_error() {
        let mut wire = Vec::new();
        send_reply(&mut wire, Ok(b"abc")).unwrap();
        wire.pop();
        let cut = receive_reply(&mut wire.as_slice()).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_boast_of_a_payload_is_refused() {
        let boast = receive_reply(&mut &b"{\"ok\":18446744073709551615}\n"[..]).unwrap_err();
        assert_eq!(boast.kind(), io::ErrorKind::InvalidData);
    }
}
