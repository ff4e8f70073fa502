//! What a kernel's image holds and all else is read by: where symbols lead to it, and where they do not.

use vread_addr::{ByteLen, PhysAddr, VirtAddr, VirtRange};

use super::AttachTimes;
use super::identify::Identified;
use crate::bases::{START_KERNEL_MAP, image_to_phys, modules_range};
use crate::btf::{self, MAX_BTF_LEN};
use crate::image::{Image, MAX_IMAGE_LEN};
use crate::memory::{find_root_resource, read_iomem};
use crate::virt_mem::VirtMem;
use crate::{Bases, Btf, Kallsyms, LinuxError, VmCoreInfo};

/// How the resources are called that are parts of the image.
const OF_THE_IMAGE: &str = "Kernel ";
/// An image begins where an entry of the last level but one does.
const IMAGE_ALIGN: ByteLen = ByteLen::new(2 << 20);

/// What is read once, each part or why it cannot be had.
pub(super) struct Parts {
    pub(super) btf: Result<Btf, LinuxError>,
    pub(super) bases: Result<Bases, LinuxError>,
    pub(super) image: Result<VirtRange, LinuxError>,
    /// Where `iomem_resource` lies.
    pub(super) root_resource: Result<VirtAddr, LinuxError>,
}

impl Parts {
    /// Where `kallsyms` leads.
    pub(super) fn by_symbols(
        virt: VirtMem<'_>,
        info: &VmCoreInfo,
        kallsyms: &Kallsyms,
        times: &mut AttachTimes,
    ) -> Self {
        Self {
            btf: times.time("types", || read_btf(virt, kallsyms)),
            bases: times.time("bases", || Bases::read(virt, info, kallsyms)),
            image: image_range(kallsyms),
            root_resource: find(kallsyms, "iomem_resource"),
        }
    }

    /// By what they look like in the image, and by what lies at them.
    pub(super) fn by_shape(
        virt: VirtMem<'_>,
        kernel: &Identified,
        times: &mut AttachTimes,
    ) -> Self {
        let info = &kernel.candidate.info;
        match image_of(virt, info, kernel.phys_base) {
            Ok(image) => {
                let btf = times.time("types", || btf::search(virt, &image));
                let bases = times.time("bases", || {
                    Bases::by_evidence(virt, info, &image, &known_ram(kernel))
                });
                let root_resource = times.time("resources", || {
                    find_root_resource(virt, &image, btf.as_ref().ok())
                });
                let narrow = |root: &VirtAddr| {
                    resources_of_image(virt, &image, btf.as_ref().ok(), *root, kernel.phys_base)
                };
                let range = match &root_resource {
                    Ok(root) => narrow(root),
                    Err(error) => Err(error.clone()),
                };
                Self {
                    image: range,
                    btf,
                    bases,
                    root_resource,
                }
            }
            Err(error) => Self {
                btf: Err(error.clone()),
                bases: Err(error.clone()),
                image: Err(error.clone()),
                root_resource: Err(error),
            },
        }
    }
}

fn find(kallsyms: &Kallsyms, name: &'static str) -> Result<VirtAddr, LinuxError> {
    kallsyms.find(name).ok_or(LinuxError::NoSymbol { name })
}

fn read_btf(virt: VirtMem<'_>, kallsyms: &Kallsyms) -> Result<Btf, LinuxError> {
    let start = find(kallsyms, "__start_BTF")?;
    let malformed = |why| LinuxError::Malformed {
        what: "BTF",
        at: start,
        why,
    };
    let len = find(kallsyms, "__stop_BTF")?
        .checked_offset_from(start)
        .and_then(ByteLen::to_usize)
        .filter(|len| *len <= MAX_BTF_LEN)
        .ok_or(malformed("it ends before it starts, or beyond the limit"))?;
    Ok(Btf::parse(virt.read_vec(start, len)?)?)
}

fn image_range(kallsyms: &Kallsyms) -> Result<VirtRange, LinuxError> {
    let start = find(kallsyms, "_text")?;
    VirtRange::new(start, find(kallsyms, "_end")?).ok_or(LinuxError::Malformed {
        what: "the image's range",
        at: start,
        why: "_end lies below _text",
    })
}

/// All that is mapped where the image is.
pub(super) fn image_of<'m>(
    virt: VirtMem<'m>,
    info: &VmCoreInfo,
    phys_base: u64,
) -> Result<Image<'m>, LinuxError> {
    let stext = info.symbol("_stext").ok_or(LinuxError::NoKey {
        key: "SYMBOL(_stext)",
    })?;
    let aligned = VirtAddr::new(stext.get() & !IMAGE_ALIGN.low_mask());
    let mapped = virt.table.translate(virt.mem, aligned)?;
    let start = match mapped == Some(image_to_phys(aligned, phys_base)) {
        true => aligned,
        false => stext,
    };
    let modules =
        modules_range(info).and_then(|modules| modules.start().checked_offset_from(start));
    let max_len = MAX_IMAGE_LEN.min(modules.unwrap_or_default());
    Image::new(virt, start, max_len)
}

/// Pages that the kernel uses for sure.
fn known_ram(kernel: &Identified) -> Vec<PhysAddr> {
    let info = &kernel.candidate.info;
    let symbols = ["_stext", "init_uts_ns"];
    let of_image = symbols.into_iter().filter_map(|name| info.symbol(name));
    let of_image = of_image.map(|addr| image_to_phys(addr, kernel.phys_base));
    let pages = of_image.chain([kernel.page(), kernel.table.root()]);
    pages.map(PhysAddr::page_start).collect()
}

/// The image's range as the kernel's own list of resources has it. It ends a little before `_end`, whose
/// last pages are no resource; what the page table maps there may be anything.
fn resources_of_image(
    virt: VirtMem<'_>,
    image: &Image<'_>,
    btf: Option<&Btf>,
    root: VirtAddr,
    phys_base: u64,
) -> Result<VirtRange, LinuxError> {
    let malformed = LinuxError::Malformed {
        what: "the image's range",
        at: root,
        why: "the list of resources has none that is in what is mapped",
    };
    let iomem = read_iomem(virt, btf, root)?;
    let parts = iomem.resources().iter();
    let parts = parts.filter(|part| part.name.starts_with(OF_THE_IMAGE));
    let ranges: Vec<_> = parts.map(|part| part.range).collect();
    let start = ranges.iter().map(|range| range.start()).min();
    let end = ranges.iter().map(|range| range.end()).max();
    let range = start.zip(end).and_then(|(start, end)| {
        let end = end.checked_page_align_up()?;
        VirtRange::new(to_virt(start, phys_base), to_virt(end, phys_base))
    });
    range
        .filter(|range| image.range().contains_range(range) && !range.is_empty())
        .ok_or(malformed)
}

/// The address that the image has for `phys`: the reverse of [`image_to_phys`].
fn to_virt(phys: PhysAddr, phys_base: u64) -> VirtAddr {
    // WRAP: N11; a result outside of the image is not taken.
    let into = phys.get().wrapping_sub(phys_base);
    START_KERNEL_MAP.wrapping_add(ByteLen::new(into))
}
