use std::{
    fmt::{self, Write as _},
    io,
};

/// A target's text, safe for a terminal: what a terminal obeys is written as `\u{…}`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(self.0) {
            return f.write_str(self.0);
        }
        for character in self.0.chars() {
            match character {
                // A tab moves the cursor and no more; /proc/kallsyms has one before a module's name.
                '\t' => f.write_char(character)?,
                _ if is_obeyed(character) => write!(f, "{}", character.escape_unicode())?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// A stream of words, such as a log, whose lines may quote a target: what a terminal obeys is escaped,
/// but for the ends of lines.
#[derive(Debug)]
pub(crate) struct PrintableLines<W>(pub(crate) W);

impl<W: io::Write> io::Write for PrintableLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (index, line) in String::from_utf8_lossy(bytes).split('\n').enumerate() {
            if index > 0 {
                self.0.write_all(b"\n")?;
            }
            write!(self.0, "{}", Printable(line))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether `text` is nothing but visible ASCII, as nearly all of a kernel's words are, of which there are many: told
/// much sooner than what a terminal obeys.
pub(crate) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Whether a terminal does something at `character` instead of showing it: control characters, of which
/// escape sequences are made; line and paragraph separators; and the characters that change the
/// direction of the text around them, by which a name could make a line read as another one.
pub(crate) fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
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

    #[test]
    fn keeps_the_lines_of_a_log() {
        let mut out = Vec::new();
        let mut log = PrintableLines(&mut out);
        io::Write::write_all(&mut log, b"a\x1b[2J\nb\xff\n").unwrap();
        assert_eq!(out, "a\\u{1b}[2J\nb\u{fffd}\n".as_bytes());
    }

    #[test]
    fn escapes_what_turns_text_around() {
        let text = "a\u{202e}b\u{2066}c\u{200f}d\u{61c}e\u{2028}f\u{2069}";
        assert_eq!(
            Printable(text).to_string(),
            "a\\u{202e}b\\u{2066}c\\u{200f}d\\u{61c}e\\u{2028}f\\u{2069}"
        );
    }
}
