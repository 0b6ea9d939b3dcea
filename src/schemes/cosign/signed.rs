//! The details of an image's signatures, for messages and for people.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rule::Rule;
use crate::schemes::Finding;
use portreeve_verify::image::Sha256;
use portreeve_verify::sigstore::{Requirement, Signature, SignatureFormat, SignedImage, Signer};

/// What an image was verified by.
#[derive(Clone, Debug)]
pub struct Signed {
    pub(super) digest: Sha256,
    pub(super) manifest: Option<Arc<[u8]>>,
    /// The tag that the digest was found by.
    pub(super) tag: Option<String>,
    /// The place that says so, in words.
    pub(super) place: String,
    pub(super) signatures: Vec<Arc<Signature>>,
    pub(super) required: Required,
}

/// What a rule requires, with all its keys.
#[derive(Clone, Debug)]
pub(super) struct Required {
    signers: Vec<Signer>,
    threshold: Option<usize>,
    annotations: BTreeMap<String, String>,
    repository: Option<String>,
}

impl Signed {
    /// What the digest is, in words: `the digest that tag v1 has at https://registry.local:9001`.
    pub fn statement(&self) -> String {
        match &self.tag {
            Some(tag) => format!("the digest that tag {tag} has at {}", self.place),
            None => "the digest that the image names".to_owned(),
        }
    }

    /// The signatures, one by one.
    pub fn findings(&self) -> Vec<Finding> {
        let image = SignedImage { digest: self.digest, manifest: self.manifest.as_deref() };
        let required = self.required.as_ref();
        self.signatures.iter().map(|signature| finding(&required, image, signature)).collect()
    }
}

impl Required {
    pub(super) fn new(rule: &Rule, signers: &[Signer], repository: &str) -> Self {
        Self {
            signers: signers.to_vec(),
            threshold: rule.threshold,
            annotations: rule.annotations.clone(),
            repository: rule.same_repository.then(|| repository.to_owned()),
        }
    }

    fn as_ref(&self) -> Requirement<'_> {
        Requirement {
            signers: &self.signers,
            threshold: self.threshold,
            annotations: &self.annotations,
            repository: self.repository.as_deref(),
        }
    }
}

/// A signature, and who made it or why it does not count.
pub(super) fn finding(required: &Requirement<'_>, image: SignedImage<'_>, signature: &Signature) -> Finding {
    let kind = match signature.format() {
        SignatureFormat::Layer => "signature",
        SignatureFormat::Bundle => "bundle",
    };
    let (signers, passed_over) = match required.signers_of(image, signature) {
        Ok(signers) => (signers, None),
        Err(why) => (Vec::new(), Some(why.to_string())),
    };
    Finding { signature: format!("{kind} in {}", signature.manifest()), signers, passed_over }
}
