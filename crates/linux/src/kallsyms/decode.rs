use vread_addr::VirtAddr;

use super::SymbolIndex;
use super::tokens::{MAX_NAME_LEN, Tokens};
use crate::fields::{i32_at, u32_at, u64_at};
use crate::{LinuxError, Symbol};

/// The most symbols of an image (G31).
pub(super) const MAX_SYMBOLS: u32 = 1 << 20;
/// The most bytes of compressed names (G31).
pub(super) const MAX_NAMES_LEN: usize = 64 << 20;
/// A marker stands at every so many symbols (G20).
const SYMBOLS_PER_MARKER: u32 = 256;

/// The tables as they were copied out of the kernel's memory, nothing checked.
#[derive(Debug, Clone)]
pub(super) struct RawTables {
    /// `kallsyms_num_syms`.
    pub(super) num_syms: u32,
    /// Where `kallsyms_names` lies.
    pub(super) names_at: VirtAddr,
    /// `kallsyms_names`, and at least `kallsyms_markers` behind it.
    pub(super) names: Vec<u8>,
    /// `kallsyms_token_table` and anything behind it.
    pub(super) token_table: Vec<u8>,
    /// `kallsyms_token_index`.
    pub(super) token_index: Vec<u8>,
    /// `kallsyms_offsets` or `kallsyms_addresses`.
    pub(super) addresses: RawAddresses,
}

/// What addresses are made from (G24).
#[derive(Debug, Clone)]
pub(super) enum RawAddresses {
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
    pub(super) fn decode(raw: RawTables, stext: VirtAddr) -> Result<Self, LinuxError> {
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
        all.filter_map(|index| self.get(SymbolIndex(index)))
    }

