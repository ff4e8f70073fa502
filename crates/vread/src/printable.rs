use std::fmt::{self, Write as _};

/// A target's text, safe for a terminal: control characters, of which escape sequences are made, are
/// written as `\u{…}`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                // A tab moves the cursor and no more; /proc/kallsyms has one before a module's name.
                '\t' => f.write_char(character)?,
                _ if character.is_control() => write!(f, "{}", character.escape_unicode())?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_obeys() {
        let text = "a\u{1b}[31mb\u{9b}c\u{7}\td\u{e9}";
        assert_eq!(
            Printable(text).to_string(),
            "a\\u{1b}[31mb\\u{9b}c\\u{7}\tdé"
        );
    }
}
