//! Which sections the image has, told by the boundary symbols of its linker script.

use std::sync::Arc;

use vread_addr::{VirtAddr, VirtRange};
use vread_linux::{Kernel, Symbols};

use crate::{Warning, text::printable};

/// The most bytes of one section: ten times the largest kernel's text.
const MAX_SECTION_LEN: u64 = 1 << 28;

/// The most sections of modules: fewer than an ELF file may have without detours.
const MAX_MODULE_SECTIONS: usize = 1 << 15;

/// The most bytes of modules' text: the room that x86_64 has for all of them.
const MAX_MODULE_TEXT_LEN: u64 = 1 << 30;

/// What a section holds, and whether the file holds its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Code; its bytes are in the file.
    Text,
    /// Data that nobody writes; its bytes are in the file.
    ReadOnly,
    /// Notes; their bytes are in the file.
    Notes,
    /// Data that changes; the file holds its bytes of the moment, since crash takes a file without data for
    /// none of a kernel. Debuggers look into memory first.
    Data,
    /// Data that changes and was zeros at first.
    Bss,
    /// Code that ran once; its memory has been given away.
    GoneText,
    /// Data that was needed once; its memory has been given away.
    GoneData,
    /// What every processor's own variables began as. Its memory has been given away; the file holds zeros
    /// for it, since crash takes symbols of a section without bytes for none of a processor's.
    PerCpu,
    /// Room behind the image that it used while it started, and has given away. crash takes the end of the
    /// last section for the end of all symbols, and moves none behind it.
    Scratch,
}

impl Content {
    /// Whether the file holds the bytes.
    pub(crate) fn is_in_file(self) -> bool {
        matches!(
            self,
            Self::Text | Self::ReadOnly | Self::Notes | Self::Data | Self::PerCpu
        )
    }

    /// Whether its memory may change, or has been given to somebody else.
    pub(crate) fn is_writable(self) -> bool {
        !matches!(self, Self::Text | Self::ReadOnly | Self::Notes)
    }

    /// Whether it is code that is still there.
    pub(crate) fn is_kept_code(self) -> bool {
        self == Self::Text
    }

    /// Whether it is code.
    pub(crate) fn is_code(self) -> bool {
        matches!(self, Self::Text | Self::GoneText)
    }
}

/// A section of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) name: String,
    /// Where it lies now. Per-CPU variables of an image that counts them from 0 lie there.
    pub(crate) range: VirtRange,
    pub(crate) content: Content,
    /// The module that it belongs to.
    pub(crate) module: Option<Arc<str>>,
}

/// A section's name, the symbols at its start and behind its end, and what it holds.
struct Boundary {
    name: &'static str,
    start: &'static str,
    /// The first of these that there is.
    end: &'static [&'static str],
    content: Content,
    need: Need,
}

/// Whether a kernel may lack a section.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Every kernel has it.
    Always,
    /// Some have not.
    Maybe,
}

const fn always(
    name: &'static str,
    start: &'static str,
    end: &'static [&'static str],
    content: Content,
) -> Boundary {
    Boundary {
        name,
        start,
        end,
        content,
        need: Need::Always,
    }
}

const fn maybe(
    name: &'static str,
    start: &'static str,
    end: &'static [&'static str],
    content: Content,
) -> Boundary {
    Boundary {
        need: Need::Maybe,
        ..always(name, start, end, content)
    }
}

