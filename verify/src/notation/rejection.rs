//! Why no Notation signature of an image meets a requirement.

use std::fmt;

use super::not_counted::NotCounted;
use crate::image::Sha256;

/// The most different reasons that are kept.
const MAX_REASONS: usize = 4;

/// The image is not signed as required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// How many signatures were looked at.
    pub found: usize,
    /// Why signatures did not count: the manifest, the reason, and for how many signatures of that manifest it is the same. Only
    /// the first few different ones.
    pub reasons: Vec<(Sha256, NotCounted, usize)>,
    /// How many signatures have other reasons than these.
    pub more: usize,
}

impl Rejection {
    /// Adds a signature that does not count.
    pub fn add(&mut self, manifest: Sha256, reason: NotCounted) {
        self.found += 1;
        if let Some((_, _, times)) = self.reasons.iter_mut().find(|(at, known, _)| *at == manifest && *known == reason)
        {
            *times += 1;
        } else if self.reasons.len() < MAX_REASONS {
            self.reasons.push((manifest, reason, 1));
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it has no Notation signature that counts")?;
        for (manifest, reason, times) in &self.reasons {
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

impl std::error::Error for Rejection {}
