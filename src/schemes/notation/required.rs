//! What a rule requires, with the certificates of its trust stores, kept after the request: for messages and for people.

use std::sync::Arc;

use jiff::Timestamp;

use super::rule::Rule;
use super::stores::Stores;
use portreeve_verify::Effort;
use portreeve_verify::image::Sha256;
use portreeve_verify::notation::{Requirement, Revocation, TrustStores};

/// What a rule requires at one time.
#[derive(Clone, Debug)]
pub(crate) struct Required {
    pub(super) rule: Arc<Rule>,
    /// The certificates of the rule's stores.
    pub(super) trusted: Arc<TrustStores>,
    /// The site's stores, which have the revocation lists.
    pub(super) stores: Arc<Stores>,
    pub(crate) now: Timestamp,
}

impl Required {
    pub(in crate::schemes) fn as_ref<'a>(&'a self, effort: Effort<'a>) -> Requirement<'a> {
        Requirement {
            stores: &self.trusted,
            identities: &self.rule.identities,
            after_cert_expiry_only: self.rule.after_cert_expiry_only,
            revocation: match self.rule.skips_revocation {
                true => Revocation::Skip,
                false => Revocation::Strict(self.stores.revocation()),
            },
            metadata: &self.rule.metadata,
            effort,
        }
    }

    /// The hash of all of it but the time.
    pub(in crate::schemes) fn id(&self) -> Sha256 {
        let Rule { stores, identity_texts, metadata, .. } = &*self.rule;
        let names: Vec<String> = stores.iter().map(ToString::to_string).collect();
        let flags = [u8::from(self.rule.after_cert_expiry_only), u8::from(self.rule.skips_revocation)];
        let counts = [names.len(), identity_texts.len()].map(usize::to_le_bytes);
        let id = self.stores.id();
        let head = [b"notation".as_slice(), id.as_bytes().as_slice(), flags.as_slice()].into_iter();
        let texts = names.iter().chain(identity_texts).map(String::as_bytes);
        let metadata = metadata.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        Sha256::of_parts(head.chain(counts.iter().map(<[u8; 8]>::as_slice)).chain(texts).chain(metadata))
    }
}