/// The sections of x86_64's images, 5.10 to 7.2, by names and symbols of the distributions' own debug
/// files. One that lies inside another comes behind it and is cut out of it.
const BOUNDARIES: &[Boundary] = &[
    always(".text", "_text", &["_etext"], Content::Text),
    always(
        ".rodata",
        "__start_rodata",
        &["__end_rodata"],
        Content::ReadOnly,
    ),
    maybe(
        ".pci_fixup",
        "__start_pci_fixups_early",
        &["__end_pci_fixups_suspend_late"],
        Content::ReadOnly,
    ),
    maybe(
        "__ksymtab",
        "__start___ksymtab",
        &["__stop___ksymtab"],
        Content::ReadOnly,
    ),
    maybe(
        "__ksymtab_gpl",
        "__start___ksymtab_gpl",
        &["__stop___ksymtab_gpl"],
        Content::ReadOnly,
    ),
    maybe(
        "__param",
        "__start___param",
        &["__stop___param"],
        Content::ReadOnly,
    ),
    maybe(
        "__modver",
        "__start___modver",
        &["__stop___modver"],
        Content::ReadOnly,
    ),
    maybe(
        "__ex_table",
        "__start___ex_table",
        &["__stop___ex_table"],
        Content::ReadOnly,
    ),
    always(".notes", "__start_notes", &["__stop_notes"], Content::Notes),
    maybe(".BTF", "__start_BTF", &["__stop_BTF"], Content::ReadOnly),
    always(
        ".data",
        "_sdata",
        &["__init_begin", "_edata"],
        Content::Data,
    ),
    maybe(
        "__bug_table",
        "__start___bug_table",
        &["__stop___bug_table"],
        Content::Data,
    ),
    maybe(
        ".orc_header",
        "orc_header",
        &["__start_orc_unwind_ip"],
        Content::ReadOnly,
    ),
    maybe(
        ".orc_unwind_ip",
        "__start_orc_unwind_ip",
        &["__stop_orc_unwind_ip"],
        Content::ReadOnly,
    ),
    maybe(
        ".orc_unwind",
        "__start_orc_unwind",
        &["__stop_orc_unwind"],
        Content::ReadOnly,
    ),
    maybe(
        ".orc_lookup",
        "orc_lookup",
        &["orc_lookup_end"],
        Content::Data,
    ),
    always(
        ".init.data",
        "__init_begin",
        &["__init_end"],
        Content::GoneData,
    ),
    always(
        ".init.text",
        "_sinittext",
        &["_einittext"],
        Content::GoneText,
    ),
    always(
        ".data..percpu",
        "__per_cpu_start",
        &["__per_cpu_end"],
        Content::PerCpu,
    ),
    maybe(
        ".smp_locks",
        "__smp_locks",
        &["__smp_locks_end"],
        Content::Bss,
    ),
    maybe(
        ".data_nosave",
        "__nosave_begin",
        &["__nosave_end"],
        Content::Bss,
    ),
    always(".bss", "__bss_start", &["__bss_stop"], Content::Bss),
    maybe(".brk", "__brk_base", &["__brk_limit"], Content::Bss),
    maybe(
        ".init.scratch",
        "__init_scratch_begin",
        &["__init_scratch_end"],
        Content::Scratch,
    ),
];

/// The image's sections, by address, none inside another.
pub(crate) fn of_image(kernel: &Kernel, warnings: &mut Vec<Warning>) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for boundary in BOUNDARIES {
        let left_out = |why| Warning::SectionLeftOut {
            section: boundary.name,
            start: boundary.start,
            end: boundary.end.first().copied().unwrap_or_default(),
            why,
        };
        match boundary.range(kernel) {
            Ok(range) if range.is_empty() => {}
            Ok(range) => cut_out(&mut sections, boundary, range),
            Err(Unusable::Missing) if boundary.need == Need::Maybe => {}
            Err(Unusable::Missing) => warnings.push(left_out("one of them is not a symbol")),
            Err(Unusable::Mad(why)) => warnings.push(left_out(why)),
        }
    }
    sections.sort_by_key(|section| section.range.start());
    sections
}

