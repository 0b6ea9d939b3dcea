//! The details of an image's signatures, for messages and for people.

use std::sync::Arc;

use jiff::Timestamp;

use super::requirement::{Required, Requirement, SignedImage};
use crate::schemes::Finding;
use crate::schemes::evidence::Record;
use portreeve_verify::notation::{Envelope, Revocation};

/// What an image was verified by.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The image and its signatures.
    pub(super) record: Arc<Record>,
    /// The tag that the digest was found by.
    pub(super) tag: Option<String>,
    /// The place that says so, in words.
    pub(super) place: String,
    pub(super) required: Required,
}

impl Signed {
    /// What the digest is, in words: `the digest that tag v1 has at https://registry.local:9001`.
    pub fn statement(&self) -> String {
        match &self.tag {
            Some(tag) => format!("the digest that tag {tag} has at {}", self.place),
            None => "the digest that the image names".to_owned(),
        }
    }

    /// When the signatures that count end, if they ever do: the first that its signer let expire, the first certificate, and the
    /// first revocation list.
    pub fn expires(&self) -> Vec<(String, Timestamp)> {
        let Record { image, manifest, signatures, .. } = &*self.record;
        let (image, required) = (SignedImage { image, manifest: manifest.as_deref() }, self.required.as_ref());
        let counted = signatures.iter().filter(|signature| required.counts(image, signature));
        let envelopes: Vec<&Envelope> = counted.filter_map(|signature| signature.notation()).collect();
        let expiry = envelopes.iter().filter_map(|envelope| envelope.expires()).min();
        let certificate = envelopes.iter().map(|envelope| envelope.ends()).min();
        let list = match required {
            Requirement::Notation(required, effort) => match required.as_ref(effort).revocation {
                Revocation::Strict(lists) => envelopes.iter().filter_map(|one| one.revocation_ends(lists)).min(),
                Revocation::Skip => None,
            },
            Requirement::Cosign(..) => None,
        };
        let ends = [("signature", expiry), ("certificate", certificate), ("revocation list", list)];
        let known = ends.into_iter().filter_map(|(what, at)| Some((what, Timestamp::from_second(at?).ok()?)));
        known.map(|(what, at)| (what.to_owned(), at)).collect()
    }

    /// Whom the certificates of the signatures name, each once: issuer and subject.
    pub fn identities(&self) -> Vec<(String, String)> {
        let Record { image, manifest, signatures, .. } = &*self.record;
        let image = SignedImage { image, manifest: manifest.as_deref() };
        let Requirement::Cosign(requirement) = self.required.as_ref() else { return Vec::new() };
        let mut found = Vec::new();
        for signature in signatures.iter().filter_map(|signature| signature.sigstore()) {
            if let Some(identity) = requirement.identity_of(image.into(), signature)
                && !found.contains(&identity)
            {
                found.push(identity);
            }
        }
        found
    }

    /// The signatures, one by one.
    pub fn findings(&self) -> Vec<Finding> {
        let Record { image, manifest, signatures, .. } = &*self.record;
        let (image, required) = (SignedImage { image, manifest: manifest.as_deref() }, self.required.as_ref());
        signatures.iter().filter_map(|signature| required.finding(image, signature)).collect()
    }
}
