//! What may be said on the command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use vread_addr::ByteLen;
use vread_physmem::Access;
use vread_targets::{OpenOptions, Target, TargetError, TargetWord};

use crate::{
    commands::{read::Where, symbols::What},
    scan_bar::ScanBar,
};

mod isf;
mod listings;
mod vmlinux;

pub(crate) use isf::IsfArguments;
pub(crate) use listings::{
    CmdlineArguments, Color, DmesgArguments, IomemArguments, LsmodArguments, MountsArguments,
    NetArguments, PsArguments, VersionArguments,
};
pub(crate) use vmlinux::VmlinuxArguments;

const AFTER_HELP: &str = "\
A TARGET is one of
  qemu:SOCKET   the guest of the QEMU that serves QMP on the unix socket SOCKET
                (start it with -qmp unix:SOCKET,server=on,wait=off)
  qemu:PID      the guest of the QEMU with this process id, by the QMP socket of its command line
  arena         a small vmalloc arena inside vread, to try everything on without a guest

Exit codes: 0 all there, 1 some missing (holes, unknown symbols), 2 failed.

Examples:
  vread info qemu:/run/vm.sock
  vread read qemu:/run/vm.sock linux_banner 128
  vread mount qemu:/run/vm.sock /mnt/vm     then: drgn -c /mnt/vm/kcore";

/// Look into a running Linux guest's kernel memory from the host: no agent, no pause, no debuginfo.
#[derive(Debug, Parser)]
#[command(name = "vread", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Say more about what is done (-v, -vv, -vvv; RUST_LOG overrides).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Info(InfoArguments),
    Read(ReadArguments),
    Symbols(SymbolsArguments),
    Vmallocinfo(VmallocinfoArguments),
    Ps(PsArguments),
    Dmesg(DmesgArguments),
    Lsmod(LsmodArguments),
    Mounts(MountsArguments),
    Net(NetArguments),
    Iomem(IomemArguments),
    Cmdline(CmdlineArguments),
    Version(VersionArguments),
    Vmlinux(VmlinuxArguments),
    Isf(IsfArguments),
    Mount(MountArguments),
}

impl Command {
    /// Which target it is about.
    pub(crate) fn target(&self) -> &TargetArguments {
        match self {
            Self::Info(arguments) => &arguments.target,
            Self::Read(arguments) => &arguments.target,
            Self::Symbols(arguments) => &arguments.target,
            Self::Vmallocinfo(arguments) => &arguments.target,
            Self::Ps(arguments) => &arguments.listing.target,
            Self::Dmesg(arguments) => &arguments.listing.target,
            Self::Lsmod(arguments) => &arguments.listing.target,
            Self::Mounts(arguments) => &arguments.listing.target,
            Self::Net(arguments) => &arguments.listing.target,
            Self::Iomem(arguments) => &arguments.listing.target,
            Self::Cmdline(arguments) => &arguments.listing.target,
            Self::Version(arguments) => &arguments.listing.target,
            Self::Vmlinux(arguments) => &arguments.target,
            Self::Isf(arguments) => &arguments.target,
            Self::Mount(arguments) => &arguments.target,
        }
    }

    /// Whether the guest is to stand still meanwhile.
    pub(crate) fn pause(&self) -> Pause {
        let arguments = match self {
            Self::Info(arguments) => &arguments.pause,
            Self::Read(arguments) => &arguments.pause,
            Self::Symbols(arguments) => &arguments.pause,
            Self::Vmallocinfo(arguments) => &arguments.pause,
            Self::Ps(arguments) => &arguments.listing.pause,
            Self::Dmesg(arguments) => &arguments.listing.pause,
            Self::Lsmod(arguments) => &arguments.listing.pause,
            Self::Mounts(arguments) => &arguments.listing.pause,
            Self::Net(arguments) => &arguments.listing.pause,
            Self::Iomem(arguments) => &arguments.listing.pause,
            Self::Cmdline(arguments) => &arguments.listing.pause,
            Self::Version(arguments) => &arguments.listing.pause,
            Self::Vmlinux(arguments) => &arguments.pause,
            Self::Isf(arguments) => &arguments.pause,
            Self::Mount(_) => return Pause::Never,
        };
        match arguments.pause {
            true => Pause::WhileReading,
            false => Pause::Never,
        }
    }
}

/// Whether a guest is stopped for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// It runs all the while.
    Never,
    /// It stands still from when it is open until all is read.
    WhileReading,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArguments {
    /// Stop the guest over QMP while this command reads, so that nothing changes meanwhile; for how long
    /// it stood still is told on standard error.
    #[arg(long)]
    pause: bool,
}

