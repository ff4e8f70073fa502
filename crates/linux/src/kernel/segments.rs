use vread_addr::{ByteLen, PageCount, PhysRange, VirtAddr};
use vread_kcore::{
    ElfMachine, KcoreImage, KcoreSegment, NT_PRPSINFO, NT_PRSTATUS, NT_TASKSTRUCT, NT_VMCOREINFO,
    Note, OffsetRule, SegmentKind,
};

use super::Kernel;
use crate::bases::{image_to_phys, modules_range};
use crate::memory::{Iomem, read_iomem};
use crate::{Bases, LinuxError, PagingLevels};

/// The bytes of x86_64's `elf_prstatus` and of `elf_prpsinfo` (E4).
const PRSTATUS_LEN: usize = 336;
const PRPSINFO_LEN: usize = 136;
/// Where in `elf_prpsinfo` the state's letter, the name and the arguments stand, and how long they are.
const PRPSINFO_STATE: usize = 1;
const PRPSINFO_NAME: usize = 40;
const PRPSINFO_ARGUMENTS: usize = 56;
const MAX_ARGUMENTS_LEN: usize = 79;
/// The most bytes of a `task_struct`.
const MAX_TASK_LEN: u64 = 1 << 16;

impl Kernel {
    /// The machine's address space as the kernel has divided it: `/proc/iomem`, read now.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where symbols or types are missing, or the tree cannot be read.
    pub fn iomem(&self) -> Result<Iomem, LinuxError> {
        read_iomem(
            self.virt(),
            self.need_btf()?,
            self.need_symbol("iomem_resource")?,
        )
    }

    /// The segments of the kernel's own `/proc/kcore`, in its order (E3), for the RAM that it has now.
    ///
    /// The vsyscall page that 5.10 may have as its first segment is not among them.
    ///
    /// # Errors
    ///
    /// [`LinuxError`] where the bases are missing or the RAM list cannot be read.
    pub fn segments(&self) -> Result<Vec<KcoreSegment>, LinuxError> {
        let bases = self.bases.as_ref().ok_or(LinuxError::Needs {
            what: "the kernel's bases",
        })?;
        let mut segments = Vec::new();
        if let Some(image) = self.image {
            segments.push(KcoreSegment {
                kind: SegmentKind::Text,
                start: image.start(),
                len: image.len(),
                phys: Some(image_to_phys(image.start(), self.phys_base)),
            });
        }
        segments.push(KcoreSegment {
            kind: SegmentKind::Vmalloc,
            start: bases.vmalloc,
            // E14: `VMALLOC_END` is the last byte, and the kernel takes it for the end.
            len: bases.vmalloc_size.saturating_sub(ByteLen::new(1)),
            phys: None,
        });
        if let Some(modules) = modules_range(&self.info) {
            segments.push(KcoreSegment {
                kind: SegmentKind::Vmalloc,
                start: modules.start(),
                len: modules.len(),
                phys: None,
            });
        }
        let page_len = self
            .info
            .size("page")
            .ok_or(LinuxError::NoKey { key: "SIZE(page)" })?;
        let mut seen = Vec::new();
        for range in self.iomem()?.system_ram() {
            let Some(ram) = ram_segment(bases, range) else {
                continue;
            };
            segments.push(ram);
            if let Some(vmemmap) = vmemmap_segment(bases, page_len, &ram, &seen) {
                seen.push(vmemmap);
                segments.push(vmemmap);
            }
        }
        Ok(segments)
    }

    /// The notes of the kernel's own `/proc/kcore` (E4). The task is `init_task`, since an outside
    /// reader is no task of the target (E8); its size is the one that the kernel itself uses.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        let mut notes = vec![
            Note::new("CORE", NT_PRSTATUS, vec![0; PRSTATUS_LEN]),
            Note::new("CORE", NT_PRPSINFO, prpsinfo(&self.command_line())),
        ];
        match self.init_task() {
            Ok(task) => notes.push(Note::new("CORE", NT_TASKSTRUCT, task)),
            Err(error) => tracing::debug!(%error, "no task for the notes"),
        }
        let text = self.info.text().as_bytes().to_vec();
        notes.push(Note::new("VMCOREINFO", NT_VMCOREINFO, text));
        notes
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

    /// Text and RAM as a dump has them.
    ///
    /// # Errors
    ///
    /// Those of [`segments`](Self::segments).
    pub fn vmcore_image(&self) -> Result<KcoreImage, LinuxError> {
        let segments = self.segments()?;
        Ok(KcoreImage::vmcore(
            ElfMachine::X86_64,
            &segments,
            &self.notes(),
        )?)
    }

    /// What the kernel was started with; empty where it cannot be read.
    #[must_use]
    pub fn command_line(&self) -> String {
        let read = || {
            let text = self
                .virt()
                .read_pointer(self.need_symbol("saved_command_line")?)?;
            // The boot protocol's limit on x86.
            self.virt().read_string(text, 2048)
        };
        let text: Result<Vec<u8>, LinuxError> = read();
        String::from_utf8_lossy(&text.unwrap_or_default()).into_owned()
    }

    /// `init_task`, as many bytes of it as the kernel counts for a task at run time.
    fn init_task(&self) -> Result<Vec<u8>, LinuxError> {
        let at = self.need_symbol("init_task")?;
        let len = match self.need_kallsyms()?.find("arch_task_struct_size") {
            Some(size) => ByteLen::new(u64::from(self.virt().read_u32(size)?)),
            None => self
                .need_btf()?
                .size_of_struct("task_struct")
                .ok_or(LinuxError::NoType {
                    name: "task_struct",
                })?,
        };
        let malformed = LinuxError::Malformed {
            what: "a task_struct",
            at,
            why: "its size is out of range",
        };
        let len = Some(len).filter(|len| len.get() <= MAX_TASK_LEN);
        let len = len.and_then(ByteLen::to_usize).ok_or(malformed)?;
        let mut task = vec![0; len];
        // Behind the static part of `init_task` there may be nothing: that is not the reader's fault.
        for (index, page) in task.chunks_mut(4096).enumerate() {
            let into = ByteLen::from_usize(index.saturating_mul(4096));
            let Some(addr) = at.checked_add(into) else {
                break;
            };
            if let Err(LinuxError::Source(failure)) = self.virt().read(addr, page) {
                return Err(failure.into());
            }
        }
        Ok(task)
    }
}

fn prpsinfo(command_line: &str) -> Vec<u8> {
    let mut bytes = vec![0; PRPSINFO_LEN];
    let arguments = command_line.as_bytes();
    let arguments = arguments.get(..MAX_ARGUMENTS_LEN.min(arguments.len()));
    let parts: [(usize, &[u8]); 3] = [
        (PRPSINFO_STATE, b"R"),
        (PRPSINFO_NAME, b"vmlinux"),
        (PRPSINFO_ARGUMENTS, arguments.unwrap_or_default()),
    ];
    for (at, part) in parts {
        let field = bytes.get_mut(at..).unwrap_or_default();
        for (byte, value) in field.iter_mut().zip(part) {
            *byte = *value;
        }
    }
    bytes
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
