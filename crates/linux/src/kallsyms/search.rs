use memchr::memmem;
use vread_addr::{ByteLen, VirtAddr};

use super::Kallsyms;
use super::locate::{AddressPlaces, MAX_TOKEN_TABLE_LEN, Places};
use super::tokens::{TOKEN_INDEX_LEN, Tokens};
use crate::LinuxError;
use crate::image::{Image, Part};
use crate::virt_mem::VirtMem;

/// The ten digits are tokens of one character in every known image, one after another (G30).
const DIGITS: &[u8; 20] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00";
/// The token of the first digit.
const FIRST_DIGIT: usize = 0x30;
/// How far behind the digits the token index is looked for: the rest of the token table.
const MAX_TABLE_REST: usize = 4096;
/// How many places that look like the digits are tried; an image has a handful.
const MAX_HITS: usize = 64;
/// How many places that look like all tables are decoded.
const MAX_DECODED: usize = 4;
/// Labels are aligned to this up to 6.12; 7.2 has no need of a search.
const ALIGNMENT: usize = 8;
/// The most bytes of a name with its length, before long names (G22).
const MAX_NAME_ENTRY_LEN: usize = 129;
/// The most bytes of the names that one marker stands for.
const MAX_NAMES_OF_MARKER: usize = 256 * MAX_NAME_ENTRY_LEN;
/// The most markers: one for each 256 symbols.
const MAX_MARKERS: usize = 1 << 12;
/// The bytes before the digits in which the token table and the markers are.
const BEFORE_DIGITS: usize = MAX_TOKEN_TABLE_LEN + MAX_MARKERS * 4 + 2 * ALIGNMENT;
/// The bytes behind the digits in which the rest of the token table and the token index are.
const BEHIND_DIGITS: usize = MAX_TABLE_REST + ALIGNMENT + TOKEN_INDEX_LEN;

/// Finds the tables of a kernel that does not say where they are (before 6.1), by their shape (G30).
///
/// The order of 5.10 is taken for granted: offsets, their base, the number of symbols, names, markers,
/// token table, token index (G21).
pub(crate) fn search(
    virt: VirtMem<'_>,
    stext: VirtAddr,
    max_len: ByteLen,
) -> Result<Kallsyms, LinuxError> {
    let image = Image::new(virt, stext, max_len)?;
    let mut last = LinuxError::Needs {
        what: "a symbol table of the known shape in the image",
    };
    let (mut hits_left, mut decodings_left) = (MAX_HITS, MAX_DECODED);
    let found = image.find(DIGITS.len().saturating_sub(1), |part| {
        for index in memmem::find_iter(part.bytes(), DIGITS) {
            if hits_left == 0 || decodings_left == 0 {
                return Ok(None);
            }
            hits_left = hits_left.saturating_sub(1);
            let Some(places) = shape_at(&image, part.position(index))? else {
                continue;
            };
            decodings_left = decodings_left.saturating_sub(1);
            let decoded = places.read(virt);
            match decoded.and_then(|raw| Kallsyms::decode(raw, stext)) {
                Ok(kallsyms) => return Ok(Some(kallsyms)),
                Err(LinuxError::Source(failure)) => return Err(failure.into()),
                Err(error) => last = error,
            }
        }
        Ok(None)
    })?;
    found.ok_or(last)
}

/// Where the tables lie if the digits' tokens are at `hit` in the image.
fn shape_at(image: &Image<'_>, hit: usize) -> Result<Option<Places>, LinuxError> {
    let around = image.part(
        hit.saturating_sub(BEFORE_DIGITS),
        hit.saturating_add(BEHIND_DIGITS),
    )?;
    let Some((token_table, token_index)) = token_tables(&around, hit) else {
        return Ok(None);
    };
    for markers in markers_before(&around, token_table) {
        if let Some((num_syms, count, names)) = names_before(image, markers)? {
            let places = || {
                let offsets_len = usize::try_from(count).ok()?.checked_mul(4)?;
                let base = num_syms.checked_sub(8)?;
                let offsets = base.checked_sub(offsets_len.checked_next_multiple_of(ALIGNMENT)?)?;
                Some(Places {
                    num_syms: image.addr(num_syms)?,
                    names: image.addr(names)?,
                    token_table: image.addr(token_table)?,
                    token_index: image.addr(token_index)?,
                    addresses: AddressPlaces::Relative(
                        image.addr(offsets)?,
                        Some(image.addr(base)?),
                    ),
                })
            };
            return Ok(places());
        }
    }
    Ok(None)
}

/// Token table and index around the digits at `hit`: the index follows within a page, its digits are two
/// bytes apart, and each of its positions is the start of a string.
fn token_tables(around: &Part, hit: usize) -> Option<(usize, usize)> {
    let end = hit.checked_add(MAX_TABLE_REST)?;
    let first = hit.checked_next_multiple_of(ALIGNMENT)?;
    (first..end).step_by(ALIGNMENT).find_map(|index| {
        let digit = |n: usize| {
            around.u16_at(index.checked_add(FIRST_DIGIT.checked_add(n)?.checked_mul(2)?)?)
        };
        let start = digit(0)?;
        let apart = (1..10).all(|n| {
            let gap = u16::try_from(n).unwrap_or(u16::MAX).checked_mul(2);
            gap.and_then(|gap| start.checked_add(gap)) == digit(n)
        });
        if !apart || around.u16_at(index) != Some(0) {
            return None;
        }
        let table = hit.checked_sub(usize::from(start))?;
        let index_bytes = around.get(index, index.checked_add(TOKEN_INDEX_LEN)?)?;
        let table_end = table.checked_add(MAX_TOKEN_TABLE_LEN)?.min(index);
        Tokens::new(around.get(table, table_end)?, index_bytes).map(|_| (table, index))
    })
}

