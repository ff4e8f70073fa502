//! The bases of a kernel without symbols: followed from what lies at them.

use memchr::memmem;
use vread_addr::{ByteLen, PAGE_SIZE, PhysAddr, VirtAddr};
use vread_vmalloc::PageRun;

use super::{Bases, CPU_ENTRY_AREA, GIB};
use crate::fields::u64_at;
use crate::image::Image;
use crate::virt_mem::VirtMem;
use crate::{LinuxError, PagingLevels, VmCoreInfo};

/// The most runs of the page table that are looked at. The direct map is the lowest region of all, so one
/// of the first belongs to it.
const MAX_RUNS: usize = 1 << 12;
/// A section that has page descriptors has this bit (G56), and its word's other low bits are flags.
const HAS_MEM_MAP: u64 = 1 << 1;
const SECTION_FLAGS: u64 = 0xff;
/// The most bytes of a record of a memory section.
const MAX_SECTION_LEN: u64 = 128;

impl Bases {
    /// Finds the three bases where no symbol leads to them. `ram` are pages that the kernel is known to
    /// use, and which its direct map therefore has.
    ///
    /// Each base is followed from something that can only lie there, and all of them are checked as those
    /// are that symbols lead to; what is not certain is an error, never a guess:
    ///
    /// - the direct map is the region that maps all pages of `ram` at one distance (G37);
    /// - the page descriptors begin where VMCOREINFO says or, before 6.12, where the memory sections say:
    ///   their encoded address is that of frame 0's descriptor;
    /// - vmalloc space begins where VMCOREINFO says or, before 6.12, at the only value between these two
    ///   that the image has beside both: the kernel keeps the three variables together.
    pub(crate) fn by_evidence(
        virt: VirtMem<'_>,
        info: &VmCoreInfo,
        image: &Image<'_>,
        ram: &[PhysAddr],
    ) -> Result<Self, LinuxError> {
        let direct_map = find_direct_map(virt, ram)?;
        let vmemmap = match info.symbol("vmemmap") {
            Some(said) => said,
            None => vmemmap_of_sections(virt, info)?,
        };
        let vmalloc = match info.number("VMALLOC_START") {
            Some(said) => VirtAddr::new(said),
            None => between_neighbours(image, direct_map, vmemmap)?,
        };
        Self::checked(virt.table.levels(), info, direct_map, vmalloc, vmemmap)
    }
}

/// Where the direct map begins: the lowest region that maps every page of `ram` at the same distance.
fn find_direct_map(virt: VirtMem<'_>, ram: &[PhysAddr]) -> Result<VirtAddr, LinuxError> {
    let lowest = match virt.table.levels() {
        PagingLevels::Four => VirtAddr::new(0xffff_8000_0000_0000),
        PagingLevels::Five => VirtAddr::new(0xff00_0000_0000_0000),
    };
    let mut at = lowest;
    for _ in 0..MAX_RUNS {
        let Some(left) = CPU_ENTRY_AREA.checked_offset_from(at) else {
            break;
        };
        let len = match virt.table.translate_run(virt.mem, at, left)? {
            PageRun::Hole { len } => len,
            PageRun::Mapped { phys, len } => {
                let base = at.checked_sub(ByteLen::new(phys.get()));
                if let Some(base) = base.filter(|base| *base >= lowest)
                    && base.get() & GIB.low_mask() == 0
                    && maps_all(virt, base, ram)?
                {
                    return Ok(base);
                }
                len
            }
        };
        let Some(next) = at.checked_add(len) else {
            break;
        };
        at = next;
    }
    Err(LinuxError::Needs {
        what: "a region of its page table that maps all RAM at one distance",
    })
}

fn maps_all(virt: VirtMem<'_>, base: VirtAddr, ram: &[PhysAddr]) -> Result<bool, LinuxError> {
    for phys in ram {
        let Some(at) = base.checked_add(ByteLen::new(phys.get())) else {
            return Ok(false);
        };
        if virt.table.translate(virt.mem, at)? != Some(*phys) {
            return Ok(false);
        }
    }
    Ok(!ram.is_empty())
}

/// The descriptor of frame 0, by the first memory section that has descriptors.
fn vmemmap_of_sections(virt: VirtMem<'_>, info: &VmCoreInfo) -> Result<VirtAddr, LinuxError> {
    let no_key = |key| LinuxError::NoKey { key };
    let len = info
        .size("mem_section")
        .filter(|len| !len.is_zero() && len.get() <= MAX_SECTION_LEN)
        .ok_or(no_key("SIZE(mem_section)"))?;
    let map_at = info
        .offset("mem_section.section_mem_map")
        .and_then(ByteLen::to_usize)
        .ok_or(no_key("OFFSET(mem_section.section_mem_map)"))?;
    let roots = info
        .symbol("mem_section")
        .ok_or(no_key("SYMBOL(mem_section)"))?;
    let records = virt.read_pointer(roots)?;
    let page = virt.read_vec(records, PAGE_SIZE.to_usize_clamped())?;
    let mut maps = page
        .chunks_exact(len.to_usize_clamped())
        .filter_map(|record| u64_at(record, map_at));
    let map = maps
        .find(|map| map & HAS_MEM_MAP != 0)
        .ok_or(LinuxError::Needs {
            what: "a memory section that has page descriptors",
        })?;
    if map & GIB.low_mask() > SECTION_FLAGS {
        return Err(LinuxError::Malformed {
            what: "a memory section",
            at: records,
            why: "its page descriptors do not count from a base of their own",
        });
    }
    Ok(VirtAddr::new(map & !GIB.low_mask()))
}

