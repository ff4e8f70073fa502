use std::collections::HashSet;

use vread_addr::{ByteLen, VirtAddr};

use super::walk::Record;
use super::{ModuleLayout, ModuleSymbol};
use crate::LinuxError;
use crate::fields::{i32_at, u16_at, u32_at, u64_at, until_nul};
use crate::virt_mem::VirtMem;

/// The most symbols of all modules together: as many as an image may have (G31).
const MAX_SYMBOLS: usize = 1 << 20;
/// The most bytes of all modules' names together.
const MAX_NAMES_LEN: usize = 64 << 20;
/// The most bytes of one module's names.
const MAX_STRTAB_LEN: usize = 16 << 20;
/// The bytes of an `Elf64_Sym`.
const SYM_LEN: usize = 24;
/// The longest name.
const MAX_NAME_LEN: usize = 511;
/// The most exported symbols of all modules together.
const MAX_EXPORTS: usize = 1 << 16;
/// The bytes of a `struct kernel_symbol`: three offsets, relative to their own places.
const KERNEL_SYMBOL_LEN: usize = 12;

/// How much more may be read: a hostile target has many modules with many symbols each, all of whose
/// names may be one long one.
#[derive(Debug)]
pub(super) struct Budget {
    symbols: usize,
    exports: usize,
    names_len: usize,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            symbols: MAX_SYMBOLS,
            exports: MAX_EXPORTS,
            names_len: MAX_NAMES_LEN,
        }
    }
}

/// Takes `amount` off `left`; an error where that has not so much.
fn take(left: &mut usize, amount: usize, at: VirtAddr) -> Result<(), LinuxError> {
    *left = left.checked_sub(amount).ok_or(LinuxError::Malformed {
        what: "a module's symbol table",
        at,
        why: "more symbols or longer names than all modules of a kernel have",
    })?;
    Ok(())
}

/// A module's symbols as `/proc/kallsyms` prints them: those with a name, upper-case letters for what
/// `module.syms` exports (GPL-only exports are in there since they share one table, in 7.x).
pub(super) fn read_symbols(
    virt: VirtMem<'_>,
    layout: &ModuleLayout,
    record: &Record<'_>,
    budget: &mut Budget,
) -> Result<Vec<ModuleSymbol>, LinuxError> {
    let needs = || LinuxError::Needs {
        what: "a complete struct module",
    };
    let tables = record.pointer(layout.kallsyms).ok_or_else(needs)?;
    let field = |at: ByteLen| tables.checked_add(at).ok_or_else(needs);
    let num_symtab = virt.read_u32(field(layout.num_symtab)?)?;
    let symtab = virt.read_pointer(field(layout.symtab)?)?;
    let strtab = virt.read_pointer(field(layout.strtab)?)?;
    let typetab = virt.read_pointer(field(layout.typetab)?)?;
    let count = usize::try_from(num_symtab).unwrap_or(usize::MAX);
    take(&mut budget.symbols, count, symtab)?;
    let symtab = virt.read_vec(symtab, count.saturating_mul(SYM_LEN))?;
    let letters = virt.read_vec(typetab, count)?;
    let strings = read_strings(virt, strtab, &symtab, &mut budget.names_len)?;
    let exports = read_exports(virt, layout, record, &mut budget.exports).unwrap_or_default();

    let mut symbols = Vec::new();
    for (sym, letter) in symtab.chunks_exact(SYM_LEN).zip(letters) {
        let name_at = u32_at(sym, 0).and_then(|at| usize::try_from(at).ok());
        let name = name_at.and_then(|at| strings.get(at..)).unwrap_or_default();
        // Any name may begin anywhere in the strings, and run to their end.
        let name = until_nul(name.get(..MAX_NAME_LEN).unwrap_or(name));
        take(&mut budget.names_len, name.len(), strtab)?;
        let Some(addr) = u64_at(sym, 8)
            .map(VirtAddr::new)
            .filter(|_| !name.is_empty())
        else {
            continue;
        };
        let exported = exports.contains(&(addr, name.to_vec()));
        symbols.push(ModuleSymbol {
            addr,
            letter: match exported {
                true => char::from(letter.to_ascii_uppercase()),
                false => char::from(letter.to_ascii_lowercase()),
            },
            name: String::from_utf8_lossy(name).into_owned(),
            defined: u16_at(sym, 6) != Some(0),
        });
    }
    Ok(symbols)
}

/// The string table as far as `symtab` reaches into it; its length is written nowhere.
fn read_strings(
    virt: VirtMem<'_>,
    strtab: VirtAddr,
    symtab: &[u8],
    names_left: &mut usize,
) -> Result<Vec<u8>, LinuxError> {
    let starts = symtab
        .chunks_exact(SYM_LEN)
        .filter_map(|sym| u32_at(sym, 0));
    let last = usize::try_from(starts.max().unwrap_or_default()).unwrap_or(usize::MAX);
    if last > MAX_STRTAB_LEN {
        return Err(LinuxError::Malformed {
            what: "a module's symbol table",
            at: strtab,
            why: "a name lies beyond the limit",
        });
    }
    take(names_left, last, strtab)?;
    let mut strings = virt.read_vec(strtab, last)?;
    let tail = strtab.checked_add(ByteLen::from_usize(last));
    if let Some(tail) = tail {
        strings.extend(virt.read_string(tail, MAX_NAME_LEN)?);
    }
    Ok(strings)
}

/// What the module exports: address and name.
fn read_exports(
    virt: VirtMem<'_>,
    layout: &ModuleLayout,
    record: &Record<'_>,
    exports_left: &mut usize,
) -> Option<HashSet<(VirtAddr, Vec<u8>)>> {
    let at = record.pointer(layout.syms)?;
    let count = usize::try_from(record.u32(layout.num_syms)?).ok()?;
    let count = count.min(*exports_left);
    *exports_left = exports_left.saturating_sub(count);
    let len = count.checked_mul(KERNEL_SYMBOL_LEN)?;
    let table = virt.read_vec(at, len).ok()?;
    let place = |offset: usize| {
        let relative = i64::from(i32_at(&table, offset)?).cast_unsigned();
        let from = at.checked_add(ByteLen::from_usize(offset))?;
        // WRAP: offsets may be negative.
        Some(from.wrapping_add(ByteLen::new(relative)))
    };
    let mut exports = HashSet::new();
    for offset in (0..len).step_by(KERNEL_SYMBOL_LEN) {
        let name = virt
            .read_string(place(offset.checked_add(4)?)?, MAX_NAME_LEN)
            .ok()?;
        exports.insert((place(offset)?, name));
    }
    Some(exports)
}
