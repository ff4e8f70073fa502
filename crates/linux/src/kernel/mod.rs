//! Attaching to a kernel, and what is known of it then.

mod areas;
mod attach;
mod banner;
mod boot;
mod build_id;
mod cpus;
mod error;
mod found_by;
mod generated;
mod identify;
mod identity;
mod log;
mod memory;
mod missing;
mod mounts;
mod net;
mod notes;
mod parts;
mod segments;
mod space;
mod symbols;
mod tasks;
mod times;
mod vmallocinfo;
mod vread_by_loads;
mod vread_words;

pub use attach::AttachOptions;
pub use error::AttachError;
pub use found_by::{CpuPaging, FoundBy};
pub use missing::Missing;
pub use notes::CpuRegisters;
pub use space::AreaCopy;
pub use symbols::Symbols;
pub use times::AttachTimes;
pub use vmallocinfo::{Caller, VmallocKind, VmallocLine};

use std::sync::Arc;

use boot::BootMark;
use vread_addr::{ByteLen, PhysAddr, VirtAddr, VirtRange};
use vread_iov_iter::SourceFailure;
use vread_physmem::PhysMem;
use vread_vmalloc::PageRun;

use crate::areas::{AreaHints, AreaReader};
use crate::memory::PageFilter;
use crate::virt_mem::VirtMem;
use crate::{Bases, Btf, Kallsyms, LinuxError, PageTable, VmCoreInfo};

/// A running or saved kernel, seen through the physical memory of its machine.
///
/// What does not move while a kernel runs (text, the bases, symbols of the image, types) was read once
/// at [`attach`](Kernel::attach). All else is read anew whenever it is asked for.
#[derive(Debug)]
pub struct Kernel {
    mem: PhysMem,
    table: PageTable,
    info: VmCoreInfo,
    vmcoreinfo_page: PhysAddr,
    found_by: FoundBy,
    boot_mark: BootMark,
    release: String,
    phys_base: u64,
    kallsyms: Option<Kallsyms>,
    btf: Option<Arc<Btf>>,
    bases: Option<Bases>,
    image: Option<VirtRange>,
    root_resource: Option<VirtAddr>,
    areas: Option<AreaReader>,
    hints: AreaHints,
    page_filter: Option<PageFilter>,
    missing: Vec<Missing>,
    times: AttachTimes,
}

impl Kernel {
    /// The machine's memory.
    #[must_use]
    pub fn phys_mem(&self) -> &PhysMem {
        &self.mem
    }

    /// The kernel's page table.
    #[must_use]
    pub fn page_table(&self) -> &PageTable {
        &self.table
    }

    /// VMCOREINFO.
    #[must_use]
    pub fn vmcoreinfo(&self) -> &VmCoreInfo {
        &self.info
    }

    /// The page in which VMCOREINFO was found.
    #[must_use]
    pub fn vmcoreinfo_page(&self) -> PhysAddr {
        self.vmcoreinfo_page
    }

    /// Which way led to VMCOREINFO.
    #[must_use]
    pub fn found_by(&self) -> FoundBy {
        self.found_by
    }

    /// The kernel's release, as `uname -r` prints it in the target.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// By how much the image lies above its link address (N15).
    #[must_use]
    pub fn kaslr_offset(&self) -> ByteLen {
        self.info.kernel_offset().unwrap_or_default()
    }

    /// `phys_base`: by how much the image's place in physical memory differs from the one that it was
    /// linked for, modulo 2^64 (N11).
    #[must_use]
    pub fn phys_base(&self) -> u64 {
        self.phys_base
    }

    /// The symbols of the image.
    #[must_use]
    pub fn kallsyms(&self) -> Option<&Kallsyms> {
        self.kallsyms.as_ref()
    }

    /// The types.
    #[must_use]
    pub fn btf(&self) -> Option<&Btf> {
        self.btf.as_deref()
    }

    /// Where the moving regions begin.
    #[must_use]
    pub fn bases(&self) -> Option<&Bases> {
        self.bases.as_ref()
    }

    /// `[_text, _end)`, where it lies now; where there are no symbols, up to what the list of resources
    /// calls its end.
    #[must_use]
    pub fn image(&self) -> Option<VirtRange> {
        self.image
    }

    /// What could not be found, and why. Everything that is not listed works.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// How long each step of attaching took.
    #[must_use]
    pub fn times(&self) -> &AttachTimes {
        &self.times
    }

    /// What is mapped at `addr`, up to `max` bytes of it.
    ///
    /// # Errors
    ///
    /// [`SourceFailure`] where memory as a whole can no longer be read.
    pub fn translate_run(&self, addr: VirtAddr, max: ByteLen) -> Result<PageRun, SourceFailure> {
        self.table.translate_run(&self.mem, addr, max)
    }

    pub(crate) fn virt(&self) -> VirtMem<'_> {
        VirtMem {
            mem: &self.mem,
            table: self.table,
        }
    }

    /// The symbol table, or the error that says it is missing.
    pub(crate) fn need_kallsyms(&self) -> Result<&Kallsyms, LinuxError> {
        self.kallsyms.as_ref().ok_or(LinuxError::Needs {
            what: "the kernel's symbol table",
        })
    }

    /// The types, or the error that says they are missing.
    pub(crate) fn need_btf(&self) -> Result<&Arc<Btf>, LinuxError> {
        self.btf.as_ref().ok_or(LinuxError::Needs {
            what: "the kernel's types (BTF)",
        })
    }

    /// The address of the first symbol called `name`.
    pub(crate) fn need_symbol(&self, name: &'static str) -> Result<VirtAddr, LinuxError> {
        let found = self.need_kallsyms()?.find(name);
        found.ok_or(LinuxError::NoSymbol { name })
    }
}
