use vread_addr::VirtAddr;

use super::SymbolIndex;
use super::tokens::{MAX_NAME_LEN, NameBuffer, Tokens};
use crate::fields::{i32_at, u32_at, u64_at};
use crate::{LinuxError, Symbol};

/// The most symbols of an image (G31).
pub(super) const MAX_SYMBOLS: u32 = 1 << 20;
/// The most bytes of compressed names (G31).
pub(super) const MAX_NAMES_LEN: usize = 64 << 20;
/// The most bytes of all names, expanded; those of a kernel of 190,000 symbols have 5 MB.
const MAX_EXPANDED_LEN: usize = 64 << 20;
/// A marker stands at every so many symbols (G20).
const SYMBOLS_PER_MARKER: u32 = 256;

/// The tables as they were copied out of the kernel's memory, nothing checked.
#[derive(Debug, Clone)]
pub(crate) struct RawTables {
    /// `kallsyms_num_syms`.
    pub(crate) num_syms: u32,
    /// Where `kallsyms_names` lies.
    pub(crate) names_at: VirtAddr,
    /// `kallsyms_names`, and at least `kallsyms_markers` behind it.
    pub(crate) names: Vec<u8>,
    /// `kallsyms_token_table` and anything behind it.
    pub(crate) token_table: Vec<u8>,
    /// `kallsyms_token_index`.
    pub(crate) token_index: Vec<u8>,
    /// `kallsyms_offsets` or `kallsyms_addresses`.
    pub(crate) addresses: RawAddresses,
}

/// What addresses are made from (G24).
#[derive(Debug, Clone)]
pub(crate) enum RawAddresses {
    /// `kallsyms_addresses`: 8 bytes each.
    Absolute(Vec<u8>),
    /// `kallsyms_offsets` at `at`: 4 bytes each, relative to `base` or, without one, to their place.
    Relative {
        offsets: Vec<u8>,
        at: VirtAddr,
        base: Option<VirtAddr>,
    },
}

/// How an offset becomes an address. Which rule a kernel follows cannot be read from its memory (G25).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OffsetMeaning {
    /// Not negative: the value itself, absolute; negative: `base - 1 - offset`.
    AbsolutePercpu,
    /// `base` + offset as an unsigned number.
    Plain,
    /// The offset's own address + offset.
    PlaceRelative,
}

/// The symbols of a kernel image.
pub struct Kallsyms {
    names: Vec<u8>,
    tokens: Tokens,
    /// Where each symbol's compressed name begins in `names`, and its length there.
    entries: Vec<(u32, u16)>,
    /// The length of each name, with the type letter.
    lens: Vec<u16>,
    addresses: Vec<VirtAddr>,
    /// All symbols by address; those of one address in table order.
    by_address: Vec<u32>,
}

impl Kallsyms {
    /// Decodes the tables of the kernel whose `_stext` lies at `stext`.
    pub(crate) fn decode(raw: RawTables, stext: VirtAddr) -> Result<Self, LinuxError> {
        let malformed = |why| LinuxError::Malformed {
            what: "kallsyms",
            at: raw.names_at,
            why,
        };
        if raw.num_syms == 0 || raw.num_syms > MAX_SYMBOLS {
            return Err(malformed("the number of symbols is out of range"));
        }
        let tokens = Tokens::new(&raw.token_table, &raw.token_index).ok_or(malformed(
            "token table and token index contradict each other",
        ))?;
        let mut this = Self {
            names: raw.names,
            tokens,
            entries: Vec::new(),
            lens: Vec::new(),
            addresses: Vec::new(),
            by_address: Vec::new(),
        };
        let names_end = this.index_names(raw.num_syms).map_err(malformed)?;
        if !this.markers_agree(names_end) {
            return Err(malformed("the markers do not point at every 256th name"));
        }
        this.names.truncate(names_end);
        this.addresses = this.addresses(&raw.addresses, stext).ok_or(malformed(
            "no rule for addresses puts _stext where VMCOREINFO has it",
        ))?;
        this.by_address = (0..raw.num_syms).collect();
        let addresses = &this.addresses;
        let address = |index: &u32| addresses.get(usize::try_from(*index).unwrap_or(usize::MAX));
        this.by_address.sort_by_key(|index| address(index));
        Ok(this)
    }

