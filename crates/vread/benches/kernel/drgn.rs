//! drgn on the same guest, by its own way into QEMU.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use vread_guests::ensure_drgn;

/// What `vread ps --threads` reads too: ids, parent, owner, state, name, start, memory, and each process's
/// command line, by the helpers that drgn has for them.
const SCRIPT: &str = "\
import sys, time
begin = time.perf_counter()
import drgn
from drgn.helpers.linux.mm import cmdline
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_state_to_char
prog = drgn.Program()
prog.set_qemu_qmp(sys.argv[1])
prog.load_debug_info([sys.argv[2]])
print(time.perf_counter() - begin, flush=True)
for line in sys.stdin:
    begin = time.perf_counter()
    tasks = []
    for task in for_each_task(prog):
        words = None
        if task.mm and task.pid.value_() == task.tgid.value_():
            try:
                words = cmdline(task)
            except drgn.FaultError:
                pass
        tasks.append((
            task.pid.value_(),
            task.tgid.value_(),
            task.real_parent.tgid.value_(),
            task.cred.uid.val.value_(),
            task_state_to_char(task),
            task.comm.string_(),
            task.start_boottime.value_(),
            task.mm.total_vm.value_() if task.mm else None,
            words,
        ))
    print(len(tasks), time.perf_counter() - begin, flush=True)
";

/// drgn, attached, waiting to be asked.
pub(crate) struct Drgn {
    process: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// How long it took to attach and to load debug information.
    pub(crate) open_time: Duration,
}

impl Drgn {
    pub(crate) fn open(socket: &Path, vmlinux: &Path) -> Self {
        let mut process = Command::new(ensure_drgn().unwrap())
            .args(["-c", SCRIPT])
            .args([socket, vmlinux])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asks = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut this = Self {
            process,
            asks,
            answers,
            open_time: Duration::ZERO,
        };
        this.open_time = seconds(&this.answer());
        this
    }

    /// How many tasks it lists, and how long that took.
    pub(crate) fn list(&mut self) -> (usize, Duration) {
        let asks = self.asks.as_mut().unwrap();
        asks.write_all(b"\n").unwrap();
        let answer = self.answer();
        let (count, time) = answer.split_once(' ').unwrap();
        (count.parse().unwrap(), seconds(time))
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "drgn ended: {:?}", self.process.wait());
        line
    }
}

impl Drop for Drgn {
    fn drop(&mut self) {
        // Without anybody who asks, it ends.
        self.asks = None;
        let _ = self.process.wait();
    }
}

pub(crate) fn version() -> String {
    let script = "import importlib.metadata; print(importlib.metadata.version('drgn'))";
    let output = Command::new(ensure_drgn().unwrap())
        .args(["-c", script])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.trim().parse().unwrap())
}
