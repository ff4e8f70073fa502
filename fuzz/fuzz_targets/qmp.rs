//! A QMP server that answers anything: greeting, memory map, devices, status.
#![no_main]
#![forbid(unsafe_code)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vread_targets::QemuGuest;

/// What is said to each command, in order; what is not changed is what QEMU says.
#[derive(Debug, Arbitrary)]
struct Input {
    changes: Vec<(u8, Change)>,
}

#[derive(Debug, Clone, Arbitrary)]
enum Change {
    /// Other bytes altogether.
    Instead(Vec<u8>),
    /// A piece put in, or in the place of others.
    Piece { at: u16, cut: u8, put: Vec<u8> },
    /// Another line first.
    Before(Vec<u8>),
    /// The end of the conversation.
    HangUp,
}

/// The most turns of a conversation; those of an unchanged one are half as many.
const MAX_TURNS: usize = 40;
/// The machine's memory, all of it in this process.
static MEMORY: OnceLock<Vec<u8>> = OnceLock::new();
const MEMORY_LEN: usize = 0x20_0000;

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}"#;

/// What QEMU says to a command: the first whose words are in it.
const ANSWERS: [(&str, &str); 9] = [
    (
        "qom-get",
        r#"{"error": {"class": "GenericError", "desc": "Property not found"}}"#,
    ),
    (
        "info mtree",
        r#"{"return": "FlatView #0\r\n AS \"memory\", root: system\r\n Root memory region: system\r\n  0000000000000000-000000000009ffff (prio 0, ram): pc.ram owner:{obj path=/objects/pc.ram}\r\n  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem owner:{dev path=/machine/unattached/device[8]}\r\n  0000000000100000-00000000001fffff (prio 0, ram): pc.ram @0000000000100000 owner:{obj path=/objects/pc.ram}\r\n\r\n"}"#,
    ),
    (
        "query-memdev",
        r#"{"return": [{"id": "pc.ram", "share": true, "size": 2097152, "policy": "default", "merge": true, "dump": true, "prealloc": false, "host-nodes": []}]}"#,
    ),
    (
        "query-memory-devices",
        r#"{"return": [{"type": "dimm", "data": {"memdev": "/objects/m", "addr": 1, "id": "d", "slot": 0, "size": 1}}]}"#,
    ),
    (
        "query-pci",
        r#"{"return": [{"bus": 0, "devices": [{"bus": 0, "slot": 1, "regions": [{"type": "memory", "address": -1, "size": 4096}, {"type": "io", "address": 1, "size": 2}], "pci_bridge": {"bus": {}, "devices": []}}]}]}"#,
    ),
    (
        "query-status",
        r#"{"return": {"running": true, "singlestep": false, "status": "running"}}"#,
    ),
    ("query-name", r#"{"return": {"name": "guest"}}"#),
    ("qmp_capabilities", r#"{"return": {}}"#),
    (
        "",
        r#"{"error": {"class": "CommandNotFound", "desc": "The command is not known"}}"#,
    ),
];

struct Server {
    path: PathBuf,
    scripts: Sender<Vec<(u8, Change)>>,
}

thread_local! {
    static SERVER: Server = serve();
}

fn serve() -> Server {
    let path = std::env::temp_dir().join(format!("vread-fuzz-qmp-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("a socket");
    let (scripts, script) = channel();
    thread::spawn(move || talk(&listener, &script));
    Server { path, scripts }
}

/// Has one conversation with each client.
fn talk(listener: &UnixListener, scripts: &Receiver<Vec<(u8, Change)>>) {
    let memory = MEMORY.get_or_init(|| vec![0; MEMORY_LEN]).as_ptr() as usize;
    while let Ok(script) = scripts.recv() {
        let (stream, _) = listener.accept().expect("a client");
        // The client may have had enough at any time.
        let _ = converse(stream, &script, memory);
    }
}

fn converse(mut stream: UnixStream, script: &[(u8, Change)], memory: usize) -> std::io::Result<()> {
    let mut asked = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    for turn in 0..MAX_TURNS {
        let answer = match turn {
            0 => GREETING.to_owned(),
            _ => {
                line.clear();
                if asked.read_line(&mut line)? == 0 {
                    break;
                }
                answer(&line, memory)
            }
        };
        let changes = script.iter().filter(|(at, _)| usize::from(*at) == turn);
        let Some(mut answer) = changed(answer.into_bytes(), changes.map(|(_, change)| change))
        else {
            break;
        };
        answer.push(b'\n');
        stream.write_all(&answer)?;
    }
    // Nobody is kept waiting for more.
    Ok(())
}

fn answer(line: &str, memory: usize) -> String {
    if let Some((_, address)) = line.split_once("gpa2hva 0x") {
        let hex: String = address
            .chars()
            .take_while(char::is_ascii_hexdigit)
            .collect();
        let address = usize::from_str_radix(&hex, 16).unwrap_or_default();
        let hva = memory.wrapping_add(address);
        return format!(
            r#"{{"return": "Host virtual address for {address:#x} (pc.ram) is {hva:#x}\r\n"}}"#
        );
    }
    let known = ANSWERS.iter().find(|(words, _)| line.contains(words));
    known
        .map(|(_, answer)| (*answer).to_owned())
        .unwrap_or_default()
}

/// `answer` with its changes; `None` at the end of the conversation.
fn changed<'c>(mut answer: Vec<u8>, changes: impl Iterator<Item = &'c Change>) -> Option<Vec<u8>> {
    for change in changes {
        match change {
            Change::HangUp => return None,
            Change::Instead(bytes) => answer.clone_from(bytes),
            Change::Before(bytes) => answer = [bytes.clone(), answer].join(&b'\n'),
            Change::Piece { at, cut, put } => {
                let at = usize::from(*at) % (answer.len() + 1);
                let end = (at + usize::from(*cut)).min(answer.len());
                answer.splice(at..end, put.iter().copied());
            }
        }
    }
    Some(answer)
}

fuzz_target!(|input: Input| {
    SERVER.with(|server| {
        let unchanged = input.changes.is_empty();
        server
            .scripts
            .send(input.changes)
            .expect("the server lives");
        match QemuGuest::of_socket(&server.path) {
            Ok(guest) => {
                assert!(!guest.ram.is_empty());
                assert!(
                    guest
                        .ram
                        .is_sorted_by(|a, b| a.range.end() <= b.range.start())
                );
            }
            Err(error) => {
                assert!(!unchanged, "{error}");
                let said = error.to_string();
                let obeyed = |c: char| c.is_control() && c != '\n';
                assert!(!said.contains(obeyed), "{said:?}");
                assert!(said.len() < 4096, "{said:?}");
            }
        }
    });
});
