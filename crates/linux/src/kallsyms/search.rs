use memchr::memmem;
use vread_addr::{ByteLen, VirtAddr};
use vread_vmalloc::PageRun;

use super::Kallsyms;
use super::locate::{AddressPlaces, MAX_TOKEN_TABLE_LEN, Places};
use super::tokens::{TOKEN_INDEX_LEN, Tokens};
use crate::LinuxError;
use crate::fields::{u16_at, u32_at};
use crate::virt_mem::VirtMem;

/// The most bytes of an image that are searched: twice what the largest known one has.
pub(super) const MAX_IMAGE_LEN: ByteLen = ByteLen::new(128 << 20);
/// The ten digits are tokens of one character in every known image, one after another (G30).
const DIGITS: &[u8; 20] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00";
/// The token of the first digit.
const FIRST_DIGIT: usize = 0x30;
/// How far behind the digits the token index is looked for: the rest of the token table.
const MAX_TABLE_REST: usize = 4096;
/// How many places that look like the digits are tried; an image has a handful. What one of them costs
/// is bounded by the image's length, and that is much.
const MAX_HITS: usize = 64;
/// How many places that look like all tables are decoded.
const MAX_DECODED: usize = 4;
/// Labels are aligned to this up to 6.12; 7.2 has no need of a search.
const ALIGNMENT: usize = 8;
/// The most bytes of a name with its length, before long names (G22).
const MAX_NAME_ENTRY_LEN: usize = 129;
/// The most markers: one for each 256 symbols.
const MAX_MARKERS: usize = 1 << 12;

