//! What a rule requires, with all its keys, kept after the request: for messages and for people.

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_verify::image::Sha256;
use portreeve_verify::sigstore::{Requirement, Signer, TrustedRoot};

/// What a rule requires.
#[derive(Clone, Debug)]
pub(in crate::schemes) struct Required {
    signers: Vec<Signer>,
    threshold: Option<usize>,
    annotations: BTreeMap<String, String>,
    repository: Option<String>,
    trusted_root: Option<Arc<TrustedRoot>>,
    log_required: bool,
    sct_required: bool,
    now: i64,
}

impl From<Requirement<'_>> for Required {
    fn from(requirement: Requirement<'_>) -> Self {
        Self {
            signers: requirement.signers.to_vec(),
            threshold: requirement.threshold,
            annotations: requirement.annotations.clone(),
            repository: requirement.repository.map(str::to_owned),
            trusted_root: requirement.trusted_root.cloned(),
            log_required: requirement.log_required,
            sct_required: requirement.sct_required,
            now: requirement.now,
        }
    }
}

impl Required {
    pub(in crate::schemes) fn as_ref(&self) -> Requirement<'_> {
        Requirement {
            threshold: self.threshold,
            repository: self.repository.as_deref(),
            trusted_root: self.trusted_root.as_ref(),
            log_required: self.log_required,
            sct_required: self.sct_required,
            now: self.now,
            ..Requirement::new(&self.signers, &self.annotations)
        }
    }
}

/// The hash of a requirement with all its keys and its trusted root.
pub(in crate::schemes) fn id(requirement: &Requirement<'_>) -> Sha256 {
    let threshold = requirement.threshold.map_or(0, |threshold| threshold.saturating_add(1)).to_le_bytes();
    let signers = requirement.signers;
    let ids: Vec<_> = signers.iter().map(|signer| signer.by.id()).collect();
    let signers = signers.iter().zip(&ids).flat_map(|(signer, id)| [signer.name.as_bytes(), id.as_bytes().as_slice()]);
    let annotations = requirement.annotations.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let same: &[u8] = if requirement.repository.is_some() { b"same" } else { b"" };
    let count = ids.len().to_le_bytes();
    let flags = [u8::from(requirement.log_required), u8::from(requirement.sct_required)];
    let root = requirement.trusted_root.map(|root| root.id());
    let root = root.as_ref().map_or(&[][..], |id| id.as_bytes());
    let head = [same, threshold.as_slice(), count.as_slice(), flags.as_slice(), root];
    Sha256::of_parts(head.into_iter().chain(signers).chain(annotations))
}