    /// The symbol `index`.
    #[must_use]
    pub fn get(&self, index: SymbolIndex) -> Option<Symbol> {
        let addr = self.address(index)?;
        let mut expanded = Vec::with_capacity(32);
        for piece in self.tokens.expand(self.compressed(index)?) {
            expanded.extend_from_slice(piece);
        }
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
        let mut at = 0_usize;
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STEXT: VirtAddr = VirtAddr::new(0xffff_ffff_8100_0000);
    const BASE: VirtAddr = VirtAddr::new(0xffff_ffff_8100_0000);
    const AT: VirtAddr = VirtAddr::new(0xffff_ffff_8200_0000);

    /// Tables in which every token is one character, and token 1 is a long one.
    fn tokens() -> (Vec<u8>, Vec<u8>) {
        let (mut table, mut index) = (Vec::new(), Vec::new());
        for token in 0..=255_u8 {
            index.extend_from_slice(&(table.len() as u16).to_le_bytes());
            match token {
                0 => {}
                1 => table.extend_from_slice(&[b'x'; 200]),
                _ => table.push(token),
            }
            table.push(0);
        }
        (table, index)
    }

    fn encode(names: &[&[u8]], alignment: usize) -> Vec<u8> {
        let (mut bytes, mut markers) = (Vec::new(), Vec::new());
        for (index, name) in names.iter().enumerate() {
            if index % 256 == 0 {
                markers.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            }
            match name.len() {
                len @ 0..0x80 => bytes.push(len as u8),
                len => bytes.extend_from_slice(&[len as u8 | 0x80, (len >> 7) as u8]),
            }
            bytes.extend_from_slice(name);
        }
        bytes.resize(bytes.len().next_multiple_of(alignment), 0);
        bytes.extend_from_slice(&markers);
        bytes
    }

    fn raw(names: &[&[u8]], offsets: &[i32], base: Option<VirtAddr>) -> RawTables {
        let (token_table, token_index) = tokens();
        RawTables {
            num_syms: names.len() as u32,
            names_at: AT,
            names: encode(names, 8),
            token_table,
            token_index,
            addresses: RawAddresses::Relative {
                offsets: offsets
                    .iter()
                    .flat_map(|offset| offset.to_le_bytes())
                    .collect(),
                at: AT,
                base,
            },
        }
    }

    fn addresses(raw: RawTables) -> Result<Vec<u64>, LinuxError> {
        let decoded = Kallsyms::decode(raw, STEXT)?;
        Ok(decoded.iter().map(|symbol| symbol.addr.get()).collect())
    }

    fn why(raw: RawTables) -> &'static str {
        match Kallsyms::decode(raw, STEXT) {
            Err(LinuxError::Malformed { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn finds_the_rule_that_puts_stext_right() {
        // G24, G25: the four rules.
        let names: [&[u8]; 3] = [b"Apercpu", b"T_stext", b"tafter"];
        let percpu = raw(&names, &[0x1000, -1, -0x21], Some(BASE));
        assert_eq!(
            addresses(percpu),
            Ok(vec![0x1000, STEXT.get(), STEXT.get() + 0x20])
        );
        let below = VirtAddr::new(STEXT.get() - 0x9000_0000);
        let high = (0x9000_0000_u32).cast_signed();
        let plain = raw(&names, &[5, high, high + 0x20], Some(below));
        assert_eq!(
            addresses(plain),
            Ok(vec![below.get() + 5, STEXT.get(), STEXT.get() + 0x20])
        );
        let to_stext = i32::try_from(STEXT.get().cast_signed() - AT.get().cast_signed()).unwrap();
        let place = raw(&names, &[0, to_stext - 4, to_stext], None);
        assert_eq!(
            addresses(place),
            Ok(vec![AT.get(), STEXT.get(), STEXT.get() + 8])
        );
        let mut absolute = raw(&names, &[], None);
        let table = [7, STEXT.get(), STEXT.get() + 9];
        let bytes = table
            .iter()
            .flat_map(|addr: &u64| addr.to_le_bytes())
            .collect();
        absolute.addresses = RawAddresses::Absolute(bytes);
        assert_eq!(addresses(absolute), Ok(table.to_vec()));
        let wrong = raw(&names, &[0x1000, -2, -0x21], Some(BASE));
        assert!(why(wrong).contains("_stext"));
    }

    #[test]
    fn reads_names_of_128_bytes_and_more() {
        // G22: two length bytes.
        let long = [b'n'; 300];
        let mut name = vec![b't'];
        name.extend_from_slice(&long);
        let decoded =
            Kallsyms::decode(raw(&[b"T_stext", &name], &[-1, -2], Some(BASE)), STEXT).unwrap();
        let symbol = decoded.get(SymbolIndex(1)).unwrap();
        assert_eq!(symbol.name.as_bytes(), long);
        assert_eq!(decoded.find(&symbol.name), Some(symbol.addr));
    }

    #[test]
    fn finds_markers_under_both_alignments() {
        // G21: 8 up to 6.12, 4 in 7.2; more than one marker.
        let many = vec![b"tname".as_slice(); 600];
        let mut names: Vec<&[u8]> = vec![b"T_stext", b"tX"];
        names.extend(many);
        let offsets: Vec<i32> = (1..=602).map(|offset| -offset).collect();
        for alignment in [8, 4] {
            let mut raw = raw(&names, &offsets, Some(BASE));
            raw.names = encode(&names, alignment);
            let decoded = Kallsyms::decode(raw, STEXT).unwrap();
            assert_eq!(
                decoded.find_all("name").count(),
                600,
                "G26: names are not unique"
            );
        }
        let mut forged = raw(&names, &offsets, Some(BASE));
        let last = forged.names.len() - 2;
        *forged.names.get_mut(last).unwrap() ^= 1;
        assert!(why(forged).contains("marker"));
    }

    #[test]
    fn refuses_tables_beyond_the_limits() {
        // G31.
        let good = || raw(&[b"T_stext"], &[-1], Some(BASE));
        assert!(addresses(good()).is_ok());
        for num_syms in [0, MAX_SYMBOLS + 1, u32::MAX] {
            assert!(why(RawTables { num_syms, ..good() }).contains("number of symbols"));
        }
        assert!(
            why(RawTables {
                num_syms: 9,
                ..good()
            })
            .contains("name")
        );
        assert!(why(raw(&[b"T_stext", b""], &[-1, -2], Some(BASE))).contains("no length"));
        // Three tokens of 200 characters.
        assert!(why(raw(&[b"T_stext", b"t\x01\x01\x01"], &[-1, -2], Some(BASE))).contains("limit"));
        let mut twisted = good();
        *twisted.token_index.get_mut(20).unwrap() ^= 1;
        assert!(why(twisted).contains("token"));
        let mut short = good();
        short.token_table.truncate(300);
        assert!(why(short).contains("token"));
        let short = raw(&[b"T_stext", b"tx"], &[-1], Some(BASE));
        assert!(why(short).contains("_stext"));
    }

    #[test]
    fn names_an_address_by_the_first_of_several_symbols() {
        let names: [&[u8]; 4] = [b"T_stext", b"tone", b"ttwo", b"tthree"];
        let decoded =
            Kallsyms::decode(raw(&names, &[-1, -0x11, -0x11, -0x31], Some(BASE)), STEXT).unwrap();
        let nearest = |into: u64| {
            let (index, next) = decoded.nearest(VirtAddr::new(STEXT.get() + into))?;
            Some((
                decoded.get(index)?.name,
                next.map(|next| next.get() - STEXT.get()),
            ))
        };
        assert_eq!(nearest(0xf), Some(("_stext".to_owned(), Some(0x10))));
        assert_eq!(nearest(0x10), Some(("one".to_owned(), Some(0x30))));
        assert_eq!(nearest(0x1000), Some(("three".to_owned(), None)));
        assert_eq!(decoded.nearest(VirtAddr::new(STEXT.get() - 1)), None);
    }

    proptest! {
        #[test]
        fn any_tables_are_decoded_without_a_panic(
            names in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20),
            offsets in proptest::collection::vec(any::<i32>(), 0..20),
            base in any::<Option<u64>>(),
            forged in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..3),
            num_syms in proptest::option::of(0_u32..30),
        ) {
            let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
            let names: Vec<&[u8]> = [b"T_stext".as_slice()].into_iter().chain(names).collect();
            let offsets: Vec<i32> = [-1].into_iter().chain(offsets).collect();
            let mut raw = raw(&names, &offsets, Some(base.map_or(BASE, VirtAddr::new)));
            raw.num_syms = num_syms.unwrap_or(raw.num_syms);
            for (at, byte) in forged {
                let at = at % raw.names.len();
                *raw.names.get_mut(at).unwrap() = byte;
            }
            if let Ok(decoded) = Kallsyms::decode(raw, STEXT) {
                prop_assert_eq!(decoded.iter().count(), decoded.len());
                prop_assert!(decoded.find_all("_stext").count() > 0);
                let _ = decoded.nearest(STEXT);
            }
        }
    }
}
