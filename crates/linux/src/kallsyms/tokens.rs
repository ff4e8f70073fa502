use crate::fields::u16_at;

/// The longest token, and the longest name with its type letter (G23, G31).
pub(super) const MAX_TOKEN_LEN: usize = 511;
/// The longest name, without the type letter (G23).
pub(super) const MAX_NAME_LEN: usize = 511;
/// The bytes of `kallsyms_token_index`: 256 positions of two bytes.
pub(super) const TOKEN_INDEX_LEN: usize = 512;

/// Tokens up to this length are copied as a whole word; few are longer, and none is in many names.
const WORD: usize = 8;

/// The 256 strings that names are made of.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    text: Vec<u8>,
    /// Start and end of each token in `text`.
    spans: Vec<(u16, u16)>,
    /// Each token that is not longer than a word, with its length.
    words: Vec<Option<([u8; WORD], usize)>>,
}

/// Room for a name, its type letter, and the rest of the last word.
#[derive(Debug)]
pub(super) struct NameBuffer([u8; MAX_NAME_LEN + 1 + WORD]);

impl NameBuffer {
    pub(super) fn new() -> Self {
        Self([0; _])
    }
}

impl Tokens {
    /// Takes `kallsyms_token_table` (which may be longer than its strings) and `kallsyms_token_index`
    /// apart; `None` where they contradict each other: every position must be the start of the next
    /// string (G30).
    pub(super) fn new(table: &[u8], index: &[u8]) -> Option<Self> {
        let mut spans = Vec::with_capacity(256);
        let mut next = 0_usize;
        for token in 0..256_usize {
            let start = u16_at(index, token.checked_mul(2)?)?;
            if usize::from(start) != next {
                return None;
            }
            let rest = table.get(next..)?;
            let len = rest
                .iter()
                .take(MAX_TOKEN_LEN.saturating_add(1))
                .position(|b| *b == 0)?;
            let end = next.checked_add(len)?;
            spans.push((start, u16::try_from(end).ok()?));
            next = end.checked_add(1)?;
        }
        let word = |(start, end): &(u16, u16)| {
            let token = table.get(usize::from(*start)..usize::from(*end))?;
            let mut word = [0; WORD];
            word.get_mut(..token.len())?.copy_from_slice(token);
            Some((word, token.len()))
        };
        Some(Self {
            text: table.get(..next)?.to_vec(),
            words: spans.iter().map(word).collect(),
            spans,
        })
    }

    /// How long `compressed` is, expanded.
    pub(super) fn expanded_len(&self, compressed: &[u8]) -> usize {
        let len = |byte: &u8| {
            let (start, end) = self
                .spans
                .get(usize::from(*byte))
                .copied()
                .unwrap_or_default();
            usize::from(end.saturating_sub(start))
        };
        compressed.iter().map(len).sum()
    }

    /// The whole of `compressed`, expanded; none where it is longer than any name.
    pub(super) fn expand_into<'b>(
        &self,
        compressed: &[u8],
        buffer: &'b mut NameBuffer,
    ) -> Option<&'b [u8]> {
        let NameBuffer(buffer) = buffer;
        let mut at = 0_usize;
        for byte in compressed {
            let token = usize::from(*byte);
            let rest = buffer.get_mut(at..)?;
            let len = match self.words.get(token)? {
                Some((word, len)) => {
                    rest.first_chunk_mut().map(|to| *to = *word)?;
                    *len
                }
                None => {
                    let (start, end) = *self.spans.get(token)?;
                    let text = self.text.get(usize::from(start)..usize::from(end))?;
                    rest.get_mut(..text.len())?.copy_from_slice(text);
                    text.len()
                }
            };
            at = at.checked_add(len)?;
        }
        buffer.get(..at)
    }

    /// The pieces of `compressed`, expanded.
    fn expand<'a>(&'a self, compressed: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        compressed.iter().map(|byte| {
            let (start, end) = self
                .spans
                .get(usize::from(*byte))
                .copied()
                .unwrap_or_default();
            self.text
                .get(usize::from(start)..usize::from(end))
                .unwrap_or_default()
        })
    }

    /// Whether `compressed` expands to one type letter and then `name`.
    pub(super) fn is_name(&self, compressed: &[u8], name: &[u8]) -> bool {
        let mut rest = name;
        let mut letter = 1_usize;
        for piece in self.expand(compressed) {
            let (skipped, piece) = piece.split_at(letter.min(piece.len()));
            letter = letter.saturating_sub(skipped.len());
            match rest.strip_prefix(piece) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.is_empty()
    }
}
