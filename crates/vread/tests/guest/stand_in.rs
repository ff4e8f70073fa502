//! A stand-in for QEMU: a process, this one, that has a machine's memory in a file and answers vread's
//! questions about it, for machines that QEMU itself cannot have here.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use vread_addr::{ByteLen, FileOffset, PhysAddr, PhysRange};
use vread_physmem::PhysMem;

/// Where memory goes on behind the hole for devices, and where it ends before that, in machines of the type
/// q35 with more than that: QEMU's rule.
const HIGH_MEMORY: u64 = 4 << 30;
const LOW_MEMORY: u64 = 2 << 30;

/// The stand-in, until it is dropped.
pub(crate) struct StandIn {
    dir: tempfile::TempDir,
    over: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

/// What it knows.
struct Machine {
    /// Start and length of each range of memory, and where it lies in this process.
    ram: Vec<(u64, u64, u64)>,
    /// What the human monitor prints of the registers; it has no such command without.
    registers: Option<String>,
    /// Keeps the memory file mapped.
    _mapped: PhysMem,
}

impl StandIn {
    /// Serves a machine that has the whole of `memory`, as QEMU would place it: around the hole below 4 GiB.
    pub(crate) fn serve(memory: &Path, registers: Option<String>) -> Self {
        let len = fs::metadata(memory).unwrap().len();
        assert!(len > LOW_MEMORY);
        let halves = [
            (0, LOW_MEMORY, 0),
            (HIGH_MEMORY, len - LOW_MEMORY, LOW_MEMORY),
        ];
        let layout = halves.map(|(start, len, at)| {
            let range = PhysRange::from_len(PhysAddr::new(start), ByteLen::new(len)).unwrap();
            (range, FileOffset::new(at))
        });
        let mapped = PhysMem::from_file(memory, &layout).unwrap();
        let place = |(start, len, at)| (start, len, place_of(memory, at));
        let machine = Machine {
            ram: halves.map(place).to_vec(),
            registers,
            _mapped: mapped,
        };
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket(&dir)).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let server = thread::spawn(move || {
            // One client at a time, as QEMU.
            for client in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                machine.answer(client.unwrap());
            }
        });
        Self {
            dir,
            over,
            server: Some(server),
        }
    }

    /// The word for it on vread's command line.
    pub(crate) fn word(&self) -> String {
        format!("qemu:{}", socket(&self.dir).display())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let woken = UnixStream::connect(socket(&self.dir));
        if let (Ok(_), Some(server)) = (woken, self.server.take()) {
            let _ = server.join();
        }
    }
}

fn socket(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("qmp")
}

impl Machine {
    /// Greets, and answers until the client hangs up.
    fn answer(&self, client: UnixStream) {
        let mut answers = client.try_clone().unwrap();
        let version =
            json!({ "qemu": { "major": 7, "minor": 2, "micro": 0 }, "package": "stand-in" });
        let greeting = json!({ "QMP": { "version": version, "capabilities": [] } });
        writeln!(answers, "{greeting}").unwrap();
        for line in BufReader::new(client).lines() {
            let Ok(line) = line else { return };
            let request: Value = serde_json::from_str(&line).unwrap();
            let answer = match self.word_on(&request) {
                Some(word) => json!({ "return": word }),
                None => {
                    json!({ "error": { "class": "CommandNotFound", "desc": "the stand-in has none" } })
                }
            };
            if writeln!(answers, "{answer}").is_err() {
                return;
            }
        }
    }

    fn word_on(&self, request: &Value) -> Option<Value> {
        match request["execute"].as_str()? {
            "qmp_capabilities" | "query-name" => Some(json!({})),
            "query-status" => Some(json!({ "status": "paused", "running": false })),
            "query-memdev" => Some(json!([{ "id": "ram", "share": true }])),
            "query-memory-devices" | "query-pci" => Some(json!([])),
            "human-monitor-command" => {
                let line = request["arguments"]["command-line"].as_str()?;
                Some(json!(self.human(line)?))
            }
            _ => None,
        }
    }

    fn human(&self, line: &str) -> Option<String> {
        if let Some(address) = line.strip_prefix("gpa2hva 0x") {
            let address = u64::from_str_radix(address, 16).unwrap();
            let mut ranges = self.ram.iter();
            let (start, _, place) =
                ranges.find(|(start, len, _)| address.wrapping_sub(*start) < *len)?;
            let place = place + (address - start);
            return Some(format!(
                "Host virtual address for {address:#x} (ram) is {place:#x}\r\n"
            ));
        }
        match line {
            "info registers" => self.registers.clone(),
            "info mtree -f -o" => {
                let mut view = "FlatView #0\r\n AS \"memory\", root: system\r\n \
                     Root memory region: system\r\n"
                    .to_owned();
                for (start, len, _) in &self.ram {
                    let last = start + len - 1;
                    view += &format!(
                        "  {start:016x}-{last:016x} (prio 0, ram): ram owner:{{obj path=/objects/ram}}\r\n"
                    );
                }
                Some(view + "\r\n")
            }
            _ => None,
        }
    }
}

/// Where this process has the byte at `offset` of the mapped file `path`.
fn place_of(path: &Path, offset: u64) -> u64 {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let place = maps.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [range, _, at, _, _, name] = words[..] else {
            return None;
        };
        let (start, end) = range.split_once('-')?;
        let into = offset.checked_sub(hex(at))?;
        let here = Path::new(name) == path && into < hex(end) - hex(start);
        here.then(|| hex(start) + into)
    });
    place.unwrap_or_else(|| panic!("{} is not mapped at {offset:#x}", path.display()))
}
