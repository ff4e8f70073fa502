//! Guests of QEMU that there is no kernel in, or no way into.

use std::{
    fs::{self, File, Permissions},
    io::Read as _,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::command::{Ran, assert_refused, command, poll, vread};

/// A QEMU without a kernel, ended on drop.
struct Machine {
    child: Child,
    dir: tempfile::TempDir,
}

impl Machine {
    fn start(arguments: &[&str]) -> Self {
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

    fn socket(&self) -> PathBuf {
        self.dir.path().join("qmp")
    }

    fn word(&self) -> String {
        format!("qemu:{}", self.socket().display())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_guest_that_is_not_linux() {
    // SeaBIOS, in search of something to boot.
    let machine = Machine::start(&["-m", "64", "-name", "empty"]);
    let ran = vread(&[&"info", &machine.word()]);
    assert_refused(&ran, &["guest empty of", "no Linux kernel found"]);
    assert!(!ran.stderr.contains("not running"), "{ran:?}");
}

#[test]
fn a_guest_that_was_not_started() {
    let machine = Machine::start(&["-S", "-m", "64"]);
    let ran = vread(&[&"info", &machine.word()]);
    assert_refused(&ran, &["no Linux kernel found", "`prelaunch`, not running"]);
}

#[test]
fn a_memory_file_that_was_cut_short() {
    let machine = Machine::start(&[
        "-S",
        "-m",
        "64",
        "-machine",
        "pc,memory-backend=ram",
        "-object",
        "memory-backend-file,id=ram,size=64M,mem-path=ram,share=on",
    ]);
    let path = machine.dir.path().join("ram");
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let ran = vread(&[&"info", &machine.word()]);
    assert_refused(&ran, &[path.to_str().unwrap()]);
}

#[test]
fn a_qemu_of_another_user() {
    let machine = Machine::start(&["-S", "-m", "64"]);
    let open_to_all = Permissions::from_mode(0o777);
    fs::set_permissions(machine.dir.path(), open_to_all.clone()).unwrap();
    fs::set_permissions(machine.socket(), open_to_all).unwrap();
    // The program lies where only its builder may look; the descriptor lets the other user run it.
    let program = command().get_program().to_owned();
    let copy = machine.dir.path().join("vread");
    fs::copy(program, &copy).unwrap();
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--",
        ])
        .arg(&copy)
        .args(["info", &machine.word()])
        .output()
        .unwrap();
    let ran = Ran::from(output);
    assert!(
        !ran.stderr.contains("setpriv:"),
        "this test drops privileges, so it must be started with them (as root): {ran:?}"
    );
    let pid = machine.child.id().to_string();
    assert_refused(&ran, &[&pid, "not ours to read", "or as root"]);
}

#[test]
fn a_socket_of_another_user() {
    let machine = Machine::start(&["-S", "-m", "64"]);
    fs::set_permissions(machine.dir.path(), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(machine.socket(), Permissions::from_mode(0o700)).unwrap();
    let copy = machine.dir.path().join("vread");
    fs::copy(command().get_program(), &copy).unwrap();
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--",
        ])
        .arg(&copy)
        .args(["info", &machine.word()])
        .output()
        .unwrap();
    assert_refused(
        &Ran::from(output),
        &["Permission denied", "as the user who runs QEMU, or as root"],
    );
}

#[test]
fn a_socket_that_another_client_holds() {
    let machine = Machine::start(&["-S", "-m", "64"]);
    let _held = UnixStream::connect(machine.socket()).unwrap();
    assert_refused(
        &vread(&[&"info", &machine.word()]),
        &["another client holds this socket", "second -qmp"],
    );
}
