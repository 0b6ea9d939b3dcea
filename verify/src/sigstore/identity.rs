//! Whom a policy names: a key, or an identity that a certificate must have.

use std::fmt;

use super::key::SigstoreKey;
use crate::image::{Glob, Sha256};
use crate::text::printable;

/// The most bytes of an issuer or a subject in a policy.
const MAX_TEXT: usize = 1024;
/// The most stars in one of them.
const MAX_STARS: usize = 8;

/// Whom a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// The owner of this key.
    Key(SigstoreKey),
    /// A certificate with this identity.
    Identity(Identity),
}

impl SignedBy {
    /// Equal for the same key, and for the same identity, and for nothing else.
    pub fn id(&self) -> Sha256 {
        match self {
            Self::Key(key) => key.id(),
            Self::Identity(identity) => identity.id,
        }
    }

    /// The key, if it is one.
    pub fn key(&self) -> Option<&SigstoreKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::Identity(_) => None,
        }
    }

    /// The identity, if it is one.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Key(_) => None,
            Self::Identity(identity) => Some(identity),
        }
    }
}

/// An identity that a certificate must have: its issuer and its subject, exactly or with `*` for any characters. Each matches
/// the whole text of the certificate, and never a part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    issuer: Glob,
    subject: Glob,
    id: Sha256,
}

impl Identity {
    /// Both must be there: half an identity is everybody's (SCHEMES.md, row 74).
    pub fn new(issuer: &str, subject: &str) -> Result<Self, IdentityError> {
        let read = |field: &'static str, text: &str| {
            let wrong = |what| Err(IdentityError { field, what });
            let glob = Glob::new(text);
            if text.is_empty() {
                return wrong("it is empty, and an identity needs both an issuer and a subject");
            }
            if glob.is_everything() {
                return wrong(match field {
                    "issuer" => "\"*\" alone is not allowed: name the issuer",
                    _ => "\"*\" alone is not allowed: name the subject",
                });
            }
            if text.len() > MAX_TEXT || glob.stars() > MAX_STARS {
                return wrong("it is longer than 1024 bytes, or has more than 8 stars");
            }
            if printable(text, MAX_TEXT) != text {
                return wrong("it has characters that cannot be seen");
            }
            Ok(glob)
        };
        let id = Sha256::of_parts([issuer.as_bytes(), b"\0", subject.as_bytes()]);
        Ok(Self { issuer: read("issuer", issuer)?, subject: read("subject", subject)?, id })
    }

    /// That of every certificate. No policy can have it: it is for people who want to see who has signed.
    pub fn anybody() -> Self {
        let any = || Glob::new("*");
        Self { issuer: any(), subject: any(), id: Sha256::of(b"*") }
    }

    /// Is it that of every certificate?
    pub fn is_anybody(&self) -> bool {
        self.issuer.is_everything() && self.subject.is_everything()
    }

    /// The issuer as the policy has it.
    pub fn issuer(&self) -> String {
        self.issuer.to_string()
    }

    /// The subject as the policy has it.
    pub fn subject(&self) -> String {
        self.subject.to_string()
    }

    pub(super) fn matches(&self, issuer: &str, subject: &str) -> bool {
        self.issuer.matches(issuer) && self.subject.matches(subject)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {})", self.issuer, self.subject)
    }
}

/// An identity that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityError {
    /// `issuer` or `subject`.
    pub field: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.what)
    }
}

impl std::error::Error for IdentityError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_row_074_never_half_an_identity() {
        for (issuer, subject, field) in [
            ("", "https://git.plant.example/build.yml", "issuer"),
            ("https://issuer.plant.example", "", "subject"),
            ("*", "https://git.plant.example/build.yml", "issuer"),
            ("https://issuer.plant.example", "**", "subject"),
            ("https://issuer.plant.example\n", "a", "issuer"),
            ("https://issuer.plant.example", "*a*b*c*d*e*f*g*h*i", "subject"),
        ] {
            let error = Identity::new(issuer, subject).unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.to_string().starts_with(field));
        }
        assert!(Identity::new("https://issuer.plant.example", &"a".repeat(1025)).is_err());
    }

    #[test]
    fn scheme_row_075_exactly_or_by_an_anchored_star() {
        let issuer = "https://issuer.plant.example";
        let build = "https://git.plant.example/line-1/build.yml@refs/tags/v1";
        for (subject, matches) in [
            (build, true),
            ("https://git.plant.example/line-1/build.yml@refs/tags/*", true),
            ("https://git.plant.example/*/build.yml@refs/tags/*", true),
            ("git.plant.example/line-1/build.yml@refs/tags/v1", false),
            ("git.plant.example/*", false),
            ("https://git.plant.example/line-1/build.yml", false),
            ("https://git.plant.example/line-1/build.yml@refs/tags/V1", false),
        ] {
            let identity = Identity::new(issuer, subject).unwrap();
            assert_eq!(identity.matches(issuer, build), matches, "{subject}");
            assert_eq!(identity.matches(issuer, &format!("{build}\n")), matches && subject.ends_with('*'), "{subject}");
            assert!(!identity.matches("https://issuer.plant.example/", build));
            assert_eq!((identity.issuer().as_str(), identity.subject().as_str()), (issuer, subject));
        }
        let mail = Identity::new(issuer, "release@plant.example").unwrap();
        assert!(!mail.matches(issuer, "Release@plant.example") && !mail.matches(issuer, "release@plant.example.evil"));
        let same = SignedBy::Identity(mail.clone());
        assert_eq!(same.id(), SignedBy::Identity(Identity::new(issuer, "release@plant.example").unwrap()).id());
        let other = Identity::new(issuer, "release@plant.exampl*").unwrap();
        assert_ne!(same.id(), SignedBy::Identity(other).id());
    }
}