    /// How many symbols there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there is no symbol.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// All symbols in table order, which is that of `/proc/kallsyms`.
    pub fn iter(&self) -> impl Iterator<Item = Symbol> + '_ {
        let all = 0..u32::try_from(self.len()).unwrap_or(u32::MAX);
        let mut buffer = NameBuffer::new();
        all.filter_map(move |index| self.get_through(SymbolIndex(index), &mut buffer))
    }

    /// The symbol `index`.
    #[must_use]
    pub fn get(&self, index: SymbolIndex) -> Option<Symbol> {
        self.get_through(index, &mut NameBuffer::new())
    }

    fn get_through(&self, index: SymbolIndex, buffer: &mut NameBuffer) -> Option<Symbol> {
        let addr = self.address(index)?;
        let expanded = self.tokens.expand_into(self.compressed(index)?, buffer)?;
        let (letter, name) = expanded.split_first()?;
        Some(Symbol {
            addr,
            letter: char::from(*letter),
            name: String::from_utf8_lossy(name).into_owned(),
            module: None,
        })
    }

    /// Where the symbol `index` lies.
    #[must_use]
    pub fn address(&self, index: SymbolIndex) -> Option<VirtAddr> {
        self.addresses.get(usize::try_from(index.0).ok()?).copied()
    }

    /// All symbols called `name`, in table order: names are not unique (G26). O(n), but few names are
    /// expanded.
    pub fn find_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = SymbolIndex> + 'a {
        let len = name
            .len()
            .checked_add(1)
            .and_then(|len| u16::try_from(len).ok());
        let lens = self.lens.iter().zip(0_u32..);
        lens.filter(move |(have, _)| Some(**have) == len)
            .map(|(_, index)| SymbolIndex(index))
            .filter(move |index| {
                self.compressed(*index)
                    .is_some_and(|compressed| self.tokens.is_name(compressed, name.as_bytes()))
            })
    }

    /// The address of the first symbol called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<VirtAddr> {
        self.address(self.find_all(name).next()?)
    }

    /// The symbol at or below `addr`, the first of several at one address, and where the next one
    /// begins, if any does.
    #[must_use]
    pub fn nearest(&self, addr: VirtAddr) -> Option<(SymbolIndex, Option<VirtAddr>)> {
        let of = |index: &u32| self.address(SymbolIndex(*index)).unwrap_or_default();
        let behind = self.by_address.partition_point(|index| of(index) <= addr);
        let last = self.by_address.get(behind.checked_sub(1)?)?;
        let start = of(last);
        let first = self.by_address.partition_point(|index| of(index) < start);
        let next = self.by_address.get(behind).map(of);
        Some((SymbolIndex(*self.by_address.get(first)?), next))
    }

    fn compressed(&self, index: SymbolIndex) -> Option<&[u8]> {
        let (at, len) = *self.entries.get(usize::try_from(index.0).ok()?)?;
        let at = usize::try_from(at).ok()?;
        self.names.get(at..at.checked_add(usize::from(len))?)
    }

    /// Finds every name's place (G22); returns where the names end.
    fn index_names(&mut self, num_syms: u32) -> Result<usize, &'static str> {
        let (mut at, mut expanded_len) = (0_usize, 0_usize);
        for _ in 0..num_syms {
            let byte = |at: usize| self.names.get(at).copied().map(usize::from);
            let first = byte(at).ok_or("the names end too early")?;
            // A name of 128 bytes and more has two length bytes since 6.1; in 5.10 no name of that
            // length exists, since none is longer than 127 expanded.
            let (len, from) = match first < 0x80 {
                true => (first, at.saturating_add(1)),
                false => {
                    let high = byte(at.saturating_add(1)).ok_or("the names end too early")?;
                    (first & 0x7f | high << 7, at.saturating_add(2))
                }
            };
            let end = from.saturating_add(len);
            let compressed = self.names.get(from..end).ok_or("the names end too early")?;
            let expanded = self.tokens.expanded_len(compressed);
            if len == 0 || expanded < 2 || expanded > MAX_NAME_LEN.saturating_add(1) {
                return Err("a name has no length, or one beyond the limit");
            }
            expanded_len = expanded_len.saturating_add(expanded);
            if expanded_len > MAX_EXPANDED_LEN {
                return Err("the names are longer than those of any kernel");
            }
            let place = (u32::try_from(from).ok(), u16::try_from(len).ok());
            let ((Some(from), Some(len)), Ok(expanded)) = (place, u16::try_from(expanded)) else {
                return Err("a name lies beyond the limit");
            };
            self.entries.push((from, len));
            self.lens.push(expanded);
            at = end;
        }
        Ok(at)
    }

    /// Whether the markers behind the names point at every 256th name, under either alignment (G21).
    fn markers_agree(&self, names_end: usize) -> bool {
        let starts = || {
            let every = usize::try_from(SYMBOLS_PER_MARKER).unwrap_or(usize::MAX);
            // An entry's place is behind its length, of one byte or two.
            self.entries.iter().step_by(every).map(|(from, len)| {
                let prefix = if *len < 0x80 { 1 } else { 2 };
                from.saturating_sub(prefix)
            })
        };
        [8_usize, 4].iter().any(|align| {
            let markers = names_end.next_multiple_of(*align);
            starts().zip(0_usize..).all(|(start, index)| {
                let at = markers.saturating_add(index.saturating_mul(4));
                u32_at(&self.names, at) == Some(start)
            })
        })
    }

    /// The addresses, by the rule that puts `_stext` at `stext` (G24, G25).
    fn addresses(&self, raw: &RawAddresses, stext: VirtAddr) -> Option<Vec<VirtAddr>> {
        let rules = match raw {
            RawAddresses::Absolute(_) => [None, None],
            RawAddresses::Relative { base: Some(_), .. } => [
                Some(OffsetMeaning::AbsolutePercpu),
                Some(OffsetMeaning::Plain),
            ],
            RawAddresses::Relative { base: None, .. } => [Some(OffsetMeaning::PlaceRelative), None],
        };
        let count = self.entries.len();
        rules.iter().find_map(|rule| {
            let fits = self.find_all("_stext").any(|index| {
                let index = usize::try_from(index.0).unwrap_or(usize::MAX);
                raw.address(index, *rule) == Some(stext)
            });
            fits.then(|| (0..count).map(|index| raw.address(index, *rule)).collect())?
        })
    }
}

