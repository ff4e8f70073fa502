//! The stacks of tasks that are running this moment.

use std::path::Path;

use serde_json::json;
use vread_guests::{Guest, QmpClient};

use crate::drgn::{Drgn, run_script};
use crate::mounted::Mounted;
use crate::program::wait_for;

const CPUS: usize = 2;
/// How often the guest is stopped to look at what it does: as often as it takes to see this many CPUs in a read.
const READING: usize = 8;
/// And no more often.
const MOST_STOPS: usize = 40;

/// On the running guest drgn unwinds the idle CPUs, whose stacks rest. Then both read zeros as fast as they can: whenever
/// the guest is stopped, drgn finds the whole way, from wherever a CPU is, through an interrupt if there is one, to the
/// program that made the system call.
pub(crate) fn drgn_unwinds_the_tasks_that_run(guest: &Guest) {
    let mounted = Mounted::new(guest);
    let core = mounted.vmcore();
    // A CPU may be woken between drgn's look at its registers and its look at its stack.
    wait_for("both CPUs to be idle and unwound", || {
        let stacks = stacks(&core);
        stacks.len() == CPUS && stacks.iter().all(Stack::is_idle)
    });
    let reads = "for cpu in 0 1; do \
                 busybox dd if=/dev/zero of=/dev/null bs=16M count=1000000 </dev/null >/dev/null 2>&1 & \
                 done";
    let started = guest.run(&["/bin/busybox", "sh", "-c", reads]).unwrap();
    assert_eq!(started.code, Some(0), "{started:?}");
    let (mut reading, mut broken, mut stops) = (0, 0, 0);
    while reading < READING && stops < MOST_STOPS {
        stops += 1;
        let stacks = stopped(guest, || stacks(&core));
        assert_eq!(stacks.len(), CPUS);
        for stack in stacks {
            // Others of the guest's tasks run now and then.
            if stack.comm != "busybox" {
                continue;
            }
            if !stack.is_whole() && !stack.is_nowhere() {
                println!("{stack:?}");
                broken += 1;
            }
            reading += usize::from(stack.reads());
        }
    }
    guest.run(&["/bin/busybox", "killall", "busybox"]).unwrap();
    println!("{reading} stacks of {CPUS} CPUs were in the middle of a read at {stops} stops");
    assert!(reading >= READING, "{reading} at {stops} stops");
    // The kernel's own table may be wrong at an instruction; that two of few stops come upon one says that we are.
    assert!(broken <= 1, "{broken} at {stops} stops");
}

#[derive(Debug)]
struct Stack {
    comm: String,
    /// Whether the CPU, or what interrupted it, stood where the guest's own ORC table has no way out.
    is_dead_end: bool,
    /// Whether a program is at its other end, and nothing but the kernel's text of entries before that.
    is_entered: bool,
    /// Innermost first.
    frames: Vec<String>,
}

impl Stack {
    fn is_idle(&self) -> bool {
        self.comm.starts_with("swapper/") && self.has("do_idle") && self.has("cpu_startup_entry")
    }

    fn reads(&self) -> bool {
        self.has("ksys_read") && self.has("do_syscall_64")
    }

    /// Whether the CPU is where the kernel itself knows no way out: in a retpoline, or between two tasks, where 6.1 fills
    /// the processor's return buffer by calls that its table, which knows the code before it was patched, has not.
    fn is_nowhere(&self) -> bool {
        let at = self.frames.first().map(String::as_str);
        self.is_dead_end || at == Some("__switch_to_asm")
    }

    fn has(&self, function: &str) -> bool {
        self.frames.iter().any(|frame| frame == function)
    }

    /// Whether it ends in the program, whose functions have no names here, entered the kernel from there if it is in the
    /// kernel, and has a name for each function of the kernel, or that of its module.
    fn is_whole(&self) -> bool {
        let kernel = self.frames.split_last().map(|(_program, kernel)| kernel);
        let mut kernel = kernel.unwrap_or_default().iter();
        self.is_entered && kernel.all(|name| !name.starts_with("0x"))
    }
}

/// The registers are those of the moment at which drgn opens the core.
fn stacks(core: &Path) -> Vec<Stack> {
    let out = run_script(&Drgn::Newest, core, "running.py");
    let stack = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        Some(Stack {
            comm: words.next()?,
            is_dead_end: words.next()? == "dead-end",
            is_entered: words.next()? == "entered",
            frames: words.collect(),
        })
    };
    out.lines().filter_map(stack).collect()
}

fn stopped<T>(guest: &Guest, look: impl FnOnce() -> T) -> T {
    let qmp = |command: &str| {
        // Not kept: a socket has one client at a time, and the mount is another's.
        let mut qmp = QmpClient::connect(&guest.qmp_paths()[1]).unwrap();
        qmp.execute(command, json!({})).unwrap();
    };
    qmp("stop");
    let seen = look();
    qmp("cont");
    seen
}
