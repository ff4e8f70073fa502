//! The commands that list what a kernel says about itself.

use clap::Args;

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
