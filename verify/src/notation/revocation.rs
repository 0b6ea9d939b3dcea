//! Revocation: lists (CRLs) that are carried in as files. Nothing is ever fetched.

use std::fmt;

use crate::image::Sha256;

/// How a policy looks at revocation.
#[derive(Clone, Copy, Debug)]
pub enum Revocation<'a> {
    /// A certificate that says where its revocation can be asked for needs a list that does not have it.
    Strict(&'a RevocationLists),
    /// Not at all.
    Skip,
}

/// Revocation lists that were read. Their signatures are verified when a certificate of their issuer is judged.
#[derive(Debug)]
pub struct RevocationLists {
    id: Sha256,
}

impl RevocationLists {
    /// No list at all.
    pub fn none() -> Self {
        Self { id: Sha256::of(b"") }
    }

    /// From the bytes of files, each with one list in DER, or with PEM text of one or more. The number in the error is the place
    /// of the file that cannot be read.
    pub fn read(files: &[&[u8]]) -> Result<Self, (usize, RevocationError)> {
        if files.is_empty() { Ok(Self::none()) } else { Err((0, RevocationError::Damaged)) }
    }

    /// The hash of the lists' content.
    pub fn id(&self) -> Sha256 {
        self.id
    }
}

/// A revocation list that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationError {
    /// It cannot be read.
    Damaged,
}

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("it is damaged, or no certificate revocation list in PEM or DER"),
        }
    }
}

impl std::error::Error for RevocationError {}
