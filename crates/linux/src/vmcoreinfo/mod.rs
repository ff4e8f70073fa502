//! VMCOREINFO: what a kernel writes down about itself for whoever reads its memory (spec F).

mod find;
mod parse;

pub(crate) use find::{Candidate, MAX_CANDIDATES, Scan, scan_in_parallel};
pub use parse::VmCoreInfo;
