//! What a rule requires, with all its keys, kept after the request: for messages and for people.

use std::collections::BTreeMap;

use portreeve_verify::image::Sha256;
use portreeve_verify::sigstore::{Requirement, Signer};

/// What a rule requires.
#[derive(Clone, Debug)]
pub(in crate::schemes) struct Required {
    signers: Vec<Signer>,
    threshold: Option<usize>,
    annotations: BTreeMap<String, String>,
    repository: Option<String>,
}

impl From<Requirement<'_>> for Required {
    fn from(requirement: Requirement<'_>) -> Self {
        Self {
            signers: requirement.signers.to_vec(),
            threshold: requirement.threshold,
            annotations: requirement.annotations.clone(),
            repository: requirement.repository.map(str::to_owned),
        }
    }
}

impl Required {
    pub(in crate::schemes) fn as_ref(&self) -> Requirement<'_> {
        Requirement {
            threshold: self.threshold,
            repository: self.repository.as_deref(),
            ..Requirement::new(&self.signers, &self.annotations)
        }
    }
}

/// The hash of a requirement with all its keys.
pub(in crate::schemes) fn id(requirement: &Requirement<'_>) -> Sha256 {
    let threshold = requirement.threshold.map_or(0, |threshold| threshold.saturating_add(1)).to_le_bytes();
    let signers = requirement.signers;
    let ids: Vec<_> = signers.iter().map(|signer| signer.by.id()).collect();
    let signers = signers.iter().zip(&ids).flat_map(|(signer, id)| [signer.name.as_bytes(), id.as_bytes().as_slice()]);
    let annotations = requirement.annotations.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let same: &[u8] = if requirement.repository.is_some() { b"same" } else { b"" };
    let count = ids.len().to_le_bytes();
    let head = [same, threshold.as_slice(), count.as_slice()];
    Sha256::of_parts(head.into_iter().chain(signers).chain(annotations))
}
