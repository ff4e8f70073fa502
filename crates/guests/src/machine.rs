//! QEMU as a child that ends with us, however we end.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::config::{Backend, GuestConfig, Kaslr};
use crate::error::GuestError;
use crate::kernel::Kernel;
use crate::poll::wait_until;
use crate::program;
use crate::runtime::Runtime;

const QEMU: &str = "qemu-system-x86_64";

/// Name of the port of the wire, on both ends. The virtual console is about 60 times as fast as an
/// emulated serial port (25 MB/s against 0.42 MB/s under TCG) and never drops a byte.
const WIRE_PORT: &str = "vread";

/// Added to every processor model. QEMU 7.2's translator now and then leaves rubbish in the flags
/// of `cmpxchg16b`, which kernels use to allocate memory: 13 of 140 boots of 6.12 on a busy machine
/// ended in a double fault or a debug trap, none of 215 without the instruction.
const WITHOUT_CMPXCHG16B: &str = ",cx16=off";

/// Modules without which there is no wire; newer kernels have them built in.
pub(crate) const WIRE_MODULES: [&str; 2] = ["virtio_pci", "virtio_console"];

/// A running QEMU.
///
/// The kernel kills it when the thread that started it ends, so that thread waits until we are
/// dropped: QEMU ends with this value, or with our process, whatever ends that.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    command_line: String,
    /// Dropped to let the thread go.
    keeper: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Machine {
    pub(crate) fn start(
        config: &GuestConfig,
        kernel: &Kernel,
        runtime: &Runtime,
    ) -> Result<Self, GuestError> {
        let mut command = command(config, kernel, runtime);
        let log = File::create(runtime.machine_log());
        let log = log.map_err(GuestError::file(runtime.machine_log()))?;
        let command_line = program::spelled(&command);
        let (started, start) = mpsc::channel();
        let (keep, kept) = mpsc::channel::<()>();
        let keeper = std::thread::spawn(move || {
            let child = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn();
            if started.send(child).is_ok() {
                // Ends with an error when the other end is dropped, which is what we wait for.
                let _ = kept.recv();
            }
        });
        let child = start
            .recv()
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let child = child.map_err(|source| GuestError::Start {
            program: QEMU.to_owned(),
            source,
        })?;
        Ok(Self {
            child,
            command_line,
            keeper: Some((keep, keeper)),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn command_line(&self) -> &str {
        &self.command_line
    }

    /// Waits a moment for QEMU to end, since it closes its wires before it does; how it ended.
    pub(crate) fn end(&mut self, patience: Duration) -> Option<String> {
        wait_until("QEMU to end", patience, || self.ended()).ok()
    }

    /// How QEMU ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.child
            .try_wait()
            .ok()
            .flatten()
            .map(|status| status.to_string())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Only our own child is meant; both calls do nothing to one that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some((keep, keeper)) = self.keeper.take() {
            drop(keep);
            let _ = keeper.join();
        }
    }
}

/// `setpriv` asks the kernel for the signal and then becomes QEMU: same pid, no unsafe code here.
fn command(config: &GuestConfig, kernel: &Kernel, runtime: &Runtime) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", QEMU]);
    command.args([
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
    ]);
    let cpu = format!("{}{WITHOUT_CMPXCHG16B}", config.cpu_model);
    command.args([
        "-accel",
        "tcg",
        "-cpu",
        &cpu,
        "-smp",
        &config.cpus.to_string(),
    ]);
    let size = format!("{}M", config.memory_mib);
    command.args(["-m", &size]);
    let shared = |kind: String| format!("{kind},id=ram,size={size},share=on");
    let file = |path: std::path::PathBuf| {
        Some(shared(format!(
            "memory-backend-file,mem-path={}",
            path.display()
        )))
    };
    let object = match &config.backend {
        Backend::Anonymous => None,
        Backend::Memfd => Some(shared("memory-backend-memfd".to_owned())),
        Backend::File => file(runtime.memory()),
        Backend::FileAt(path) => file(path.clone()),
    };
    match object {
        None => command.args(["-machine", "pc"]),
        Some(object) => command.args(["-object", &object, "-machine", "pc,memory-backend=ram"]),
    };
    command
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(runtime.initramfs());
    command.arg("-append").arg(kernel_command_line(config));
    command
        .arg("-serial")
        .arg(format!("file:{}", runtime.console().display()));
    command
        .arg("-chardev")
        .arg(format!("socket,id=wire,path={}", runtime.wire().display()));
    command.args(["-device", "virtio-serial-pci", "-device"]);
    command.arg(format!("virtserialport,chardev=wire,name={WIRE_PORT}"));
    for number in 0..config.qmp_sockets {
        let path = runtime.qmp(number);
        command
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", path.display()));
    }
    command.args(&config.qemu_args);
    command
}

fn kernel_command_line(config: &GuestConfig) -> String {
    // On a busy machine the kernel stops trusting an emulated clock, and patches its own code while
    // all processors run: QEMU 7.2's translator now and then executes what stood there before.
    let words = ["console=ttyS0", "panic=-1", "tsc=reliable"];
    let mut words = words.map(str::to_owned).to_vec();
    words.push(format!("vread.wire={WIRE_PORT}"));
    if config.kaslr == Kaslr::Off {
        words.push("nokaslr".to_owned());
    }
    words.extend(config.kernel_args.iter().cloned());
    words.join(" ")
}
