//! Numbers for tests and benches to choose by: the words of a pattern, one after another.

use crate::pattern;

/// The same numbers for the same seed.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    index: u64,
}

impl Random {
    /// The numbers that follow from `seed`; every seed is good.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, index: 0 }
    }

    /// The next number, any of 64 bits.
    pub fn word(&mut self) -> u64 {
        let word = pattern::word(self.seed, self.index);
        self.index = self.index.wrapping_add(1);
        word
    }

    /// The next number, below `limit`.
    ///
    /// # Panics
    /// `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.word() % limit
    }
}
