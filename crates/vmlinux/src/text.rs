//! Names that a target made up, on their way into a file that debuggers print from.

/// The name with every byte that is no printable ASCII replaced by `_`: neither a terminal nor a format
/// whose strings end with NUL is to be surprised.
pub(crate) fn printable(name: &[u8]) -> String {
    let printable = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '_',
    };
    name.iter().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_what_a_terminal_would_obey() {
        assert_eq!(printable(b"a\x1b[2Jb\0\xc3\xa9"), "a_[2Jb___");
        assert_eq!(printable(b"long unsigned int"), "long unsigned int");
    }
}
