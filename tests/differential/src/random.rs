//! Choices that are the same in each run.

use std::env;

/// A generator (xorshift64). One with the same seed makes the same choices.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// `salt` tells the generators of one run apart. `PORTREEVE_SEED` makes other choices.
    pub fn new(salt: u64) -> Self {
        let seed = number("PORTREEVE_SEED").unwrap_or(1);
        let mut random = Self((seed << 8 ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.below(2);
        }
        random
    }

    /// A number from 0 to `end` - 1; 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end.max(1)
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// Yes, once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// How many inputs there are to be: so many times `PORTREEVE_ROUNDS`.
pub fn rounds(usual: usize) -> usize {
    usual * usize::try_from(number("PORTREEVE_ROUNDS").unwrap_or(1)).unwrap()
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}
