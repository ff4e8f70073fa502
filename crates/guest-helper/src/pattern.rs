//! Memory of known content: the words both ends can make from a seed.
//!
//! Word `i` of a pattern depends on the seed and on `i` alone, so a reader that is off by one word,
//! page or seed sees a difference at once. The mixing is SplitMix64's.

/// Bytes in one word of a pattern.
pub const WORD_BYTES: u64 = 8;

/// Word `index` of the pattern of `seed`; in memory it is little endian.
#[must_use]
pub fn word(seed: u64, index: u64) -> u64 {
    let z = seed.wrapping_mul(0xd6e8_feb8_6659_fd93).wrapping_add(index);
    let z = z.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Fills `bytes` with the pattern of `seed` from its word `first` on; a last partial word is cut.
pub fn fill(seed: u64, first: u64, bytes: &mut [u8]) {
    for (chunk, index) in bytes.chunks_mut(WORD_BYTES as usize).zip(first..) {
        chunk.copy_from_slice(&word(seed, index).to_le_bytes()[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_resumes_at_any_word() {
        let mut whole = [0; 8192];
        fill(3, 0, &mut whole);
        let mut half = [0; 4096];
        fill(3, 512, &mut half);
        assert_eq!(whole[4096..], half);
    }

    #[test]
    fn cuts_the_last_word() {
        let mut bytes = [0; 11];
        fill(1, 0, &mut bytes);
        assert_eq!(bytes[8..], word(1, 1).to_le_bytes()[..3]);
    }

    #[test]
    fn neighbouring_seeds_and_words_differ() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..64 {
            for index in 0..512 {
                assert!(seen.insert(word(seed, index)), "seed {seed}, word {index}");
            }
        }
    }
}