/// Which target, and how to reach it.
#[derive(Debug, Args)]
pub(crate) struct TargetArguments {
    /// qemu:SOCKET, qemu:PID or arena.
    target: OsString,
    /// How to reach a guest's RAM: map the file or memfd that holds it, read it out of QEMU's process
    /// (works with anonymous memory too), or the first that works.
    #[arg(long, value_enum, default_value_t = AccessWord::Auto)]
    access: AccessWord,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AccessWord {
    Auto,
    Mapped,
    VmReadv,
}

impl TargetArguments {
    /// Which target.
    pub(crate) fn word(&self) -> Result<TargetWord, TargetError> {
        TargetWord::parse(&self.target)
    }

    /// Opens the target.
    pub(crate) fn open(&self) -> Result<Target, TargetError> {
        let access = match self.access {
            AccessWord::Auto => Access::Auto,
            AccessWord::Mapped => Access::Mapped,
            AccessWord::VmReadv => Access::VmReadv,
        };
        let bar = ScanBar::new();
        let options = OpenOptions {
            access,
            progress: Some(&bar),
        };
        Target::open_with(self.word()?, options)
    }
}

const INFO_EXAMPLES: &str = "\
Examples:
  vread info qemu:/run/vm.sock
  vread info qemu:$(pgrep -n qemu-system) --json | jq .kernel.release";

/// Show what a target is: kernel, KASLR shifts, RAM, segments, and what could not be found.
#[derive(Debug, Args)]
#[command(after_help = INFO_EXAMPLES)]
pub(crate) struct InfoArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    #[command(flatten)]
    pub(crate) pause: PauseArguments,
    /// Print JSON: addresses as hexadecimal strings, lengths in bytes, times in milliseconds.
    #[arg(long)]
    pub(crate) json: bool,
}

const READ_EXAMPLES: &str = "\
Examples:
  vread read qemu:/run/vm.sock linux_banner 128
  vread read qemu:/run/vm.sock init_task+0x10 64
  vread read qemu:/run/vm.sock 0xffff888000000000 1M --raw > first-megabyte
  vread read qemu:/run/vm.sock init_task.cred.uid.val
  vread read qemu:/run/vm.sock --type 'struct module' 0xffffffffc0123000
  vread read qemu:/run/vm.sock '((struct task_struct *)0xffff888003d38000)->comm'
  vread read arena pattern 4K";

/// Dump kernel memory as it is now, like xxd, each line with its kernel virtual address; or, without a
/// length, show it as one of the kernel's own types.
///
/// Bytes that are not there (a hole, a guard page, device memory) are shown as zeros, counted on
/// standard error, and make the exit code 1.
///
/// Paths to members are written as in C; a dot goes through a pointer too. The types are those of the guest's
/// own BTF. The types of well-known variables such as init_task or modules are known; else give --type.
#[derive(Debug, Args)]
#[command(after_help = READ_EXAMPLES)]
pub(crate) struct ReadArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    #[command(flatten)]
    pub(crate) pause: PauseArguments,
    /// Where to begin: an address (0x… or 16 hexadecimal digits), a symbol, or either with +OFFSET; or a path
    /// such as init_task.cred->uid.
    #[arg(value_name = "WHERE")]
    pub(crate) at: Where,
    /// How many bytes: decimal or 0x…, with K, M or G for powers of 1024. Without it, a value is shown.
    #[arg(value_parser = parse_length)]
    pub(crate) length: Option<ByteLen>,
    /// The type of what WHERE begins with, as C writes it: 'struct task_struct', u64, 'char *'.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) of: Option<String>,
    /// Write the bytes as they are.
    #[arg(long, conflicts_with = "json", requires = "length")]
    pub(crate) raw: bool,
    /// Print JSON: address, length, how many bytes are holes, and the bytes in hexadecimal; or the value.
    #[arg(long)]
    pub(crate) json: bool,
}

const SYMBOLS_EXAMPLES: &str = "\
Examples:
  vread symbols qemu:/run/vm.sock                      as /proc/kallsyms in the guest
  vread symbols qemu:/run/vm.sock vmalloc              names that contain `vmalloc`
  vread symbols qemu:/run/vm.sock '__kmalloc*'         names that match the whole pattern
  vread symbols qemu:/run/vm.sock 0xffffffff81234567   the symbol that covers an address";

/// Print symbols, in the lines and the order of the guest's own /proc/kallsyms.
#[derive(Debug, Args)]
#[command(after_help = SYMBOLS_EXAMPLES)]
pub(crate) struct SymbolsArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    #[command(flatten)]
    pub(crate) pause: PauseArguments,
    /// A part of a name; or with `*` or `?` a pattern for whole names; or an address.
    #[arg(value_name = "PATTERN|ADDRESS")]
    pub(crate) what: Option<What>,
    /// Print JSON: an array of objects with address, type, name and module.
    #[arg(long)]
    pub(crate) json: bool,
}