/// The markers: where they begin, how many they are, the second and the last of them.
#[derive(Clone, Copy)]
struct Markers {
    at: usize,
    count: usize,
    second: usize,
    last: usize,
}

/// The markers that may end at `end`, which may be followed by 4 bytes of padding.
///
/// Markers ascend, from 0; going back from their end, the first number that does not descend is outside
/// of them.
fn markers_before(around: &Part, end: usize) -> impl Iterator<Item = Markers> {
    [4_usize, 8].into_iter().filter_map(move |back| {
        let mut at = end.checked_sub(back)?;
        let last = around.u32_at(at)?;
        let mut value = last;
        let mut count = 1_usize;
        while value != 0 && count < MAX_MARKERS {
            at = at.checked_sub(4)?;
            let before = around.u32_at(at).filter(|before| *before < value)?;
            value = before;
            count = count.checked_add(1)?;
        }
        let second = around.u32_at(at.checked_add(4)?)?;
        (value == 0 && count > 2).then_some(Markers {
            at,
            count,
            second: usize::try_from(second).ok()?,
            last: usize::try_from(last).ok()?,
        })
    })
}

/// Where the number of symbols stands, what it is, and where the names begin, before the markers.
///
/// How far the names reach is known only from the markers themselves: the number of symbols before them
/// must fit the number of markers, and the second marker must be where 256 names end.
fn names_before(
    image: &Image<'_>,
    markers: Markers,
) -> Result<Option<(usize, u32, usize)>, LinuxError> {
    // Names end at most one alignment before the markers, and are at most what the last marker leaves
    // for 256 of them.
    let Some(high) = markers.at.checked_sub(markers.last) else {
        return Ok(None);
    };
    let low = high.saturating_sub(MAX_NAMES_OF_MARKER);
    let Some(first) = low.checked_next_multiple_of(ALIGNMENT) else {
        return Ok(None);
    };
    let names = image.part(
        first.saturating_sub(ALIGNMENT),
        high.saturating_add(MAX_NAMES_OF_MARKER),
    )?;
    Ok((first..=high).step_by(ALIGNMENT).find_map(|at| {
        let num_syms = at.checked_sub(ALIGNMENT)?;
        let symbols = names.u32_at(num_syms)?;
        let padding = names.u32_at(num_syms.checked_add(4)?)?;
        let fits = usize::try_from(symbols).ok()?.div_ceil(256) == markers.count && padding == 0;
        (fits && ends_after_256_names(&names, at) == Some(markers.second))
            .then_some((num_syms, symbols, at))
    }))
}

/// How many bytes the first 256 names at `names` have.
fn ends_after_256_names(part: &Part, names: usize) -> Option<usize> {
    let mut at = names;
    for _ in 0..256 {
        let len = usize::from(part.u8_at(at)?);
        at = at.checked_add(len)?.checked_add(1)?;
    }
    at.checked_sub(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forged::{ForgedRam, virt};
    use crate::image::MAX_IMAGE_LEN;
    use crate::kallsyms::forge::tables_of_5_10;
    use proptest::prelude::*;

    const STEXT: u64 = 0xffff_ffff_8100_0000;

    /// Tables, and bytes of no meaning behind them.
    fn image(count: usize, lead: usize) -> Vec<u8> {
        let mut image = tables_of_5_10(count, lead, STEXT);
        image.resize(image.len() + 9000, 0xee);
        image
    }

    fn find(image: &[u8]) -> Result<Kallsyms, LinuxError> {
        let mut ram = ForgedRam::new(96);
        let pages = image.len().div_ceil(4096) as u64;
        for page in 0..pages {
            ram.map(STEXT + page * 4096, 0x8000 + page * 4096);
        }
        ram.put(0x8000, image);
        search(virt(&ram.open()), VirtAddr::new(STEXT), MAX_IMAGE_LEN)
    }

    #[test]
    fn finds_the_tables_by_their_shape() {
        // G30; three markers and more, on both sides of a full one.
        for count in [513, 700, 767, 768, 769, 2000] {
            let found = find(&image(count, 0x2010)).unwrap();
            assert_eq!(found.len(), count);
            let last = format!("symbol_{}", count - 1);
            assert_eq!(
                found.find(&last).map(|addr| addr.get()),
                Some(STEXT + 16 * (count as u64 - 1))
            );
        }
    }

    #[test]
    fn passes_over_digits_that_are_no_tokens() {
        let mut image = image(600, 0x2010);
        let place = image.get_mut(0x100..0x100 + DIGITS.len()).unwrap();
        place.copy_from_slice(DIGITS);
        assert_eq!(find(&image).unwrap().len(), 600);
    }

    #[test]
    fn says_that_nothing_was_found() {
        assert!(matches!(find(&[0xee; 9000]), Err(LinuxError::Needs { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_change_to_the_tables_is_survived(
            changes in proptest::collection::vec((0x2010_usize..0x7000, any::<u8>()), 1..6),
        ) {
            let mut image = image(600, 0x2010);
            for (at, byte) in changes {
                if let Some(place) = image.get_mut(at) {
                    *place = byte;
                }
            }
            let _ = find(&image);
        }
    }
}