/// The only value that may be a base and that the image has beside both others.
fn between_neighbours(
    image: &Image<'_>,
    direct_map: VirtAddr,
    vmemmap: VirtAddr,
) -> Result<VirtAddr, LinuxError> {
    const WORD: usize = 8;
    let (low, high) = (direct_map.get(), vmemmap.get());
    let low_bytes = low.to_le_bytes();
    let mut found: Option<u64> = None;
    let mut contradicted = false;
    // The word may be the first, the second or the last of the three.
    image.find(4 * WORD, |part| {
        let aligned = memmem::find_iter(part.bytes(), &low_bytes);
        for index in aligned.filter(|index| index.is_multiple_of(WORD)) {
            let before = [0, WORD, 2 * WORD].into_iter();
            for first in before.filter_map(|before| index.checked_sub(before)) {
                let word = |place: usize| u64_at(part.bytes(), first.checked_add(place)?);
                let (Some(one), Some(two), Some(three)) = (word(0), word(WORD), word(2 * WORD))
                else {
                    continue;
                };
                let all = [one, two, three];
                if !all.contains(&high) {
                    continue;
                }
                let mut between = all
                    .into_iter()
                    .filter(|value| low < *value && *value < high && value & GIB.low_mask() == 0);
                if let Some(value) = between.next() {
                    contradicted |= found.is_some_and(|found| found != value);
                    found = Some(value);
                }
            }
        }
        Ok(None::<()>)
    })?;
    match (found, contradicted) {
        (Some(value), false) => Ok(VirtAddr::new(value)),
        _ => Err(LinuxError::Needs {
            what: "one value in the image that can only be the start of vmalloc space",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forged::{BIG, ForgedRam, virt};
    use crate::image::MAX_IMAGE_LEN;

    const DIRECT: u64 = 0xffff_9f40_0000_0000;
    const VMALLOC: u64 = 0xffff_b540_0000_0000;
    const VMEMMAP: u64 = 0xffff_ea80_4000_0000;
    const IMAGE: u64 = 0xffff_ffff_8100_0000;
    /// Where the image, the sections' roots and a section's record lie.
    const IMAGE_AT: u64 = 0x8_0000;
    const ROOTS_AT: u64 = 0x8_0800;
    const RECORDS_AT: u64 = 0x9_0000;

    fn info() -> VmCoreInfo {
        let text = format!(
            "OSRELEASE=5.10\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=0\nSYMBOL(swapper_pg_dir)=0\n\
             SYMBOL(_stext)={IMAGE:x}\nSYMBOL(mem_section)={:x}\nSIZE(mem_section)=16\n\
             OFFSET(mem_section.section_mem_map)=0\n",
            IMAGE + 0x800
        );
        VmCoreInfo::parse(text.as_bytes()).unwrap()
    }

    /// 2 MiB of RAM: a window elsewhere, the direct map, and an image with the three variables.
    fn ram() -> ForgedRam {
        let mut ram = ForgedRam::new(512);
        // Lower than the direct map, and at another distance from what it maps.
        ram.map(0xffff_8800_0000_0000, 0x8_0000);
        ram.set_entry(PagingLevels::Four, DIRECT, 21, BIG);
        ram.map(IMAGE, IMAGE_AT);
        ram.put_u64(ROOTS_AT, DIRECT + RECORDS_AT);
        ram.put_u64(RECORDS_AT + 16, VMEMMAP | 0xf);
        for (place, value) in [(0, VMEMMAP), (8, VMALLOC), (16, DIRECT)] {
            ram.put_u64(IMAGE_AT + 0x100 + place, value);
        }
        ram
    }

    fn find(ram: &ForgedRam) -> Result<Bases, LinuxError> {
        let mem = ram.open();
        let image = Image::new(virt(&mem), VirtAddr::new(IMAGE), MAX_IMAGE_LEN)?;
        let known = [0x1000, 0x8_0000].map(PhysAddr::new);
        Bases::by_evidence(virt(&mem), &info(), &image, &known)
    }

    #[test]
    fn follows_all_three_from_what_lies_at_them() {
        // G37, N13.
        let bases = find(&ram()).unwrap();
        let found = [bases.direct_map, bases.vmalloc, bases.vmemmap].map(VirtAddr::get);
        assert_eq!(found, [DIRECT, VMALLOC, VMEMMAP]);
    }

    #[test]
    fn takes_no_region_that_lacks_a_known_page() {
        let mut ram = ram();
        ram.set_entry(PagingLevels::Four, DIRECT, 21, 0);
        // Of the right distance, and without the page table itself.
        ram.map(DIRECT + 0x8_0000, 0x8_0000);
        assert!(matches!(find(&ram), Err(LinuxError::Needs { .. })));
    }

    #[test]
    fn does_not_choose_between_two_starts_of_vmalloc_space() {
        let mut ram = ram();
        for (place, value) in [(0, DIRECT), (8, VMALLOC + (1 << 30)), (16, VMEMMAP)] {
            ram.put_u64(IMAGE_AT + 0x200 + place, value);
        }
        assert!(matches!(find(&ram), Err(LinuxError::Needs { .. })));
    }

    #[test]
    fn does_not_believe_descriptors_that_begin_anywhere() {
        let mut ram = ram();
        ram.put_u64(RECORDS_AT + 16, VMEMMAP | 0x1000 | 0xf);
        assert!(matches!(find(&ram), Err(LinuxError::Malformed { .. })));
    }
}
