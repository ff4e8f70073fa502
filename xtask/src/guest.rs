//! `cargo xtask guest`: a test guest to play with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use vread_guests::{Backend, Guest, GuestConfig, Kaslr, KernelRelease};

/// Between two looks whether somebody wants us to stop.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Kernel series: 5.10, 6.1, 6.12 or 7.2
    kernel: KernelRelease,
    /// Size of the RAM in MiB
    #[arg(long, default_value_t = 512)]
    memory: u32,
    /// Number of processors
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// QEMU's name of the processor; `max,la57=off` for four levels of page tables
    #[arg(long, default_value = "max")]
    cpu: String,
    /// Where the RAM is on this machine
    #[arg(long, value_enum, default_value_t = BackendKind::Anonymous)]
    backend: BackendKind,
    /// Keep the kernel at its link-time address
    #[arg(long)]
    no_kaslr: bool,
    /// More words for the kernel's command line
    #[arg(long, value_name = "WORD")]
    append: Vec<String>,
    /// More arguments for QEMU, after `--`
    #[arg(last = true)]
    qemu: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BackendKind {
    /// Private memory of QEMU
    Anonymous,
    /// A shared memfd
    Memfd,
    /// A shared file
    File,
}

/// Boots the guest, says how to reach it, and waits for a signal or for the guest's end.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signal handler")?;
    }
    let mut guest = Guest::boot(&config(arguments))?;
    describe(&guest);
    while !stop.load(Ordering::Relaxed) {
        if let Some(status) = guest.ended() {
            println!("the guest is gone: QEMU ended with {status}");
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn config(arguments: &Arguments) -> GuestConfig {
    let backend = match arguments.backend {
        BackendKind::Anonymous => Backend::Anonymous,
        BackendKind::Memfd => Backend::Memfd,
        BackendKind::File => Backend::File,
    };
    let kaslr = if arguments.no_kaslr {
        Kaslr::Off
    } else {
        Kaslr::On
    };
    GuestConfig::new(arguments.kernel)
        .memory_mib(arguments.memory)
        .cpus(arguments.cpus)
        .cpu_model(&arguments.cpu)
        .backend(backend)
        .kaslr(kaslr)
        .qmp_sockets(2)
        .kernel_args(arguments.append.iter().map(String::as_str))
        .qemu_args(arguments.qemu.iter().map(String::as_str))
}

fn describe(guest: &Guest) {
    println!(
        "guest     {} ({})",
        guest.hello().release,
        guest.kernel().package()
    );
    println!("answered  after {:.1} s", guest.boot_time().as_secs_f64());
    println!("pid       {}", guest.pid());
    for path in guest.qmp_paths() {
        println!("QMP       {}", path.display());
    }
    if let Some(path) = guest.memory_file() {
        println!("memory    {}", path.display());
    }
    println!("QEMU      {}", guest.command_line());
    println!("attach    vread info qemu:{}", guest.qmp_path().display());
    println!("stop      Ctrl-C");
}