impl RawAddresses {
    fn address(&self, index: usize, meaning: Option<OffsetMeaning>) -> Option<VirtAddr> {
        let (offsets, at, base) = match self {
            Self::Absolute(addresses) => {
                let at = index.checked_mul(8)?;
                return u64_at(addresses, at).map(VirtAddr::new);
            }
            Self::Relative { offsets, at, base } => (offsets, at, base),
        };
        let place = index.checked_mul(4)?;
        let offset = i32_at(offsets, place)?;
        let signed = i64::from(offset).cast_unsigned();
        // WRAP: as the kernel computes them; a forged table gives addresses that are not mapped.
        Some(VirtAddr::new(match meaning? {
            OffsetMeaning::AbsolutePercpu if offset >= 0 => signed,
            OffsetMeaning::AbsolutePercpu => {
                base.as_ref()?.get().wrapping_sub(1).wrapping_sub(signed)
            }
            OffsetMeaning::Plain => base
                .as_ref()?
                .get()
                .wrapping_add(u64::from(offset.cast_unsigned())),
            OffsetMeaning::PlaceRelative => at
                .get()
                .wrapping_add(u64::try_from(place).ok()?)
                .wrapping_add(signed),
        }))
    }
}

impl core::fmt::Debug for Kallsyms {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Kallsyms")
            .field("symbols", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
