//! VMCOREINFO: what a kernel writes down about itself for whoever reads its memory (spec F).

mod find;
mod in_image;
mod parse;

pub use find::ScanProgress;
#[cfg(feature = "fuzzing")]
pub(crate) use find::text_of_note;
pub(crate) use find::{Candidate, MAX_CANDIDATES, Meter, Scan, scan_in_parallel};
pub(crate) use in_image::InImage;
pub use parse::VmCoreInfo;