/// The memory of modules as sections; their text with its bytes.
pub(crate) fn of_modules(symbols: &Symbols<'_>, image: &[Section]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for module in symbols.modules() {
        let name = format!(".module.{}", printable(module.name.as_bytes()));
        for range in &module.memory {
            let text_end = module.text_end.filter(|end| range.contains(*end));
            let whole_is_text = module.text_end == Some(range.end());
            let border = text_end.unwrap_or(match whole_is_text {
                true => range.end(),
                false => range.start(),
            });
            let text = VirtRange::new(range.start(), border).zip(Some(Content::Text));
            let data = VirtRange::new(border, range.end()).zip(Some(Content::Bss));
            let parts = [text, data].into_iter().flatten();
            let parts = parts.filter(|(part, _)| !part.is_empty());
            sections.extend(parts.map(|(range, content)| Section {
                name: name.clone(),
                range,
                content,
                module: Some(Arc::clone(&module.name)),
            }));
        }
    }
    sections.sort_by_key(|section| section.range.start());
    sections.truncate(MAX_MODULE_SECTIONS);
    let mut end = VirtAddr::default();
    let mut text_left = MAX_MODULE_TEXT_LEN;
    sections.retain_mut(|section| {
        let range = section.range;
        let free = |other: &Section| other.range.intersection(&range).is_none();
        let is_sane = range.start() >= end && range.len().get() <= MAX_SECTION_LEN;
        let keep = is_sane && image.iter().all(free);
        if keep {
            end = range.end();
            if section.content == Content::Text {
                match text_left.checked_sub(range.len().get()) {
                    Some(left) => text_left = left,
                    None => section.content = Content::GoneText,
                }
            }
        }
        keep
    });
    sections
}

enum Unusable {
    Missing,
    Mad(&'static str),
}

impl Boundary {
    fn range(&self, kernel: &Kernel) -> Result<VirtRange, Unusable> {
        let find = |name: &str| kernel.kallsyms().and_then(|symbols| symbols.find(name));
        let start = find(self.start).ok_or(Unusable::Missing)?;
        let end = self.end.iter().find_map(|name| find(name));
        let end = end.ok_or(Unusable::Missing)?;
        let range = VirtRange::new(start, end).ok_or(Unusable::Mad("it ends before it starts"))?;
        if range.len().get() > MAX_SECTION_LEN {
            return Err(Unusable::Mad("it is larger than any kernel's"));
        }
        let in_image = kernel
            .image()
            .is_none_or(|image| image.contains_range(&range));
        // Up to 6.12, per-CPU variables are counted from 0.
        let from_zero = self.content == Content::PerCpu && start == VirtAddr::default();
        match in_image || from_zero || self.content == Content::Scratch {
            true => Ok(range),
            false => Err(Unusable::Mad("it lies outside the image")),
        }
    }
}

/// Puts a section in, out of those that it lies in.
fn cut_out(sections: &mut Vec<Section>, boundary: &Boundary, range: VirtRange) {
    let overlaps = |section: &Section| section.range.intersection(&range).is_some();
    let (cut, kept) = std::mem::take(sections).into_iter().partition(overlaps);
    *sections = kept;
    let cut: Vec<Section> = cut;
    for section in cut {
        let before = VirtRange::new(section.range.start(), range.start());
        let behind = VirtRange::new(range.end(), section.range.end());
        for part in [before, behind].into_iter().flatten() {
            if !part.is_empty() {
                sections.push(Section {
                    range: part,
                    ..section.clone()
                });
            }
        }
    }
    sections.push(Section {
        name: boundary.name.to_owned(),
        range,
        content: boundary.content,
        module: None,
    });
}

impl Section {
    /// Per-CPU variables that are counted from 0 lie nowhere in memory.
    pub(crate) fn is_from_zero(&self) -> bool {
        self.content == Content::PerCpu && self.range.start() == VirtAddr::default()
    }
}

/// The index of the section that `addr` lies in, or, for labels at an end, of the one that ends there.
pub(crate) fn find(sections: &[Section], addr: VirtAddr) -> Option<usize> {
    let behind = sections.partition_point(|section| section.range.start() <= addr);
    let index = behind.checked_sub(1)?;
    let section = sections.get(index)?;
    if section.range.contains(addr) {
        return Some(index);
    }
    // The sections before may end exactly where this one begins.
    (section.range.end() == addr).then_some(index)
}
