//! The plant of the support crate, and its signatures as they are read here.

use std::sync::Arc;

pub(super) use portreeve_test_support::cosign::plant::*;
use serde_json::Value;

use super::*;

/// Reads what was signed.
pub(super) trait Read {
    fn read(&self) -> Result<Signature, NotCounted>;
}

impl Read for Signing {
    fn read(&self) -> Result<Signature, NotCounted> {
        raw_bundle(self.bundle.to_string().into_bytes())
    }
}

/// A signer of a policy with this identity.
pub(super) fn identity(issuer: &str, subject: &str) -> Signer {
    let by = crate::sigstore::SignedBy::Identity(crate::sigstore::Identity::new(issuer, subject).unwrap());
    Signer { name: "ci".to_owned(), by }
}

pub(super) fn read_root(root: &Value) -> Arc<crate::sigstore::TrustedRoot> {
    Arc::new(crate::sigstore::TrustedRoot::read(root.to_string().as_bytes()).unwrap())
}