const VMALLOCINFO_EXAMPLES: &str = "\
Examples:
  vread vmallocinfo qemu:/run/vm.sock
  vread vmallocinfo qemu:/run/vm.sock | sort -k2 -n -r | head     the ten largest areas
  vread vmallocinfo qemu:/run/vm.sock --totals | head             who has most of it";

/// List the areas of vmalloc space, in the lines of the guest's own /proc/vmallocinfo.
#[derive(Debug, Args)]
#[command(after_help = VMALLOCINFO_EXAMPLES)]
pub(crate) struct VmallocinfoArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    #[command(flatten)]
    pub(crate) pause: PauseArguments,
    /// One line for each caller: bytes, pages and areas in all, the largest first.
    #[arg(long)]
    pub(crate) totals: bool,
    /// Print JSON: an array of objects with start, end, size and the rest of the line, or the totals.
    #[arg(long)]
    pub(crate) json: bool,
}

const MOUNT_EXAMPLES: &str = "\
Examples:
  mkdir vm && vread mount qemu:/run/vm.sock vm
then, from another terminal:
  drgn -c vm/kcore
  gdb -ex 'core-file vm/kcore'     and x/s ADDRESS, with an ADDRESS from: vread symbols TARGET NAME
                                   (with a vmlinux: symbol-file -o KASLR_OFFSET vmlinux, from vread info)
  makedumpfile -l -d 31 vm/vmcore dump
and to end it: Ctrl-C, or fusermount3 -u vm";

/// Serve the target's memory as files, live, until Ctrl-C.
///
/// DIR/kcore has the layout of the guest's own /proc/kcore (for gdb and drgn), DIR/vmcore that of a dump
/// (for crash and makedumpfile) with the registers of each processor, DIR/vmcore.live the same for
/// crash's live mode. Only you can read them. Every read looks at memory as it is then.
///
/// Beside them, in the words of the guest's own files and as of when they are opened: vmcoreinfo, kallsyms,
/// iomem, vmallocinfo, modules, kmsg, cmdline, version and btf (for bpftool btf dump file).
#[derive(Debug, Args)]
#[command(after_help = MOUNT_EXAMPLES)]
pub(crate) struct MountArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    /// An existing folder.
    pub(crate) dir: PathBuf,
    /// With the target arena: allocate, resize, map and free areas all the while, to try readers on. Each 8
    /// bytes tell their own place (bits 0 to 38, in words from ffffc90000000000), whether their page was
    /// mapped elsewhere since (bit 39), and the round in which they were written (bits 40 to 63).
    #[arg(long)]
    pub(crate) churn: bool,
}

/// `64`, `0x40`, `4K`, `1M`, `2G`.
fn parse_length(text: &str) -> Result<ByteLen, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (text.get(..text.len().wrapping_sub(1)), 1 << 10),
        Some(b'M' | b'm') => (text.get(..text.len().wrapping_sub(1)), 1 << 20),
        Some(b'G' | b'g') => (text.get(..text.len().wrapping_sub(1)), 1 << 30),
        _ => (Some(text), 1),
    };
    digits
        .and_then(parse_number)
        .and_then(|number| ByteLen::new(number).checked_mul(factor))
        .ok_or_else(|| "a number of bytes, such as 64, 0x40, 4K or 1M".into())
}

/// `64` or `0x40`.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok(),
        None if !text.starts_with('+') => text.parse().ok(),
        _ => None,
    }
}

/// An address: `0x…`, or 16 hexadecimal digits as /proc/kallsyms prints them.
pub(crate) fn parse_address(text: &str) -> Option<u64> {
    let bare = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.strip_prefix("0x") {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok(),
        _ if bare => u64::from_str_radix(text, 16).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn reads_lengths() {
        let length = |text: &str| parse_length(text).ok().map(ByteLen::get);
        assert_eq!(length("64"), Some(64));
        assert_eq!(length("0x40"), Some(64));
        assert_eq!(length("4K"), Some(4096));
        assert_eq!(length("0x10M"), Some(16 << 20));
        for wrong in [
            "",
            "K",
            "-1",
            "+1",
            "0x+1",
            "1T",
            "18446744073709551616",
            "17179869184G",
        ] {
            assert_eq!(length(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tells_addresses_from_names() {
        assert_eq!(parse_address("0x10"), Some(16));
        assert_eq!(
            parse_address("ffffffff81000000"),
            Some(0xffff_ffff_8100_0000)
        );
        assert_eq!(parse_address("deadbeef"), None);
        assert_eq!(parse_address("0x"), None);
        assert_eq!(parse_address("0x10000000000000000"), None);
    }
}
