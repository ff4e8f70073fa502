//! The file: an `ET_EXEC` of sections, symbols and DWARF.

use std::io::Write;

use object::write::elf::{FileHeader, ProgramHeader, SectionHeader, Sym, Writer};
use object::write::{StreamingBuffer, StringId};
use object::{Endianness, elf};
use vread_addr::{ByteLen, VirtAddr};
use vread_linux::Kernel;

use crate::form::Relocation;
use crate::sections::{Content, Section};
use crate::symbols::{Binding, ElfSymbol, SymbolKind};
use crate::{VmlinuxError, Warning, read};

/// Bytes of the image are copied in pieces of this size.
const PIECE: usize = 1 << 20;
/// Segments and the bytes in them have this alignment, in memory and in the file.
const PAGE: u64 = 4096;

/// What goes into a file.
pub(crate) struct Contents<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) sections: &'a [Section],
    pub(crate) symbols: &'a [ElfSymbol],
    /// Sections that are not in memory: name and bytes.
    pub(crate) debug: &'a [(&'static str, Vec<u8>)],
    pub(crate) relocation: Relocation,
}

/// A section's place in the file.
#[derive(Debug, Clone, Copy)]
struct Placed {
    name: StringId,
    offset: u64,
}

/// A `PT_LOAD`: sections one after another in memory, those with bytes first.
#[derive(Debug, Clone, Copy)]
struct Segment {
    first: usize,
    last: usize,
}

