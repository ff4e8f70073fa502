//! One module for each subcommand.

pub(crate) mod cmdline;
pub(crate) mod dmesg;
pub(crate) mod info;
pub(crate) mod iomem;
pub(crate) mod isf;
pub(crate) mod lsmod;
pub(crate) mod mount;
pub(crate) mod mounts;
pub(crate) mod net;
pub(crate) mod ps;
pub(crate) mod read;
mod read_typed;
mod recovered_file;
pub(crate) mod said_file;
pub(crate) mod symbols;
pub(crate) mod version;
pub(crate) mod vmallocinfo;
pub(crate) mod vmlinux;
