//! One module for each subcommand.

pub(crate) mod info;
pub(crate) mod mount;
pub(crate) mod read;
pub(crate) mod symbols;
pub(crate) mod vmallocinfo;
