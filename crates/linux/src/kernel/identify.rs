use vread_addr::{ByteLen, PAGE_SIZE, PhysAddr};
use vread_physmem::PhysMem;

use super::build_id;
use crate::bases::image_to_phys;
use crate::fields::until_nul;
use crate::virt_mem::VirtMem;
use crate::vmcoreinfo::Candidate;
use crate::{Kallsyms, LinuxError, PageTable, PagingLevels, VmCoreInfo};

/// Each field of `struct new_utsname` has so many bytes (Linux UAPI).
const UTSNAME_FIELD_LEN: usize = 65;

/// A field of `struct new_utsname`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UtsnameField {
    /// As `uname -r` prints it.
    Release,
    /// As `uname -v` prints it.
    Version,
}

/// A candidate whose word was checked against the memory that it describes (N9 c).
#[derive(Debug)]
pub(super) struct Identified {
    pub(super) candidate: Candidate,
    pub(super) table: PageTable,
    pub(super) phys_base: u64,
    pub(super) release: String,
}

/// What a kernel's symbols say about a candidate.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is this kernel's.
    Confirmed,
    /// Nothing either way.
    Open,
    /// It is not, for this reason.
    Refuted(&'static str),
}

/// Why a candidate is not a kernel that can be read.
#[derive(Debug)]
pub(super) enum Rejected {
    /// It does not match the memory around it.
    Stale(String),
    /// It matches, and is of a kind that is not supported.
    Unsupported(&'static str),
    /// The target is gone.
    Failed(LinuxError),
}

impl Identified {
    /// Checks that the page table that the candidate names maps the image to where the candidate says
    /// it is, and that the release in that image is the candidate's.
    pub(super) fn check(mem: &PhysMem, candidate: Candidate) -> Result<Self, Rejected> {
        let info = &candidate.info;
        let missing = |key: &str| Rejected::Stale(format!("no usable {key}"));
        if info.page_size() != Some(PAGE_SIZE) {
            return Err(Rejected::Unsupported("its pages are not 4 KiB"));
        }
        let Some(phys_base) = info.number("phys_base") else {
            return Err(Rejected::Unsupported("it is not an x86_64 kernel"));
        };
        let levels = match info.number("pgtable_l5_enabled") {
            Some(1) => PagingLevels::Five,
            _ => PagingLevels::Four,
        };
        let encryption_mask = info.number("sme_mask").unwrap_or_default();
        let root = info
            .symbol("swapper_pg_dir")
            .ok_or_else(|| missing("SYMBOL(swapper_pg_dir)"))?;
        let table = PageTable::new(image_to_phys(root, phys_base), levels, encryption_mask);

        let stext = info
            .symbol("_stext")
            .ok_or_else(|| missing("SYMBOL(_stext)"))?;
        let found = table
            .translate(mem, stext)
            .map_err(|failure| Rejected::Failed(failure.into()))?;
        if found != Some(image_to_phys(stext, phys_base)) {
            let why = "its page table does not map the image to where phys_base says".to_owned();
            return Err(Rejected::Stale(why));
        }
        let virt = VirtMem { mem, table };
        let release =
            read_utsname(virt, info, UtsnameField::Release).map_err(|error| match error {
                LinuxError::Source(_) => Rejected::Failed(error),
                _ => Rejected::Stale(error.to_string()),
            })?;
        let said = candidate.info.os_release().unwrap_or_default();
        if release != said {
            return Err(Rejected::Stale(format!(
                "the kernel there says it is {release:?}"
            )));
        }
        Ok(Self {
            candidate,
            table,
            phys_base,
            release,
        })
    }

    /// What the kernel's own symbols say about the candidate (N9 d, e).
    pub(super) fn verdict(&self, mem: &PhysMem, kallsyms: &Kallsyms) -> Verdict {
        let virt = VirtMem {
            mem,
            table: self.table,
        };
        let said = self.candidate.info.build_id();
        let noted = build_id::read_build_id(virt, kallsyms);
        if let (Some(said), Some(noted)) = (said, noted)
            && said != noted
        {
            return Verdict::Refuted("the image has another build id");
        }
        let leads_to = |name: &str| {
            let page = virt.read_pointer(kallsyms.find(name)?).ok()?;
            self.table.translate(mem, page).ok()?
        };
        let pages = ["vmcoreinfo_note", "vmcoreinfo_data"].map(leads_to);
        match (pages.contains(&Some(self.page())), pages) {
            (true, _) => Verdict::Confirmed,
            (false, [None, None]) => Verdict::Open,
            (false, _) => Verdict::Refuted("the kernel's own pointers lead to another page"),
        }
    }

    pub(super) fn page(&self) -> PhysAddr {
        self.candidate.page
    }
}

/// A field of the names that the kernel has for itself.
pub(super) fn read_utsname(
    virt: VirtMem<'_>,
    info: &VmCoreInfo,
    field: UtsnameField,
) -> Result<String, LinuxError> {
    let key = "SYMBOL(init_uts_ns)";
    let namespace = info
        .symbol("init_uts_ns")
        .ok_or(LinuxError::NoKey { key })?;
    // 5.10 does not say where the name is: a reference count of 4 bytes stands before it there.
    let name = info.offset("uts_namespace.name").unwrap_or(ByteLen::new(4));
    let place = match field {
        UtsnameField::Release => 2,
        UtsnameField::Version => 3,
    };
    let at = ByteLen::from_usize(UTSNAME_FIELD_LEN)
        .checked_mul(place)
        .and_then(|place| name.checked_add(place))
        .and_then(|offset| namespace.checked_add(offset))
        .ok_or(LinuxError::NoKey { key })?;
    let field: [u8; UTSNAME_FIELD_LEN] = virt.read_array(at)?;
    Ok(String::from_utf8_lossy(until_nul(&field)).into_owned())
}
