//! The verdict on one image: of a check, of a rule, or of all rules together.

use std::sync::Arc;

use crate::schemes::{Check, Freshness, Refusal, Verified};

/// The verdict on one image.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The policy requires no signature.
    Unchecked,
    /// The image is signed as the policy requires.
    Verified(Box<Verified>),
    /// The policy or the signature data rejects the image.
    Rejected {
        /// A fixed word for metrics and logs.
        code: &'static str,
        /// What is wrong and what to do. All images that one rule denies share the text.
        reason: Arc<str>,
    },
    /// The checks could not be made.
    Unavailable {
        /// A fixed word for metrics and logs.
        code: &'static str,
        /// What was tried and what failed.
        reason: Arc<str>,
    },
}

/// The code of [`Verdict::Unavailable`] where no check names a better one.
pub(super) const TRUST_SERVER: &str = "trust-server";

impl Verdict {
    /// Is it against the image?
    pub fn is_bad(&self) -> bool {
        self.reason().is_some()
    }

    /// The reason in words, if it is against the image.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Rejected { reason, .. } | Self::Unavailable { reason, .. } => Some(reason),
            Self::Unchecked | Self::Verified(_) => None,
        }
    }

    /// The reason, to replace it.
    pub(super) fn reason_mut(&mut self) -> Option<&mut Arc<str>> {
        match self {
            Self::Rejected { reason, .. } | Self::Unavailable { reason, .. } => Some(reason),
            Self::Unchecked | Self::Verified(_) => None,
        }
    }

    /// The verdict as a fixed word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Verified(_) => "verified",
            Self::Rejected { .. } => "rejected",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// The reason as a fixed word; for a verified image, how fresh the data is.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unchecked => "policy",
            Self::Verified(verified) => match verified.freshness {
                Freshness::Fetched => "fetched",
                Freshness::Cached => "remembered",
                Freshness::Stale { .. } => "stood-in",
            },
            Self::Rejected { code, .. } | Self::Unavailable { code, .. } => code,
        }
    }
}

impl Verdict {
    pub(super) fn of(check: &Check, result: Result<Verified, Refusal>) -> Self {
        match result {
            Ok(verified) => Self::Verified(Box::new(verified)),
            Err(Refusal::Rejected { code, message }) => Self::Rejected { code, reason: message.into() },
            Err(Refusal::Unavailable(unavailable)) => {
                let code = match check {
                    Check::NotaryV1(_) => TRUST_SERVER,
                    Check::Cosign(_) | Check::Notation(_) => "registry",
                };
                Self::Unavailable { code, reason: unavailable.message.into() }
            }
        }
    }
}
