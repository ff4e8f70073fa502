//! Running `vread` and its peers.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use vread_guests::{Guest, wait_until};

/// Longer than anything here takes on an idle machine, by far.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) fn vread() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vread"))
}

/// The word for a guest on vread's command line.
pub(crate) fn target(guest: &Guest) -> String {
    format!("qemu:{}", guest.qmp_path().display())
}

/// What `command` printed; fails with all it said if it did not succeed.
pub(crate) fn stdout(command: &mut Command) -> String {
    String::from_utf8(succeed(command).stdout).expect("output is text")
}

/// Runs `command` to its end; fails with all it said if it did not succeed.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

/// Runs `vread` with these arguments and gives back what it printed.
pub(crate) fn vread_stdout<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    stdout(vread().args(args))
}

/// Waits for `condition`, or fails saying what was waited for.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    wait_until(what, DEADLINE, || condition().then_some(())).unwrap();
}
