//! The commands that list what a kernel says about itself.

use clap::{Args, ValueEnum};

use super::{PauseArguments, TargetArguments};

/// What all listings take.
#[derive(Debug, Args)]
pub(crate) struct ListingArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    #[command(flatten)]
    pub(crate) pause: PauseArguments,
    /// Print JSON: addresses as hexadecimal strings, sizes in bytes.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print what the guest's kernel calls itself, as its own /proc/version does.
#[derive(Debug, Args)]
pub(crate) struct VersionArguments {
    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

/// Print what the guest's kernel was started with, as its own /proc/cmdline does.
#[derive(Debug, Args)]
pub(crate) struct CmdlineArguments {
    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

/// Print how the guest's physical address space is divided, as its own /proc/iomem does.
#[derive(Debug, Args)]
pub(crate) struct IomemArguments {
    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

const LSMOD_EXAMPLES: &str = "\
Examples:
  vread lsmod qemu:/run/vm.sock
  vread lsmod qemu:/run/vm.sock --json | jq '.[] | select(.taints != \"\")'";

/// List the loaded modules as lsmod does: name, size, and who uses it.
#[derive(Debug, Args)]
#[command(after_help = LSMOD_EXAMPLES)]
pub(crate) struct LsmodArguments {
    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

const DMESG_EXAMPLES: &str = "\
Examples:
  vread dmesg qemu:/run/vm.sock
  vread dmesg qemu:/run/vm.sock --level warning        warnings and worse
  vread dmesg qemu:/run/vm.sock --json | jq -r '.[] | select(.device == \"+pci:0000:00:01.1\").text'";

/// Print the kernel's log as dmesg does: each line with its time.
///
/// Records that lost their text to newer ones are counted on standard error.
#[derive(Debug, Args)]
#[command(after_help = DMESG_EXAMPLES)]
pub(crate) struct DmesgArguments {
    #[command(flatten)]
    pub(crate) listing: ListingArguments,
    /// Only this level and more urgent ones.
    #[arg(long, value_enum)]
    pub(crate) level: Option<Level>,
    /// Print lines as the guest's own /proc/kmsg does, level and facility in front.
    #[arg(long, conflicts_with_all = ["json", "color"])]
    pub(crate) raw: bool,
    /// Show levels in colour.
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

/// A level of the kernel's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    Emergency,
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

impl Level {
    /// Its number, the most urgent 0.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Emergency => 0,
            Self::Alert => 1,
            Self::Critical => 2,
            Self::Error => 3,
            Self::Warning => 4,
            Self::Notice => 5,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

const PS_EXAMPLES: &str = "\
Examples:
  vread ps qemu:/run/vm.sock
  vread ps qemu:/run/vm.sock --tree
  vread ps qemu:/run/vm.sock --json | jq '.[] | select(.state == \"D\") | .name'";

/// List what runs in the guest: processes, and threads of the kernel in brackets.
///
/// RSS is in KiB; START is in seconds since the guest's boot. The command line comes out of the process's own
/// memory, through its own page table; where that page is not in RAM, the name is shown with a question mark.
#[derive(Debug, Args)]
#[command(after_help = PS_EXAMPLES)]
pub(crate) struct PsArguments {
    #[command(flatten)]
    pub(crate) listing: ListingArguments,
    /// Show who started whom.
    #[arg(long, short = 't', conflicts_with = "json")]
    pub(crate) tree: bool,
    /// List each thread behind its process.
    #[arg(long, short = 'T')]
    pub(crate) threads: bool,
}

/// List what is mounted in the guest, as the first process sees it, in the lines of its /proc/mounts.
///
/// Options that only the file system itself could tell, such as the size of a tmpfs, are left out.
#[derive(Debug, Args)]
pub(crate) struct MountsArguments {
    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

const NET_EXAMPLES: &str = "\
Examples:
  vread net qemu:/run/vm.sock
  vread net qemu:/run/vm.sock --json | jq '.sockets[] | select(.state == \"listen\")'";

/// List the guest's network interfaces, and the sockets that its processes have open.
///
/// Interfaces are those of the first network namespace. Sockets that no process has open any more (such as
/// TCP connections in TIME_WAIT) and those of the kernel's own are not listed.
#[derive(Debug, Args)]
#[command(after_help = NET_EXAMPLES)]
pub(crate) struct NetArguments {
    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}
