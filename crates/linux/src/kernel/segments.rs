use vread_addr::{ByteLen, PageCount, PhysRange, VirtAddr};
use vread_kcore::{ElfMachine, KcoreImage, KcoreSegment, Note, OffsetRule, SegmentKind};

use super::{CpuRegisters, Kernel};
use crate::bases::{image_to_phys, modules_range};
use crate::memory::{Iomem, read_iomem};
use crate::{Bases, LinuxError, PagingLevels};

/// The most ranges of RAM that become segments; a machine with much hot-plugged memory has some hundreds.
/// Each is held against all before it.
const MAX_RAM_RANGES: usize = 1 << 12;

impl Kernel {
    /// The machine's address space as the kernel has divided it: `/proc/iomem`, read now.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where it was not found, or the tree cannot be read.
    pub fn iomem(&self) -> Result<Iomem, LinuxError> {
        let root = self.root_resource.ok_or(LinuxError::Needs {
            what: "the kernel's list of resources",
        })?;
        read_iomem(self.virt(), self.btf.as_deref(), root)
    }

    /// The segments of the kernel's own `/proc/kcore`, in its order (E3), for the RAM that it has now.
    ///
    /// The vsyscall page that 5.10 may have as its first segment is not among them, nor is what cannot be
    /// placed for want of something that is [`missing`](Self::missing).
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where the RAM list cannot be read.
    pub fn segments(&self) -> Result<Vec<KcoreSegment>, LinuxError> {
        let mut segments = Vec::new();
        if let Some(image) = self.image {
            segments.push(KcoreSegment {
                kind: SegmentKind::Text,
                start: image.start(),
                len: image.len(),
                phys: Some(image_to_phys(image.start(), self.phys_base)),
            });
        }
        if let Some(bases) = &self.bases {
            segments.push(KcoreSegment {
                kind: SegmentKind::Vmalloc,
                start: bases.vmalloc,
                // E14: `VMALLOC_END` is the last byte, and the kernel takes it for the end.
                len: bases.vmalloc_size.saturating_sub(ByteLen::new(1)),
                phys: None,
            });
        }
        if let Some(modules) = modules_range(&self.info) {
            segments.push(KcoreSegment {
                kind: SegmentKind::Vmalloc,
                start: modules.start(),
                len: modules.len(),
                phys: None,
            });
        }
        let (Some(bases), Some(_)) = (&self.bases, self.root_resource) else {
            return Ok(segments);
        };
        let page_len = self
            .info
            .size("page")
            .ok_or(LinuxError::NoKey { key: "SIZE(page)" })?;
        let mut seen = Vec::new();
        for range in self.iomem()?.system_ram() {
            let Some(ram) = ram_segment(bases, range) else {
                continue;
            };
            if seen.len() >= MAX_RAM_RANGES {
                return Err(LinuxError::TooMany {
                    what: "ranges of RAM",
                    at: ram.start,
                    limit: MAX_RAM_RANGES,
                });
            }
            segments.push(ram);
            if let Some(vmemmap) = vmemmap_segment(bases, page_len, &ram, &seen) {
                seen.push(vmemmap);
                segments.push(vmemmap);
            }
        }
        Ok(segments)
    }

    /// How addresses become offsets in the kernel's own `/proc/kcore` (E9).
    #[must_use]
    pub fn offset_rule(&self) -> OffsetRule {
        match self.table.levels() {
            PagingLevels::Four => OffsetRule::X86_64_4_LEVEL,
            PagingLevels::Five => OffsetRule::X86_64_5_LEVEL,
        }
    }

    /// The kernel's own `/proc/kcore`: its segments and notes as they are now.
    ///
    /// # Errors
    ///
    /// Those of [`segments`](Self::segments).
    pub fn kcore_image(&self) -> Result<KcoreImage, LinuxError> {
        let segments = self.segments()?;
        let image = KcoreImage::kcore(
            ElfMachine::X86_64,
            self.offset_rule(),
            &segments,
            &self.notes(),
        );
        Ok(image?)
    }

    /// Text and RAM as a dump has them, with the registers of `cpus` in its notes.
    ///
    /// # Errors
    ///
    /// Those of [`segments`](Self::segments).
    pub fn vmcore_image(&self, cpus: &[CpuRegisters]) -> Result<KcoreImage, LinuxError> {
        self.dump_image(&self.dump_notes(cpus))
    }

    /// As [`vmcore_image`](Self::vmcore_image), with a note that tells crash that the kernel runs.
    ///
    /// # Errors
    ///
    /// Those of [`segments`](Self::segments), and a missing `init_task`.
    pub fn vmcore_live_image(&self, cpus: &[CpuRegisters]) -> Result<KcoreImage, LinuxError> {
        let mut notes = self.dump_notes(cpus);
        let task = self.need_symbol("init_task")?;
        notes.push(Note::live(task, self.kaslr_offset()));
        self.dump_image(&notes)
    }

    fn dump_image(&self, notes: &[Note]) -> Result<KcoreImage, LinuxError> {
        let segments = self.segments()?;
        Ok(KcoreImage::vmcore(ElfMachine::X86_64, &segments, notes)?)
    }
}

/// The direct map of the whole pages of `range` (E16, E17).
fn ram_segment(bases: &Bases, range: PhysRange) -> Option<KcoreSegment> {
    let first = range.start().checked_page_align_up()?;
    let len = range.end().page_start().checked_offset_from(first)?;
    let start = bases.direct_map_of(first)?;
    let len = len.min(VirtAddr::new(u64::MAX).checked_offset_from(start)?);
    let len = match bases.vmalloc.checked_offset_from(start) {
        Some(to_vmalloc) if !to_vmalloc.is_zero() => len.min(to_vmalloc),
        _ => len,
    };
    (!len.is_zero()).then_some(KcoreSegment {
        kind: SegmentKind::Ram,
        start,
        len,
        phys: Some(first),
    })
}

/// The page descriptors of a RAM segment, in whole pages, less what an earlier segment has (E18).
///
/// The kernel's quirk is kept: a segment that begins inside an earlier one is dropped whole.
fn vmemmap_segment(
    bases: &Bases,
    page_len: ByteLen,
    ram: &KcoreSegment,
    earlier: &[KcoreSegment],
) -> Option<KcoreSegment> {
    let first = ram.phys?.get() >> vread_addr::PAGE_SHIFT;
    let pages = PageCount::to_hold(ram.len).get();
    let descriptor = |pfn: u64| bases.vmemmap.checked_add(page_len.checked_mul(pfn)?);
    let start = descriptor(first)?.page_start();
    let mut end = descriptor(first.checked_add(pages)?)?.checked_page_align_up()?;
    for other in earlier {
        if start < other.wrapping_end() && end > other.start {
            end = other.start;
        }
    }
    let len = end.checked_offset_from(start)?;
    (!len.is_zero()).then_some(KcoreSegment {
        kind: SegmentKind::Vmemmap,
        start,
        len,
        phys: None,
    })
}
