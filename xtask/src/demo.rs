//! `cargo xtask demo`: the main job, on a real guest, for somebody who has never seen it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use vread_guests::{Backend, Guest, GuestConfig, KernelRelease, ensure_packages};

use crate::{cargo, workspace};

const PACKAGES: [&str; 3] = ["fuse3", "gdb", "qemu-system-x86"];
const LARGEST_AREAS: usize = 10;
/// A mount is there in milliseconds.
const MOUNT_DEADLINE: Duration = Duration::from_secs(30);

/// Boots a guest, looks into it from outside, and mounts it for gdb.
pub(crate) fn run() -> anyhow::Result<()> {
    ensure_packages(&PACKAGES)?;
    say("Building vread (release).");
    let vread = build()?;

    say(
        "Booting a guest: Debian's 6.1 cloud kernel in QEMU, with KASLR, no agent for vread in it.",
    );
    let guest = Guest::boot(&GuestConfig::new(KernelRelease::V6_1).backend(Backend::Memfd))?;
    let target = format!("qemu:{}", guest.qmp_path().display());
    println!(
        "{} answered {:.1} s after QEMU started (pid {})",
        guest.hello().release,
        guest.boot_time().as_secs_f64(),
        guest.pid(),
    );

    say("What is it? Found from outside, in the guest's own memory, while it runs.");
    show(&vread, &["info", &target])?;

    say("The ten largest areas of its vmalloc space, and who asked for them.");
    let areas = text(&vread, &["vmallocinfo", &target])?;
    largest(&areas, LARGEST_AREAS).for_each(|line| println!("{line}"));
    println!("({} areas in all)", areas.lines().count());

    say("The banner of its kernel, by symbol.");
    let banner = banner(&vread, &target)?;
    println!("{banner}");

    say("Mounting its memory as a live ELF core file, as /proc/kcore is one inside.");
    let folder = tempfile::tempdir()?;
    let mount = Mount::new(&vread, &target, folder.path())?;
    let symbol = text(&vread, &["symbols", &target, "linux_banner"])?;
    print!("{symbol}");
    let addr = address(&symbol)?;
    let print = format!("x/s {addr}");
    let kcore = folder.path().join("kcore");
    let core = format!("core-file {}", kcore.display());
    println!("$ gdb --batch -ex '{core}' -ex '{print}'");
    let gdb = Command::new("gdb")
        .args([
            "--nx",
            "--batch",
            "-ex",
            "set print elements 0",
            "-ex",
            &core,
            "-ex",
            &print,
        ])
        .stderr(Stdio::null())
        .output()
        .context("gdb")?;
    let gdb = String::from_utf8_lossy(&gdb.stdout);
    let printed = gdb
        .lines()
        .find(|line| line.starts_with("0x"))
        .unwrap_or_default();
    println!("{printed}");
    ensure!(
        printed.contains(&banner),
        "gdb did not find the banner:\n{gdb}"
    );
    mount.unmount()?;

    say("The guest never stopped, and nothing was installed in it. Try next:");
    println!(
        "  cargo xtask guest 6.12       # boots a guest and says how to attach; then, elsewhere:"
    );
    println!(
        "  target/release/vread mount qemu:SOCKET /mnt   # and point gdb, drgn or crash at /mnt"
    );
    Ok(())
}

fn say(words: &str) {
    println!("\n== {words}");
}

fn build() -> anyhow::Result<PathBuf> {
    let built = Command::new(cargo::ours())
        .current_dir(workspace::root())
        .args(["build", "--release", "--quiet", "--package", "vread"])
        .status()
        .context("cargo cannot be started")?;
    ensure!(built.success(), "cargo build ended with {built}");
    Ok(workspace::metadata(workspace::root())?
        .target_directory
        .join("release")
        .join("vread")
        .into_std_path_buf())
}

fn show(vread: &Path, args: &[&str]) -> anyhow::Result<()> {
    print!("{}", text(vread, args)?);
    Ok(())
}

/// Says which command is run, as a person would type it, and gives back what it printed.
fn output(vread: &Path, args: &[&str]) -> anyhow::Result<Vec<u8>> {
    println!("$ vread {}", args.join(" "));
    let output = Command::new(vread)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| vread.display().to_string())?;
    ensure!(
        output.status.success(),
        "vread {} ended with {}",
        args.join(" "),
        output.status
    );
    Ok(output.stdout)
}

fn text(vread: &Path, args: &[&str]) -> anyhow::Result<String> {
    Ok(String::from_utf8(output(vread, args)?)?)
}

/// The lines of the `count` largest areas; the second word of a line is the size in bytes.
fn largest(areas: &str, count: usize) -> impl Iterator<Item = &str> {
    let size = |line: &&str| -> u64 {
        line.split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or_default()
    };
    let mut lines: Vec<&str> = areas.lines().collect();
    lines.sort_by_key(|line| std::cmp::Reverse(size(line)));
    lines.into_iter().take(count)
}

fn banner(vread: &Path, target: &str) -> anyhow::Result<String> {
    const LONGEST: &str = "512";
    let bytes = output(vread, &["read", "--raw", target, "linux_banner", LONGEST])?;
    // Behind the banner stands whatever comes next in the kernel's image.
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    ensure!(line.starts_with("Linux version"), "no banner: {line:?}");
    Ok(line.into_owned())
}

/// The address in the line of a symbol, as kallsyms prints it.
fn address(symbol: &str) -> anyhow::Result<String> {
    let line = symbol.lines().find(|line| line.ends_with(" linux_banner"));
    let line = line.context("no symbol linux_banner")?;
    Ok(format!("0x{}", line.split(' ').next().unwrap_or_default()))
}

/// `vread mount`, running.
struct Mount<'a> {
    vread: Child,
    folder: &'a Path,
}

impl<'a> Mount<'a> {
    fn new(vread: &Path, target: &str, folder: &'a Path) -> anyhow::Result<Self> {
        println!("$ vread mount {target} {}", folder.display());
        let mut command = Command::new(vread);
        command
            .arg("mount")
            .arg(target)
            .arg(folder)
            .stdin(Stdio::null());
        let mut mount = Self {
            vread: command.spawn().context("vread mount")?,
            folder,
        };
        let until = Instant::now() + MOUNT_DEADLINE;
        while File::open(folder.join("kcore")).is_err() {
            if let Some(status) = mount.vread.try_wait()? {
                bail!("vread mount ended with {status}");
            }
            ensure!(Instant::now() < until, "no mount after {MOUNT_DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(mount)
    }

    fn unmount(mut self) -> anyhow::Result<()> {
        println!("$ fusermount3 -u {}", self.folder.display());
        let unmounted = Command::new("fusermount3")
            .arg("-u")
            .arg(self.folder)
            .status()?;
        ensure!(unmounted.success(), "fusermount3 ended with {unmounted}");
        let ended = self.vread.wait()?;
        ensure!(ended.success(), "vread mount ended with {ended}");
        Ok(())
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        if self.vread.try_wait().ok().flatten().is_none() {
            // Something failed before: only what stays behind matters now.
            let _ = Command::new("fusermount3")
                .args(["-u", "-z"])
                .arg(self.folder)
                .status();
            let _ = self.vread.kill();
            let _ = self.vread.wait();
        }
    }
}
