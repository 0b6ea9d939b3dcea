//! Why the signatures of an image do not count, as far as a message has room for them.

use std::fmt;

use crate::image::Sha256;
use crate::not_counted::NotCounted;

/// The most different reasons that are kept.
const MAX_REASONS: usize = 4;

/// Why signatures do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// The manifest, the reason, and for how many signatures of that manifest it is the same. Only the first few different ones.
    pub first: Vec<(Sha256, NotCounted, usize)>,
    /// How many signatures have other reasons than these.
    pub more: usize,
    /// Was a signature not verified? Then nobody can say whether the image is signed as required.
    pub is_incomplete: bool,
}

impl Reasons {
    /// Adds a signature that does not count, and the manifest that it was found in.
    pub(crate) fn add(&mut self, manifest: Sha256, reason: NotCounted) {
        self.is_incomplete |= matches!(reason, NotCounted::NotVerified);
        let words = reason.to_string();
        let is_same = |at: Sha256, known: &NotCounted| at == manifest && known.to_string() == words;
        if let Some((_, _, times)) = self.first.iter_mut().find(|(at, known, _)| is_same(*at, known)) {
            *times += 1;
        } else if self.first.len() < MAX_REASONS {
            self.first.push((manifest, reason, 1));
        } else {
            self.more += 1;
        }
    }
}

/// What follows the beginning of a message.
impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (manifest, reason, times) in &self.first {
            write!(f, "; signature manifest {manifest}: {reason}")?;
            if *times > 1 {
                write!(f, " ({times} times)")?;
            }
        }
        if self.more > 0 {
            write!(f, "; and {} more signatures do not count", self.more)?;
        }
        Ok(())
    }
}
