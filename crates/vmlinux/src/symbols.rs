//! The symbol table: every line of kallsyms, with a section, a kind and a size.

use std::sync::Arc;

use vread_addr::{ByteLen, VirtAddr};
use vread_linux::Symbol;

use crate::sections::{self, Content, Section};
use crate::text::printable;

/// A symbol, at its place of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ElfSymbol {
    pub(crate) name: String,
    pub(crate) addr: VirtAddr,
    /// Bytes to the next symbol, or to the end of the section; 0 for labels.
    pub(crate) size: ByteLen,
    /// The section's index, or none for a number that is no address.
    pub(crate) section: Option<usize>,
    pub(crate) kind: SymbolKind,
    pub(crate) binding: Binding,
    /// The module that it belongs to.
    pub(crate) module: Option<Arc<str>>,
}

/// What a symbol stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SymbolKind {
    /// A function.
    Function,
    /// A variable.
    Object,
    /// A mere place, such as the border of a section.
    Label,
}

/// Who else may refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Binding {
    /// Nobody outside its source file.
    Local,
    /// Everybody.
    Global,
    /// Everybody, if nobody else defines it.
    Weak,
}

/// Symbols of the file, local ones first, each group in the order of
/// `/proc/kallsyms`.
pub(crate) fn collect(
    symbols: impl Iterator<Item = Symbol>,
    sections: &[Section],
) -> Vec<ElfSymbol> {
    let mut collected: Vec<ElfSymbol> = symbols
        .map(|symbol| {
            let section = sections::find(sections, symbol.addr);
            ElfSymbol {
                section,
                kind: kind(
                    &symbol.name,
                    symbol.addr,
                    section.and_then(|at| sections.get(at)),
                ),
                binding: binding(symbol.letter),
                name: printable(symbol.name.as_bytes()),
                addr: symbol.addr,
                size: ByteLen::ZERO,
                module: symbol.module,
            }
        })
        .collect();
    measure(&mut collected, sections);
    collected.sort_by_key(|symbol| symbol.binding != Binding::Local);
    collected
}

/// Gives every symbol but labels the bytes up to the next one that lies higher (as the kernel counts
/// them), within its section.
fn measure(symbols: &mut [ElfSymbol], sections: &[Section]) {
    let mut starts: Vec<VirtAddr> = symbols.iter().map(|symbol| symbol.addr).collect();
    starts.sort_unstable();
    starts.dedup();
    for symbol in symbols {
        let section = symbol.section.and_then(|index| sections.get(index));
        let Some(section) = section.filter(|_| symbol.kind != SymbolKind::Label) else {
            continue;
        };
        let left = section.range.len_from(symbol.addr);
        let next = starts.get(starts.partition_point(|start| *start <= symbol.addr));
        let to_next = next.and_then(|next| next.checked_offset_from(symbol.addr));
        symbol.size = to_next.unwrap_or(left).min(left);
    }
}

/// By the section, since the letters of kallsyms are unreliable (G26).
fn kind(name: &str, addr: VirtAddr, section: Option<&Section>) -> SymbolKind {
    let Some(section) = section else {
        return SymbolKind::Label;
    };
    if is_border(name, section.content) || addr == section.range.end() {
        return SymbolKind::Label;
    }
    match section.content {
        content if content.is_code() => SymbolKind::Function,
        Content::Notes => SymbolKind::Label,
        _ => SymbolKind::Object,
    }
}

/// Names that linker scripts give to borders. The thing that begins there has a name of its own.
fn is_border(name: &str, content: Content) -> bool {
    const BORDERS: [&str; 17] = [
        "_text",
        "_stext",
        "_etext",
        "_sdata",
        "_edata",
        "_end",
        "_sinittext",
        "_einittext",
        "__bss_start",
        "__bss_stop",
        "__init_begin",
        "__init_end",
        "__per_cpu_start",
        "__per_cpu_end",
        "__per_cpu_load",
        "__end_rodata",
        "__brk_base",
    ];
    if BORDERS.contains(&name) {
        return true;
    }
    match content.is_code() {
        // `__entry_text_start`, `__irqentry_text_end`; functions may well begin with `__end_`.
        true => name.ends_with("_text_start") || name.ends_with("_text_end"),
        false => ["__start_", "__stop_", "__end_"]
            .iter()
            .any(|start| name.starts_with(start)),
    }
}

fn binding(letter: char) -> Binding {
    match letter {
        'w' | 'W' | 'v' | 'V' => Binding::Weak,
        letter if letter.is_ascii_uppercase() => Binding::Global,
        _ => Binding::Local,
    }
}
