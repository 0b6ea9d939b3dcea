//! Why an image's signatures do not meet a requirement: who is missing, and why each signature did not count.

use std::fmt;

use crate::not_counted::quoted;
use crate::reasons::Reasons;

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
    /// Why each signature did not count.
    pub reasons: Reasons,
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
        self.reasons.fmt(f)
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
