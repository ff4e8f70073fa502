//! Running programs of the host, so that a failure tells what was run and what it said.

use std::process::{Command, Output, Stdio};

use crate::error::GuestError;

/// How much of a program's complaint goes into an error.
const COMPLAINT_BYTES: usize = 4000;

/// Runs a program to its end; its standard output is the answer.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, GuestError> {
    let ended = run(command)?;
    succeeded(command, ended)
}

fn succeeded(command: &Command, ended: Output) -> Result<Vec<u8>, GuestError> {
    if ended.status.success() {
        return Ok(ended.stdout);
    }
    Err(GuestError::Program {
        command: spelled(command),
        status: ended.status.to_string(),
        stderr: tail(&ended.stderr, COMPLAINT_BYTES),
    })
}

/// As [`output`], for a program that reads `input`.
pub(crate) fn output_from(command: &mut Command, input: Stdio) -> Result<Vec<u8>, GuestError> {
    let ended = run_from(command, input)?;
    succeeded(command, ended)
}

/// As [`output`], for programs that answer in text.
pub(crate) fn text(command: &mut Command) -> Result<String, GuestError> {
    output(command).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Runs a program to its end, whatever that is.
pub(crate) fn run(command: &mut Command) -> Result<Output, GuestError> {
    run_from(command, Stdio::null())
}

fn run_from(command: &mut Command, input: Stdio) -> Result<Output, GuestError> {
    command
        .stdin(input)
        .output()
        .map_err(|source| GuestError::Start {
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        })
}

/// A command as one would type it, for messages.
pub(crate) fn spelled(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last `limit` bytes of a text.
pub(crate) fn tail(bytes: &[u8], limit: usize) -> String {
    let from = bytes.len().saturating_sub(limit);
    String::from_utf8_lossy(&bytes[from..]).trim().to_owned()
}
