use std::path::PathBuf;

use clap::Args;

use super::{PauseArguments, TargetArguments};

const ISF_EXAMPLES: &str = "\
Examples:
  vread isf qemu:/run/vm.sock -o symbols/linux/vm.json.xz
    then, with an image of the guest's RAM:  vol -s symbols -f ram.raw linux.pslist
    (a guest whose RAM is a file of the host, up to 2 GiB or so: that file is such an image)";

/// Write the kernel's symbol table for Volatility 3 (ISF), made from its own memory: types and symbols.
///
/// Symbols come from kallsyms, types from BTF; no debug package and no dwarf2json is needed.
#[derive(Debug, Args)]
#[command(after_help = ISF_EXAMPLES)]
pub(crate) struct IsfArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    #[command(flatten)]
    pub(crate) pause: PauseArguments,
    /// The file to write, named FILE.json.xz (compressed) or FILE.json. It appears when it is whole.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}
