//! One request after the other.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::process::{Child, Command};

use serde::Serialize;
use vread_guest_helper::protocol::{self, Failure, Hello, Output, Request};

use crate::bpf::Maps;
use crate::{file, secret, sleepers, storm};

/// Bytes collected before they go to the device.
const WIRE_BUFFER_BYTES: usize = 1 << 18;

/// Greets the host, then answers until the wire ends or the host says [`Request::PowerOff`].
pub(crate) fn until_told_to_stop(wire: File, hello: Hello) -> io::Result<()> {
    let mut requests = BufReader::with_capacity(WIRE_BUFFER_BYTES, wire.try_clone()?);
    let mut replies = BufWriter::with_capacity(WIRE_BUFFER_BYTES, wire);
    let mut guest = Guest {
        hello,
        maps: Maps::default(),
        sleepers: Vec::new(),
    };
    let mut next = Some(Request::Hello);
    while let Some(request) = next {
        let answer = guest.answer(&request);
        let reply = answer.as_deref().map_err(|error| Failure {
            message: format!("{error} (asked: {})", brief(&request)),
            errno: error.raw_os_error(),
        });
        protocol::send_reply(&mut replies, reply)?;
        if request == Request::PowerOff {
            return Ok(());
        }
        next = protocol::receive_request(&mut requests)?;
    }
    Ok(())
}

/// What outlives one request.
struct Guest {
    hello: Hello,
    maps: Maps,
    sleepers: Vec<Child>,
}

impl Guest {
    fn answer(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        match request {
            Request::Hello => json(&self.hello),
            Request::Read { path } => file::read(path),
            Request::ReadAt { path, range } => file::read_at(path, *range),
            Request::HashLines { path, lines } => json(&file::hash_lines(path, *lines)?),
            Request::HashBytes { path, bytes } => json(&file::hash_bytes(path, *bytes)?),
            Request::HashRanges { path, ranges } => json(&file::hash_ranges(path, ranges)?),
            Request::Write { path, text } => nothing(write(path, text)?),
            Request::Run { argv } => json(&run(argv)?),
            Request::BpfMapCreate { bytes, seed } => json(&self.maps.create(*bytes, *seed)?),
            Request::BpfMapFill { map, seed } => nothing(self.maps.fill(*map, *seed)?),
            Request::BpfMapClose { map } => nothing(self.maps.close(*map)?),
            Request::SecretMemory { bytes, seed } => nothing(secret::create(*bytes, *seed)?),
            Request::SpawnProcesses { count } => {
                json(&sleepers::spawn_processes(*count, &mut self.sleepers)?)
            }
            Request::SpawnThreads { count } => json(&sleepers::spawn_threads(*count)?),
            Request::Storm {
                path,
                offset,
                storm,
            } => json(&storm::run(path, *offset, storm)?),
            Request::PowerOff => nothing(()),
        }
    }
}

fn json(answer: &impl Serialize) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(answer)?)
}

fn nothing((): ()) -> io::Result<Vec<u8>> {
    Ok(Vec::new())
}

/// One `write`, since files of the kernel take their value at once.
fn write(path: &str, text: &str) -> io::Result<()> {
    let written = OpenOptions::new()
        .write(true)
        .open(path)?
        .write(text.as_bytes())?;
    if written < text.len() {
        return Err(io::Error::new(
            io::ErrorKind::WriteZero,
            format!("{path} took {written} of {} bytes", text.len()),
        ));
    }
    Ok(())
}

fn run(argv: &[String]) -> io::Result<Output> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| io::Error::other("no program is named"))?;
    let ended = Command::new(program).args(arguments).output()?;
    Ok(Output {
        code: ended.status.code(),
        stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
    })
}

/// A request as it goes into an error message: lists of ranges are long.
fn brief(request: &Request) -> String {
    match request {
        Request::HashRanges { path, ranges } => format!("{} ranges of {path}", ranges.len()),
        other => format!("{other:?}"),
    }
}