/// Finds the tables of a kernel that does not say where they are (before 6.1), by their shape (G30).
///
/// The order of 5.10 is taken for granted: offsets, their base, the number of symbols, names, markers,
/// token table, token index (G21).
pub(crate) fn search(
    virt: VirtMem<'_>,
    stext: VirtAddr,
    max_len: ByteLen,
) -> Result<Kallsyms, LinuxError> {
    let image = read_image(virt, stext, max_len)?;
    let mut last = LinuxError::Needs {
        what: "a symbol table of the known shape in the image",
    };
    let hits = memmem::find_iter(&image, DIGITS).take(MAX_HITS);
    let shapes = hits.filter_map(|hit| shape_at(&image, stext, hit));
    for places in shapes.take(MAX_DECODED) {
        match places
            .read(virt)
            .and_then(|raw| Kallsyms::decode(raw, stext))
        {
            Ok(kallsyms) => return Ok(kallsyms),
            Err(LinuxError::Source(failure)) => return Err(failure.into()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The image from `stext` on. What is not mapped in it (the parts that are freed after boot) is zeros.
fn read_image(virt: VirtMem<'_>, stext: VirtAddr, max_len: ByteLen) -> Result<Vec<u8>, LinuxError> {
    /// Holes in an image are small; a larger one is its end.
    const MAX_HOLE: ByteLen = ByteLen::new(16 << 20);
    let mut image = Vec::new();
    loop {
        let done = ByteLen::from_usize(image.len());
        let left = max_len.saturating_sub(done);
        let (Some(at), false) = (stext.checked_add(done), left.is_zero()) else {
            return Ok(image);
        };
        match virt.table.translate_run(virt.mem, at, left)? {
            PageRun::Mapped { phys, len } => {
                let start = image.len();
                let end = start.saturating_add(len.to_usize_clamped());
                image.resize(end, 0);
                let part = image.get_mut(start..end).unwrap_or_default();
                // The end of the mapping may lie beyond the end of RAM.
                match crate::virt_mem::read_phys(virt.mem, phys, part) {
                    Err(LinuxError::Source(failure)) => return Err(failure.into()),
                    Err(_) => {
                        image.truncate(start);
                        return Ok(image);
                    }
                    Ok(()) => {}
                }
            }
            PageRun::Hole { len } if len <= MAX_HOLE => {
                image.resize(image.len().saturating_add(len.to_usize_clamped()), 0);
            }
            PageRun::Hole { .. } => return Ok(image),
        }
    }
}

/// Where the tables lie if the digits' tokens are at `hit` in the image.
fn shape_at(image: &[u8], stext: VirtAddr, hit: usize) -> Option<Places> {
    let (token_table, token_index) = token_tables(image, hit)?;
    let markers_end = token_table;
    let (num_syms, names) = names_before(image, markers_end)?;
    let offsets_len = usize::try_from(u32_at(image, num_syms)?)
        .ok()?
        .checked_mul(4)?;
    let base = num_syms.checked_sub(8)?;
    let offsets = base.checked_sub(offsets_len.checked_next_multiple_of(ALIGNMENT)?)?;
    let place = |at: usize| stext.checked_add(ByteLen::from_usize(at));
    Some(Places {
        num_syms: place(num_syms)?,
        names: place(names)?,
        token_table: place(token_table)?,
        token_index: place(token_index)?,
        addresses: AddressPlaces::Relative(place(offsets)?, Some(place(base)?)),
    })
}

/// Token table and index around the digits at `hit`: the index follows within a page, its digits are two
/// bytes apart, and each of its positions is the start of a string.
fn token_tables(image: &[u8], hit: usize) -> Option<(usize, usize)> {
    let end = hit.checked_add(MAX_TABLE_REST)?;
    let first = hit.checked_next_multiple_of(ALIGNMENT)?;
    (first..end).step_by(ALIGNMENT).find_map(|index| {
        let digit = |n: usize| {
            u16_at(
                image,
                index.checked_add(FIRST_DIGIT.checked_add(n)?.checked_mul(2)?)?,
            )
        };
        let start = digit(0)?;
        let apart = (1..10).all(|n| {
            let gap = u16::try_from(n).unwrap_or(u16::MAX).checked_mul(2);
            gap.and_then(|gap| start.checked_add(gap)) == digit(n)
        });
        if !apart || u16_at(image, index) != Some(0) {
            return None;
        }
        let table = hit.checked_sub(usize::from(start))?;
        let index_bytes = image.get(index..index.checked_add(TOKEN_INDEX_LEN)?)?;
        let table_bytes = image.get(table..table.checked_add(MAX_TOKEN_TABLE_LEN)?.min(index))?;
        Tokens::new(table_bytes, index_bytes).map(|_| (table, index))
    })
}

/// The number of symbols and the names, before the markers that end at `markers_end`.
///
/// Markers ascend, from 0; going back from their end, the first number that does not descend is outside
/// of them. How far the names reach is then known only from the markers themselves: the number of symbols
/// before them must fit the number of markers, and the last marker must lie in the names.
fn names_before(image: &[u8], markers_end: usize) -> Option<(usize, usize)> {
    // The table may be followed by 4 bytes of padding.
    [4_usize, 8].iter().find_map(|back| {
        let mut at = markers_end.checked_sub(*back)?;
        let last = u32_at(image, at)?;
        let mut value = last;
        let mut count = 1_usize;
        while value != 0 && count < MAX_MARKERS {
            at = at.checked_sub(4)?;
            let before = u32_at(image, at).filter(|before| *before < value)?;
            value = before;
            count = count.checked_add(1)?;
        }
        (value == 0 && count > 2).then_some(())?;
        // Names end at most one alignment before the markers, and are at most what the last marker
        // leaves for 256 of them.
        let last = usize::try_from(last).ok()?;
        let low = at.saturating_sub(last.checked_add(256 * MAX_NAME_ENTRY_LEN)?);
        let high = at.checked_sub(last)?;
        let first = low.checked_next_multiple_of(ALIGNMENT)?;
        (first..=high).step_by(ALIGNMENT).find_map(|names| {
            let num_syms = names.checked_sub(ALIGNMENT)?;
            let symbols = usize::try_from(u32_at(image, num_syms)?).ok()?;
            let padding = u32_at(image, num_syms.checked_add(4)?)?;
            let fits = symbols.div_ceil(256) == count && padding == 0;
            // The second marker tells whether 256 names end there.
            let second = u32_at(image, at.checked_add(4)?)?;
            (fits && ends_after_256_names(image, names) == usize::try_from(second).ok())
                .then_some((num_syms, names))
        })
    })
}

/// How many bytes the first 256 names at `names` have.
fn ends_after_256_names(image: &[u8], names: usize) -> Option<usize> {
    let mut at = names;
    for _ in 0..256 {
        let len = usize::from(*image.get(at)?);
        at = at.checked_add(len)?.checked_add(1)?;
    }
    at.checked_sub(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forged::{ForgedRam, virt};
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
