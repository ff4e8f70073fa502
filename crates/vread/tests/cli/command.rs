//! Running `vread` and judging what it says.

use std::{
    ffi::OsStr,
    process::{Command, Output, Stdio},
    time::Duration,
};

use vread_guests::wait_until;

/// How long a condition may take to come true.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What a run of `vread` came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The program under test, with nothing of this process's terminal or logging.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vread"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs `vread` with `arguments` to its end.
pub(crate) fn vread(arguments: &[&dyn AsRef<OsStr>]) -> Ran {
    Ran::from(command().args(arguments).output().unwrap())
}

/// Asserts that it failed with code 2 and one line that contains each of `words`.
#[track_caller]
pub(crate) fn assert_refused(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    assert!(ran.stderr.starts_with("vread: "), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is not in {ran:?}");
    }
}

/// Waits until `ready` gives something.
#[track_caller]
pub(crate) fn poll<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    wait_until(what, DEADLINE, ready).unwrap()
}
