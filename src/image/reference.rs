//! Image references (owned by the policy work): see the contract.

use super::{Digest, DigestError, Sha256};

/// A normalised image reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    name: String,
    host_len: usize,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises.
    pub fn parse(_text: &str) -> Result<Self, ReferenceError> {
        todo!()
    }
    /// Normalised name, `docker.io/library/nginx`.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The registry's host, with port.
    pub fn host(&self) -> &str {
        &self.name[..self.host_len]
    }
    /// The repository's path, without host.
    pub fn path(&self) -> &str {
        &self.name[self.host_len + 1..]
    }
    /// The tag: as given, or `latest` where neither tag nor digest is given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
    /// The digest, where one is given.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }
    /// `<name>@sha256:<hex>`.
    pub fn pinned_to(&self, digest: Sha256) -> String {
        format!("{}@{digest}", self.name)
    }
}

/// Why a reference was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceError {
    /// The digest is not one.
    Digest(DigestError),
}
