//! Running crash without a terminal.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use vread_guests::{Guest, KernelRelease, UnpackedPackage};

use crate::program::succeed;

/// Which of a guest's modules crash can look at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Modules {
    All,
    None,
}

impl Modules {
    /// crash 9.0.2 ends on every 7.2 that has modules.
    pub(crate) fn of(guest: &Guest) -> Self {
        match guest.kernel().release() {
            KernelRelease::V7_2 => Self::None,
            _ => Self::All,
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::All => &[],
            Self::None => &["--no_modules"],
        }
    }
}

/// What a crash answers to each of `commands`, in one run.
pub(crate) fn answers(
    package: &UnpackedPackage,
    vmlinux: &Path,
    core: &Path,
    modules: Modules,
    commands: &[&str],
) -> Vec<String> {
    const MARK: &str = "== answer\n";
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("commands");
    // crash itself must print the marks, since it keeps its output back: no pipe and no echo.
    let mark = "gdb printf \"== answer\\n\"\n";
    let mut script = String::from("set scroll off\n");
    for command in commands {
        script.push_str(mark);
        script.push_str(command);
        script.push('\n');
    }
    script.push_str(mark);
    script.push_str("quit\n");
    fs::write(&input, script).unwrap();
    let mut command = crash(package, folder.path(), modules);
    let output = succeed(command.arg("-i").arg(&input).arg(vmlinux).arg(core));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers: Vec<String> = text.split(MARK).skip(1).map(str::to_owned).collect();
    assert_eq!(
        answers.len(),
        commands.len() + 1,
        "crash ended early:\n{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    answers[..commands.len()].to_vec()
}

/// crash, in a folder of its own, away from whatever a user has in `.crashrc`.
pub(crate) fn crash(package: &UnpackedPackage, folder: &Path, modules: Modules) -> Command {
    let mut command = package.command("crash");
    command
        .arg("-s")
        .args(modules.arguments())
        .env("HOME", folder)
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}
