//! Why an image's signatures do not meet a requirement: who is missing, and why each signature did not count.

use std::fmt;

use super::not_counted::{NotCounted, quoted};
use crate::image::Sha256;

/// The most different reasons that are kept.
const MAX_REASONS: usize = 4;
/// The most names in a message.
const MAX_NAMES: usize = 8;

/// The image is not signed as required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureRejection {
    /// The names of the signers without a signature that counts.
    pub missing: Vec<String>,
    /// How many of the signers have signed.
    pub signed: usize,
    /// How many of them must have signed.
    pub required: usize,
    /// How many signatures were looked at.
    pub found: usize,
    /// Why signatures did not count: the manifest, the reason, and for how many signatures of that manifest it is the same. Only
    /// the first few different ones.
    pub reasons: Vec<(Sha256, NotCounted, usize)>,
    /// How many signatures have other reasons than these.
    pub more: usize,
    /// Was a signature not verified under all keys? Then nobody can say whether the image is signed as required.
    pub is_incomplete: bool,
}

impl SignatureRejection {
    pub(super) fn new(
        missing: Vec<String>,
        signed: usize,
        required: usize,
        found: usize,
        not_counted: impl Iterator<Item = (Sha256, NotCounted)>,
    ) -> Self {
        let mut rejection =
            Self { missing, signed, required, found, reasons: Vec::new(), more: 0, is_incomplete: false };
        for (manifest, reason) in not_counted {
            rejection.is_incomplete |= reason == NotCounted::NotVerified;
            let reasons = &mut rejection.reasons;
            if let Some((_, _, times)) = reasons.iter_mut().find(|(at, known, _)| *at == manifest && *known == reason) {
                *times += 1;
            } else if reasons.len() < MAX_REASONS {
                reasons.push((manifest, reason, 1));
            } else {
                rejection.more += 1;
            }
        }
        rejection
    }
}

impl fmt::Display for SignatureRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signed, required, .. } = self;
        let missing = names(&self.missing);
        let of = signed + self.missing.len();
        if of == 1 {
            write!(f, "it is not signed by {missing}")?;
        } else {
            write!(f, "it is signed by {signed} of {of} signers, and {required} must have signed; not by {missing}")?;
        }
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

impl std::error::Error for SignatureRejection {}

/// A list of names, not longer than a message may have.
pub(super) fn names(names: &[String]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        if index == MAX_NAMES {
            text.push_str(&format!(" and {} more", names.len() - MAX_NAMES));
            break;
        }
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&quoted(name));
    }
    text
}
