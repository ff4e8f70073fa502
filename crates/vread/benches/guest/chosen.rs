//! What the words on the command line choose.

/// Whether `name` is one of the words, or there is none. `cargo bench` adds a flag of its own, which is no word.
pub(crate) fn is_chosen(name: &str) -> bool {
    let words = std::env::args().skip(1);
    let mut words = words.filter(|word| !word.starts_with('-')).peekable();
    words.peek().is_none() || words.any(|word| word == name)
}
