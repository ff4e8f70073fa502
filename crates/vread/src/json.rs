//! JSON that a terminal shows as it is.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use crate::printable::{is_obeyed, is_plain};

/// Writes `value` in one line, without the line's end.
pub(crate) fn write(out: &mut dyn Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(
        out,
        Harmless(CompactFormatter),
    ))
}

/// Writes `value` in indented lines, without the last line's end.
pub(crate) fn write_pretty(out: &mut dyn Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(
        out,
        Harmless(PrettyFormatter::new()),
    ))
}

/// Writes an array with one element on each line.
pub(crate) fn array(
    out: &mut dyn Write,
    items: impl IntoIterator<Item = impl Serialize>,
) -> io::Result<()> {
    out.write_all(b"[")?;
    for (index, item) in items.into_iter().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        write(out, &item)?;
    }
    out.write_all(b"\n]\n")
}

/// Writes strings so that no character in them is one that a terminal obeys: `serde_json` itself escapes
/// those below the space only. What a program reads from it is the same.
struct Harmless<F>(F);

impl<F: Formatter> Formatter for Harmless<F> {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if is_plain(fragment) {
            return out.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, character)) = rest.char_indices().find(|(_, c)| is_obeyed(*c)) {
            let (before, from) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = from.get(character.len_utf8()..).unwrap_or_default();
        }
        out.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_key(out)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_obeys_and_means_the_same() {
        let text = "\u{1b}a\u{7f}\u{9b}31m\u{202e}é\u{2067}\"\\ \u{10ffff}\n";
        for write in [
            |out: &mut Vec<u8>, value: &[&str]| write(out, &value),
            |out: &mut Vec<u8>, value: &[&str]| write_pretty(out, &value),
        ] {
            let mut out = Vec::new();
            write(&mut out, &[text, ""]).unwrap();
            let out = String::from_utf8(out).unwrap();
            let shown = out.replace('\n', "");
            assert!(!shown.chars().any(is_obeyed), "{out}");
            let back: Vec<String> = serde_json::from_str(&out).unwrap();
            assert_eq!(back, [text, ""]);
        }
    }
}
