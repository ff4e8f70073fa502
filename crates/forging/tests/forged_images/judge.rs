//! What output may contain.

/// Why a terminal would do something other than show `output`, if it would.
pub(crate) fn obeyed(output: &[u8]) -> Option<String> {
    let text = match str::from_utf8(output) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            return Some(format!("bytes that are no text: {}", around(output, at)));
        }
    };
    let bad = |character: char| match character {
        '\n' | '\t' => false,
        // C0, DEL and C1; directions; the ends of lines and paragraphs.
        _ => {
            character.is_control()
                || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}')
                || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        }
    };
    let at = match text.is_ascii() {
        // Most output, and that is long.
        true => output
            .iter()
            .position(|byte| !matches!(byte, b' '..=b'~' | b'\n' | b'\t')),
        false => text.find(bad),
    };
    at.map(|at| format!("a character that terminals obey: {}", around(output, at)))
}

fn around(output: &[u8], at: usize) -> String {
    let start = at.saturating_sub(60);
    let end = (at + 30).min(output.len());
    output[start..end].escape_ascii().to_string()
}
