//! Tables made up for tests and for fuzzing.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "numbers of its own, never a target's"
)]

/// The tables of 5.10, in its order, `lead` bytes behind the start of an image: `_stext` and symbols
/// `symbol_1` to `symbol_{count - 1}`, 16 bytes apart.
pub(crate) fn tables_of_5_10(count: usize, lead: usize, stext: u64) -> Vec<u8> {
    let mut image = vec![0xee; lead];
    for symbol in 0..count {
        image.extend_from_slice(&(-1 - 16 * symbol as i32).to_le_bytes());
    }
    image.resize(image.len().next_multiple_of(8), 0);
    image.extend_from_slice(&stext.to_le_bytes());
    image.extend_from_slice(&(count as u64).to_le_bytes());
    let (names, mut markers) = (image.len(), Vec::new());
    for symbol in 0..count {
        if symbol % 256 == 0 {
            markers.extend_from_slice(&((image.len() - names) as u32).to_le_bytes());
        }
        let name = match symbol {
            0 => "T_stext".to_owned(),
            _ => format!("tsymbol_{symbol}"),
        };
        image.push(name.len() as u8);
        image.extend_from_slice(name.as_bytes());
    }
    image.resize(image.len().next_multiple_of(8), 0);
    image.extend_from_slice(&markers);
    image.resize(image.len().next_multiple_of(8), 0);
    let (table, mut index) = (image.len(), Vec::new());
    for token in 0..=255_u8 {
        index.extend_from_slice(&((image.len() - table) as u16).to_le_bytes());
        // Tokens that no name uses are longer ones in a real table.
        match token {
            0 => image.extend_from_slice(b"__"),
            _ => image.push(token),
        }
        image.push(0);
    }
    image.resize(image.len().next_multiple_of(8), 0);
    image.extend_from_slice(&index);
    image
}
