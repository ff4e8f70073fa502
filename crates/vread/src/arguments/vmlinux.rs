use std::path::PathBuf;

use clap::Args;

use super::{PauseArguments, TargetArguments};

const VMLINUX_EXAMPLES: &str = "\
Examples:
  vread vmlinux qemu:/run/vm.sock -o vmlinux
    then, with the core of vread mount:   drgn -c vm/kcore -s vmlinux
                                          crash vmlinux vm/vmcore
  vread vmlinux qemu:/run/vm.sock -o vmlinux.kaslr --runtime-addresses
    then:                                 gdb vmlinux.kaslr vm/kcore";

/// Write the kernel's vmlinux, made from its own memory: symbols, types as DWARF, text, unwind tables.
///
/// Symbols come from kallsyms, types from BTF; no debug package is needed. What the kernel lacks is told
/// on standard error, makes the exit code 1, and all else is in the file. The mount has the same files.
#[derive(Debug, Args)]
#[command(after_help = VMLINUX_EXAMPLES)]
pub(crate) struct VmlinuxArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    #[command(flatten)]
    pub(crate) pause: PauseArguments,
    /// The file to write. It appears when it is whole.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Use the addresses at which the kernel lies now, for gdb, instead of those that it was linked at, to
    /// which drgn and crash add the distance themselves.
    #[arg(long)]
    pub(crate) runtime_addresses: bool,
}
