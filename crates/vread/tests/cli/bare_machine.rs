//! Guests of QEMU that there is no kernel in, or no way into.

use std::{
    fs::{self, File, Permissions},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    process::Command,
};

use vread_guests::BareMachine;

use crate::command::{Ran, assert_refused, command, vread};

#[test]
fn a_guest_that_is_not_linux() {
    // SeaBIOS, in search of something to boot.
    let machine = BareMachine::start(&["-m", "64", "-name", "empty"]).unwrap();
    let ran = vread(&[&"info", &machine.word()]);
    assert_refused(&ran, &["guest empty of", "no Linux kernel found"]);
    assert!(!ran.stderr.contains("not running"), "{ran:?}");
}

#[test]
fn a_guest_that_was_not_started() {
    let machine = BareMachine::start(&["-S", "-m", "64"]).unwrap();
    let ran = vread(&[&"info", &machine.word()]);
    assert_refused(&ran, &["no Linux kernel found", "`prelaunch`, not running"]);
}

#[test]
fn a_memory_file_that_was_cut_short() {
    let machine = BareMachine::start(&[
        "-S",
        "-m",
        "64",
        "-machine",
        "pc,memory-backend=ram",
        "-object",
        "memory-backend-file,id=ram,size=64M,mem-path=ram,share=on",
    ])
    .unwrap();
    let path = machine.dir().join("ram");
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
    let machine = BareMachine::start(&["-S", "-m", "64"]).unwrap();
    let open_to_all = Permissions::from_mode(0o777);
    fs::set_permissions(machine.dir(), open_to_all.clone()).unwrap();
    fs::set_permissions(machine.socket(), open_to_all).unwrap();
    // The program lies where only its builder may look; the descriptor lets the other user run it.
    let program = command().get_program().to_owned();
    let copy = machine.dir().join("vread");
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
    let pid = machine.pid().to_string();
    assert_refused(&ran, &[&pid, "not ours to read", "or as root"]);
}

#[test]
fn a_socket_of_another_user() {
    let machine = BareMachine::start(&["-S", "-m", "64"]).unwrap();
    fs::set_permissions(machine.dir(), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(machine.socket(), Permissions::from_mode(0o700)).unwrap();
    let copy = machine.dir().join("vread");
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
    let machine = BareMachine::start(&["-S", "-m", "64"]).unwrap();
    let _held = UnixStream::connect(machine.socket()).unwrap();
    assert_refused(
        &vread(&[&"info", &machine.word()]),
        &["another client holds this socket", "second -qmp"],
    );
}