impl Contents<'_> {
    /// Writes the file from its first byte to its last; what cannot be read becomes a warning.
    pub(crate) fn write(
        &self,
        out: &mut dyn Write,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), VmlinuxError> {
        let mut buffer = StreamingBuffer::new(out);
        let written = self.write_to(&mut buffer, warnings);
        // What the disk says goes before what we made of it.
        buffer.flush()?;
        written
    }

    fn write_to(
        &self,
        buffer: &mut StreamingBuffer<&mut dyn Write>,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), VmlinuxError> {
        let segments = self.segments();
        let note = self
            .sections
            .iter()
            .position(|section| section.content == Content::Notes);
        let mut writer = Writer::new(Endianness::Little, true, buffer);
        // Places first: the writer wants them in the order in which they are written.
        writer.reserve_file_header();
        let headers = segments.len().saturating_add(usize::from(note.is_some()));
        writer.reserve_program_headers(u32::try_from(headers).map_err(too_many)?);
        let mut placed = Vec::new();
        for section in self.sections {
            let name = writer.add_section_name(section.name.as_bytes());
            writer.reserve_section_index();
            let offset = self.reserve_bytes(&mut writer, section);
            placed.push(Placed { name, offset });
        }
        let mut debug = Vec::new();
        for (name, bytes) in self.debug {
            let name = writer.add_section_name(name.as_bytes());
            writer.reserve_section_index();
            let offset = writer.reserve(len_u64(bytes.len()), 1);
            debug.push(Placed { name, offset });
        }
        let symbols_at = writer.reserved_len();
        let mut names = Vec::new();
        for symbol in self.symbols {
            writer.reserve_symbol_index(None);
            names.push(writer.add_string(symbol.name.as_bytes()));
        }
        writer.reserve_symtab_section_index();
        writer.reserve_strtab_section_index();
        writer.reserve_shstrtab_section_index();
        writer.reserve_symtab();
        writer.reserve_strtab().map_err(format)?;
        writer.reserve_shstrtab().map_err(format)?;
        writer.reserve_section_headers();

        let header = FileHeader {
            os_abi: elf::ELFOSABI_NONE,
            abi_version: 0,
            e_type: elf::ET_EXEC,
            e_machine: elf::EM_X86_64,
            e_entry: 0,
            e_flags: elf::FileFlags(0),
        };
        writer.write_file_header(&header).map_err(format)?;
        writer.write_align_program_headers();
        for segment in &segments {
            if let Some(header) = self.load(*segment, &placed) {
                writer.write_program_header(&header);
            }
        }
        if let Some((section, place)) =
            note.and_then(|at| self.sections.get(at).zip(placed.get(at)))
        {
            let load = self.program_header(
                section.range.start(),
                place.offset,
                section.range.len().get(),
            );
            writer.write_program_header(&ProgramHeader {
                p_type: elf::PT_NOTE,
                p_align: 4,
                ..load
            });
        }
        for (section, place) in self.sections.iter().zip(&placed) {
            self.write_bytes(&mut writer, section, *place, warnings)?;
        }
        for ((_, bytes), place) in self.debug.iter().zip(&debug) {
            writer.pad_until(place.offset);
            writer.write(bytes);
        }
        writer.pad_until(symbols_at);
        writer.write_null_symbol();
        for (symbol, name) in self.symbols.iter().zip(&names) {
            let st_name = writer.string_offset(Some(*name));
            writer.write_symbol(&self.symbol(symbol, st_name));
        }
        writer.write_strtab();
        writer.write_shstrtab();
        writer.write_null_section_header();
        for (section, place) in self.sections.iter().zip(&placed) {
            let sh_name = writer.section_name_offset(Some(place.name));
            writer.write_section_header(&self.section_header(section, sh_name, place.offset));
        }
        for ((name, bytes), place) in self.debug.iter().zip(&debug) {
            let sh_name = writer.section_name_offset(Some(place.name));
            let is_strings = *name == ".debug_str";
            writer.write_section_header(&SectionHeader {
                sh_name,
                sh_type: elf::SHT_PROGBITS,
                sh_flags: match is_strings {
                    true => elf::SHF_MERGE | elf::SHF_STRINGS,
                    false => elf::SectionFlags(0),
                },
                sh_addr: 0,
                sh_offset: place.offset,
                sh_size: len_u64(bytes.len()),
                sh_link: 0,
                sh_info: 0,
                sh_addralign: 1,
                sh_entsize: u64::from(is_strings),
            });
        }
        let local = |symbol: &&ElfSymbol| symbol.binding == Binding::Local;
        let locals = self.symbols.iter().filter(local).count().saturating_add(1);
        writer.write_symtab_section_header(u32::try_from(locals).map_err(too_many)?);
        writer.write_strtab_section_header();
        writer.write_shstrtab_section_header();
        Ok(())
    }

    /// Runs of sections that one `PT_LOAD` can hold: each begins where the last one ended or on the same
    /// page, no bytes behind a part without bytes.
    fn segments(&self) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        for (index, section) in self.sections.iter().enumerate() {
            // drgn takes what the segments span for what moves with the image.
            if section.is_from_zero() {
                continue;
            }
            let joins = |segment: &&mut Segment| {
                let Some(last) = self.sections.get(segment.last) else {
                    return false;
                };
                let gap = section.range.start().checked_offset_from(last.range.end());
                let is_same = match (last.content.is_in_file(), section.content.is_in_file()) {
                    // Code by itself, so that what is only read is not run.
                    (true, true) => last.content.is_kept_code() == section.content.is_kept_code(),
                    (true, false) => last.content.is_writable(),
                    (false, true) => false,
                    (false, false) => true,
                };
                gap.is_some_and(|gap| gap.get() < PAGE) && is_same
            };
            match segments.last_mut().filter(joins) {
                Some(segment) => segment.last = index,
                None => segments.push(Segment {
                    first: index,
                    last: index,
                }),
            }
        }
        segments
    }

    fn load(&self, segment: Segment, placed: &[Placed]) -> Option<ProgramHeader> {
        let sections = self.sections.get(segment.first..=segment.last)?;
        let start = sections.first()?.range.start();
        let len = sections.last()?.range.end().checked_offset_from(start)?;
        let in_file = |section: &&Section| section.content.is_in_file();
        let p_filesz = match sections.iter().rfind(in_file) {
            Some(last) => last.range.end().checked_offset_from(start)?.get(),
            None => 0,
        };
        let offset = placed.get(segment.first)?.offset;
        let mut p_flags = elf::PF_R;
        for section in sections {
            if section.content.is_kept_code() {
                p_flags |= elf::PF_X;
            }
            if section.content.is_writable() && !section.content.is_code() {
                p_flags |= elf::PF_W;
            }
        }
        Some(ProgramHeader {
            p_flags,
            p_filesz,
            ..self.program_header(start, offset, len.get())
        })
    }

    fn program_header(&self, start: VirtAddr, offset: u64, len: u64) -> ProgramHeader {
        let vaddr = self.relocation.apply(start);
        ProgramHeader {
            p_type: elf::PT_LOAD,
            p_flags: elf::PF_R,
            p_offset: offset,
            p_vaddr: vaddr,
            // WRAP: addresses of the image are in the upper half.
            p_paddr: vaddr.wrapping_add(self.relocation.to_phys),
            p_filesz: len,
            p_memsz: len,
            p_align: PAGE,
        }
    }

    /// The place of a section's bytes: at the same offset in a page as in memory.
    fn reserve_bytes(&self, writer: &mut Writer<'_>, section: &Section) -> u64 {
        let in_page = section.range.start().page_offset().get();
        let len = writer.reserved_len();
        // WRAP: both are below a page.
        let pad = in_page.wrapping_sub(len) & (PAGE - 1);
        let offset = writer.reserve(pad, 1).saturating_add(pad);
        if section.content.is_in_file() {
            writer.reserve(section.range.len().get(), 1);
        }
        offset
    }

    fn write_bytes(
        &self,
        writer: &mut Writer<'_>,
        section: &Section,
        place: Placed,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), VmlinuxError> {
        if !section.content.is_in_file() {
            return Ok(());
        }
        writer.pad_until(place.offset);
        let mut piece = vec![0; PIECE];
        let mut addr = section.range.start();
        let mut zeroed = ByteLen::ZERO;
        loop {
            let left = section.range.len_from(addr).to_usize_clamped();
            let part = piece.get_mut(..left.min(PIECE)).unwrap_or_default();
            if part.is_empty() {
                break;
            }
            if section.content != Content::PerCpu {
                zeroed = zeroed.saturating_add(read::fill(self.kernel, addr, part)?);
            }
            writer.write(part);
            // WRAP: at most the section's end.
            addr = addr.wrapping_add(ByteLen::from_usize(part.len()));
        }
        if !zeroed.is_zero() {
            let section = section.name.clone();
            warnings.push(Warning::Holes { section, zeroed });
        }
        Ok(())
    }

    fn section_header(&self, section: &Section, sh_name: u32, offset: u64) -> SectionHeader {
        let content = section.content;
        let mut flags = elf::SHF_ALLOC;
        if content.is_code() {
            flags |= elf::SHF_EXECINSTR;
        }
        if content.is_writable() && !content.is_code() {
            flags |= elf::SHF_WRITE;
        }
        let sh_addr = self.relocation.apply(section.range.start());
        SectionHeader {
            sh_name,
            sh_type: match content {
                Content::Notes => elf::SHT_NOTE,
                content if content.is_in_file() => elf::SHT_PROGBITS,
                _ => elf::SHT_NOBITS,
            },
            sh_flags: flags,
            sh_addr,
            sh_offset: offset,
            sh_size: section.range.len().get(),
            sh_link: 0,
            sh_info: 0,
            sh_addralign: match content {
                Content::Notes => 4,
                _ => alignment(sh_addr),
            },
            sh_entsize: 0,
        }
    }

    fn symbol(&self, symbol: &ElfSymbol, st_name: u32) -> Sym {
        let binding = match symbol.binding {
            Binding::Local => elf::STB_LOCAL,
            Binding::Global => elf::STB_GLOBAL,
            Binding::Weak => elf::STB_WEAK,
        };
        let kind = match symbol.kind {
            SymbolKind::Function => elf::STT_FUNC,
            SymbolKind::Object => elf::STT_OBJECT,
            SymbolKind::Label => elf::STT_NOTYPE,
        };
        // Header 0 is the null one.
        let section = symbol
            .section
            .and_then(|index| u32::try_from(index).ok()?.checked_add(1));
        Sym {
            section,
            st_name,
            st_info: elf::SymbolInfo::new(binding, kind),
            st_other: elf::SymbolOther(0),
            st_shndx: elf::SHN_ABS,
            st_value: self.relocation.apply(symbol.addr),
            st_size: symbol.size.get(),
        }
    }
}

/// The largest power of two up to a page that divides an address.
fn alignment(addr: u64) -> u64 {
    match addr {
        0 => PAGE,
        addr => (1 << addr.trailing_zeros().min(63)).min(PAGE),
    }
}

fn len_u64(len: usize) -> u64 {
    ByteLen::from_usize(len).get()
}

fn format(error: object::write::Error) -> VmlinuxError {
    VmlinuxError::Format(error.to_string())
}

fn too_many(_: std::num::TryFromIntError) -> VmlinuxError {
    VmlinuxError::Format("more than 2^32 parts".into())
}
