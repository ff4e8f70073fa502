//! What bad input gets: one line on standard error that names the thing and the way out, and exit code
//! 2. No guest is needed here.

use std::{
    fs,
    io::Write as _,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process,
    sync::mpsc,
    thread,
};

use crate::command::{assert_refused, vread};

/// The word for a socket.
fn qemu(path: &Path) -> String {
    format!("qemu:{}", path.display())
}

#[test]
fn a_word_that_names_no_target() {
    assert_refused(&vread(&[&"info", &"vbox:1"]), &["`vbox:1`", "qemu:SOCKET"]);
    assert_refused(&vread(&[&"info", &"qemu:"]), &["`qemu:`", "qemu:1234"]);
    // Escape sequences do not reach the terminal.
    let ran = vread(&[&"info", &"a\u{1b}[31m"]);
    assert_refused(&ran, &["\\x1b[31m"]);
    assert!(!ran.stderr.contains('\u{1b}'));
}

#[test]
fn a_socket_that_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    assert_refused(
        &vread(&[&"info", &qemu(&path)]),
        &[path.to_str().unwrap(), "no such socket", "-qmp unix:"],
    );
}

#[test]
fn a_file_that_is_no_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    assert_refused(
        &vread(&[&"info", &qemu(&path)]),
        &[path.to_str().unwrap(), "not a socket", "-qmp unix:"],
    );
}

#[test]
fn a_socket_that_nobody_listens_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead");
    drop(UnixListener::bind(&path).unwrap());
    assert_refused(
        &vread(&[&"info", &qemu(&path)]),
        &[path.to_str().unwrap(), "nobody listens"],
    );
}

#[test]
fn a_socket_of_another_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hmp");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"QEMU 7.2.22 monitor - type 'help'\x1b[K\r\n(qemu) ");
    });
    let ran = vread(&[&"info", &qemu(&path)]);
    assert_refused(
        &ran,
        &["not a QMP socket", "QEMU 7.2.22 monitor", "-qmp unix:"],
    );
    assert!(!ran.stderr.contains('\u{1b}'));
}

#[test]
fn a_server_that_hangs_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shy");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || drop(listener.accept()));
    assert_refused(&vread(&[&"info", &qemu(&path)]), &["not a QMP socket"]);
}

#[test]
fn a_server_that_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("silent");
    let _listener = UnixListener::bind(&path).unwrap();
    assert_refused(
        &vread(&[&"info", &qemu(&path)]),
        &[
            "no QMP greeting within 3 s",
            "another client",
            "second -qmp",
        ],
    );
}

#[test]
fn a_server_that_never_ends_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flood");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let chunk = [b'x'; 1 << 16];
        while stream.write_all(&chunk).is_ok() {}
    });
    assert_refused(&vread(&[&"info", &qemu(&path)]), &["not a QMP socket"]);
}

#[test]
fn a_process_that_does_not_exist() {
    // Above the largest id that Linux gives out.
    assert_refused(
        &vread(&[&"info", &"qemu:4194305"]),
        &["no process 4194305", "pgrep"],
    );
}

#[test]
fn a_process_without_a_qmp_socket() {
    let pid = process::id().to_string();
    assert_refused(
        &vread(&[&"info", &format!("qemu:{pid}")]),
        &[&pid, "no QMP socket", "start QEMU with -qmp unix:"],
    );
}

#[test]
fn an_address_that_is_not_canonical() {
    let ran = vread(&[&"read", &"arena", &"0x8000000000000000", &"16"]);
    assert_refused(
        &ran,
        &[
            "0x8000000000000000",
            "not a canonical address",
            "0xffff800000000000",
        ],
    );
}

#[test]
fn an_address_of_user_space() {
    let ran = vread(&[&"read", &"arena", &"0x7fffffffffff", &"16"]);
    assert_refused(
        &ran,
        &["0x7fffffffffff", "user space", "0xffff800000000000"],
    );
}

#[test]
fn a_range_beyond_the_end_of_the_address_space() {
    let ran = vread(&[&"read", &"arena", &"0xfffffffffffff000", &"0x1001"]);
    assert_refused(&ran, &["0xfffffffffffff000", "ask for 0x1000 at most"]);
    let ran = vread(&[&"read", &"arena", &"0xfffffffffffff000+0x1000", &"1"]);
    assert_refused(&ran, &["beyond the address space"]);
}

#[test]
fn a_symbol_that_does_not_exist() {
    let ran = vread(&[&"read", &"arena", &"greetings", &"16"]);
    assert_refused(&ran, &["no symbol `greetings`", "vread symbols"]);
}

#[test]
fn words_that_are_no_numbers() {
    for (at, length) in [("4096", "1"), ("greeting+x", "1"), ("greeting", "1T")] {
        let ran = vread(&[&"read", &"arena", &at, &length]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("invalid value"), "{ran:?}");
    }
}

#[test]
fn a_folder_that_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    let ran = vread(&[&"mount", &"arena", &path]);
    assert_refused(&ran, &[path.to_str().unwrap(), "no such folder", "mkdir"]);
}

#[test]
fn a_mount_point_that_is_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    let ran = vread(&[&"mount", &"arena", &path]);
    assert_refused(&ran, &[path.to_str().unwrap(), "not a folder"]);
}

#[test]
fn a_folder_that_is_already_a_mount() {
    assert_refused(
        &vread(&[&"mount", &"arena", &"/proc"]),
        &["/proc: already a mount (of type proc)", "another folder"],
    );
}

#[test]
fn two_clients_of_one_socket() {
    // A QMP server that serves one client at a time, as QEMU does: whoever waits hears nothing.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    let (done, until_done) = mpsc::channel::<()>();
    let serving = thread::spawn(move || {
        let (first, _) = listener.accept().unwrap();
        let _ = until_done.recv();
        drop(first);
    });
    let _first = UnixStream::connect(&path).unwrap();
    let ran = vread(&[&"info", &qemu(&path)]);
    drop(done);
    serving.join().unwrap();
    assert_refused(&ran, &["another client holds this socket"]);
}
