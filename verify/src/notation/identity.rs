//! Trusted identities: `x509.subject: C=US, ST=WA, O=Plant`, or `*` for every signer that the trust stores know.

use std::fmt;

/// A signer that a policy trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(Vec<(&'static str, String)>);

impl Identity {
    /// Reads one as notation's trust policies have it.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let _ = text;
        Err(IdentityError::Prefix)
    }
}

/// An identity that cannot be used. `Display` says what is wrong, and what belongs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// It is neither `*` nor a subject.
    Prefix,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => {
                f.write_str("an identity is \"*\", or \"x509.subject: \" and a subject such as C=US, ST=WA, O=Plant")
            }
        }
    }
}

impl std::error::Error for IdentityError {}
