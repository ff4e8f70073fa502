//! Hashes that stand for bytes which stay on their side of the wire.
//!
//! The hash is XXH64 with seed 0: 64 bits, no key, fast without vector instructions (which an
//! emulated processor is slow at). It guards against mistakes, not against an adversary.

use std::io::{self, BufRead, Read};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

/// Hash of `bytes`.
#[must_use]
pub fn of(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

/// Whether no bit in `bytes` is set; true for no bytes at all.
#[must_use]
pub fn is_all_zero(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && tail.iter().all(|byte| *byte == 0)
}

/// A piece of a file, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Bytes in this piece.
    pub len: u64,
    /// [`of`] those bytes.
    pub hash: u64,
}

impl Chunk {
    fn of(bytes: &[u8]) -> Self {
        Self {
            len: bytes.len() as u64,
            hash: of(bytes),
        }
    }
}

/// One [`Chunk`] for each `lines` lines of `text`; the last one may have fewer.
///
/// # Errors
/// `lines` is 0, or `text` cannot be read.
pub fn line_chunks(mut text: impl BufRead, lines: u64) -> io::Result<Vec<Chunk>> {
    refuse_zero(lines)?;
    let mut chunks = Vec::new();
    let mut piece = Vec::new();
    loop {
        let mut read = 0;
        while read < lines && text.read_until(b'\n', &mut piece)? != 0 {
            read += 1;
        }
        if piece.is_empty() {
            return Ok(chunks);
        }
        chunks.push(Chunk::of(&piece));
        piece.clear();
    }
}

/// One [`Chunk`] for each `bytes` bytes of `file`; the last one may have fewer.
///
/// # Errors
/// `bytes` is 0, or `file` cannot be read.
pub fn byte_chunks(mut file: impl Read, bytes: u64) -> io::Result<Vec<Chunk>> {
    refuse_zero(bytes)?;
    let mut chunks = Vec::new();
    let mut piece = Vec::new();
    while file.by_ref().take(bytes).read_to_end(&mut piece)? != 0 {
        chunks.push(Chunk::of(&piece));
        piece.clear();
    }
    Ok(chunks)
}

fn refuse_zero(size: u64) -> io::Result<()> {
    if size == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a chunk must not be empty",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_xxh64_with_seed_zero() {
        // Published test values of XXH64: the empty input, and "abc".
        assert_eq!(of(b""), 0xef46_db37_51d8_e999);
        assert_eq!(of(b"abc"), 0x44bc_2cf5_ad77_0999);
    }

    #[test]
    fn sees_a_single_bit_in_word_and_tail() {
        for len in [1, 7, 8, 9, 64, 67] {
            assert!(is_all_zero(&vec![0; len]));
            for at in 0..len {
                let mut bytes = vec![0; len];
                bytes[at] = 0x80;
                assert!(!is_all_zero(&bytes), "bit in byte {at} of {len}");
            }
        }
        assert!(is_all_zero(&[]));
    }

    #[test]
    fn splits_at_lines_and_keeps_the_last_without_newline() {
        let chunks = line_chunks(&b"a\nbb\nccc\ndddd"[..], 2).unwrap();
        assert_eq!(chunks, [Chunk::of(b"a\nbb\n"), Chunk::of(b"ccc\ndddd")]);
        assert_eq!(
            line_chunks(&b"a\nb\n"[..], 2).unwrap(),
            [Chunk::of(b"a\nb\n")]
        );
        assert!(line_chunks(&b""[..], 2).unwrap().is_empty());
        line_chunks(&b"a"[..], 0).unwrap_err();
    }

    #[test]
    fn splits_at_bytes_and_keeps_a_short_last() {
        let chunks = byte_chunks(&b"abcde"[..], 2).unwrap();
        assert_eq!(
            chunks,
            [Chunk::of(b"ab"), Chunk::of(b"cd"), Chunk::of(b"e")]
        );
        assert_eq!(byte_chunks(&b"ab"[..], 2).unwrap(), [Chunk::of(b"ab")]);
        byte_chunks(&b"a"[..], 0).unwrap_err();
    }
}
