//! Texts with stars. A star stands for any number of characters. Matching never backtracks.

use std::fmt;

/// Literal pieces with a star between each two of them. A glob of one piece has no star.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    pieces: Vec<Box<str>>,
}

impl Glob {
    /// Any text is a glob. Several stars in a row are one star.
    pub fn new(text: &str) -> Self {
        let mut pieces: Vec<Box<str>> = text.split('*').map(Box::from).collect();
        let last = pieces.len() - 1; // `split` gives at least one piece
        let mut index = 0;
        pieces.retain(|piece| {
            let inner = index != 0 && index != last;
            index += 1;
            !(inner && piece.is_empty())
        });
        Self { pieces }
    }

    /// Does it match the whole text? The time is linear in the lengths of both: each piece is taken where it occurs first, and
    /// the text before it is not looked at again. If the rest matches behind a later occurrence, it also matches behind the
    /// first one.
    pub fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.pieces.as_slice() else {
            return self.literal() == Some(text);
        };
        let Some(mut rest) = text.strip_prefix(&**first).and_then(|rest| rest.strip_suffix(&**last)) else {
            return false;
        };
        for piece in middle {
            let Some((_, after)) = rest.split_once(&**piece) else {
                return false;
            };
            rest = after;
        }
        true
    }

    /// Does it match every text that the other matches? Each star of the other is replaced by a character that no pattern has. Only
    /// a star can match this character, and that star matches any text in its place.
    pub fn covers(&self, other: &Self) -> bool {
        self.matches(&other.probe())
    }

    /// The text that another glob matches only if it covers this one ([`Self::covers`]), to compare several with it.
    pub fn probe(&self) -> String {
        self.filled("\0")
    }

    /// The number of stars. Several in a row are one.
    pub fn stars(&self) -> usize {
        self.pieces.len().saturating_sub(1)
    }

    /// The text with each star replaced.
    pub fn filled(&self, text: &str) -> String {
        self.pieces.join(text)
    }

    /// The text before the first star.
    pub fn before_star(&self) -> &str {
        self.pieces.first().map_or("", |piece| piece)
    }

    /// The whole text, if it has no star.
    pub fn literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The number of characters that are not a star.
    pub fn literals(&self) -> usize {
        self.pieces.iter().map(|piece| piece.chars().count()).sum()
    }

    /// Does it match every text?
    pub fn is_everything(&self) -> bool {
        self.literals() == 0 && self.literal().is_none()
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                f.write_str("*")?;
            }
            f.write_str(piece)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every glob and text of a small alphabet, against the obvious recursive matcher.
    #[test]
    fn agrees_with_the_obvious_matcher() {
        fn obvious(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern, text) {
                ([], []) => true,
                ([b'*', p @ ..], _) if obvious(p, text) => true,
                ([b'*', ..], [_, t @ ..]) => obvious(pattern, t),
                ([p, ps @ ..], [t, ts @ ..]) => p == t && obvious(ps, ts),
                _ => false,
            }
        }
        fn words(alphabet: &[char], longest: usize) -> Vec<String> {
            let mut all = vec![String::new()];
            let mut from = 0;
            for _ in 0..longest {
                let to = all.len();
                for index in from..to {
                    all.extend(alphabet.iter().map(|c| format!("{}{c}", all[index])).collect::<Vec<_>>());
                }
                from = to;
            }
            all
        }
        let texts = words(&['a', 'b'], 6);
        for pattern in words(&['a', 'b', '*'], 5) {
            let glob = Glob::new(&pattern);
            for text in &texts {
                assert_eq!(glob.matches(text), obvious(pattern.as_bytes(), text.as_bytes()), "{pattern:?} {text:?}");
            }
        }
        // One glob covers another if it matches all that the other matches.
        let patterns: Vec<Glob> = words(&['a', 'b', '*'], 4).iter().map(|pattern| Glob::new(pattern)).collect();
        let texts = words(&['a', 'b', 'c'], 5);
        let matched: Vec<Vec<bool>> =
            patterns.iter().map(|glob| texts.iter().map(|text| glob.matches(text)).collect()).collect();
        for (one, by_one) in patterns.iter().zip(&matched) {
            for (other, by_other) in patterns.iter().zip(&matched) {
                let covers = by_one.iter().zip(by_other).all(|(one, other)| *one || !*other);
                assert_eq!(one.covers(other), covers, "{one} {other}");
            }
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let glob = Glob::new(&"*a".repeat(100_000));
        assert!(!glob.matches(&format!("{}b", "a".repeat(200_000))));
        assert!(glob.matches(&"a".repeat(200_000)));
    }
}
