//! Physical memory as the kernel describes it: resources, sections and page descriptors.

mod iomem;
mod page_filter;
mod root_resource;
mod sections;

pub(crate) use iomem::read_iomem;
pub use iomem::{Iomem, Resource};
#[cfg(feature = "fuzzing")]
pub(crate) use iomem::{Layout as ResourceLayout, read_tree};
pub(crate) use page_filter::{MAX_CHECKED, PageFilter, PageVerdict};
pub(crate) use root_resource::find_root_resource;
