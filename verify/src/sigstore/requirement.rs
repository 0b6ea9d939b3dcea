//! What a policy requires of an image's signatures, and whether they meet it.

use std::collections::BTreeMap;

use super::claim::Subject;
use super::key::SigstoreKey;
use super::not_counted::{NotCounted, quoted};
use super::rejection::{SignatureRejection, names};
use super::signature::{Signature, SignatureFormat};
use crate::image::Sha256;
use crate::verified::VerifiedDigest;

/// A signer of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Its name in the policy.
    pub name: String,
    /// Its key. If several signers of one requirement have the same key, the first alone counts.
    pub key: SigstoreKey,
}

/// The image that signatures are to be about.
#[derive(Clone, Copy, Debug)]
pub struct SignedImage<'a> {
    /// Its digest.
    pub digest: Sha256,
    /// Its manifest's bytes, if they are at hand: a bundle with a message signature is over them.
    pub manifest: Option<&'a [u8]>,
}

/// What a policy requires.
#[derive(Clone, Copy, Debug)]
pub struct Requirement<'a> {
    /// The signers.
    pub signers: &'a [Signer],
    /// How many of them must have signed; `None` for all.
    pub threshold: Option<usize>,
    /// Annotations that each signature that counts must have signed.
    pub annotations: &'a BTreeMap<String, String>,
    /// The repository that the signed `docker-reference` must name, in one spelling: `registry.local:9001/plant/plc`. Only the
    /// old format has one.
    pub repository: Option<&'a str>,
}

/// The image is signed as required.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The digest.
    pub digest: VerifiedDigest,
    /// The names of the requirement's signers that signed it, in the requirement's order.
    pub signers: Vec<String>,
}

/// What a signature says that the policy does not want. It borrows, so that deciding takes no memory.
enum Unmet<'a> {
    Annotation { name: &'a str, required: &'a str, found: Option<&'a str> },
    Repository { required: &'a str },
}

impl Requirement<'_> {
    /// Do these signatures meet the requirement? Signers count once, whatever the number of their signatures.
    pub fn verify(&self, image: SignedImage<'_>, signatures: &[&Signature]) -> Result<Accepted, SignatureRejection> {
        let mut signers = Vec::new();
        let mut missing = Vec::new();
        for (index, signer) in self.signers.iter().enumerate() {
            let is_first = self.signers.iter().take(index).all(|earlier| earlier.key.id() != signer.key.id());
            if is_first && signatures.iter().any(|signature| self.is_signed_by(image, signature, signer)) {
                signers.push(signer.name.clone());
            } else {
                missing.push(signer);
            }
        }
        // Without signers nothing is signed: never less than one.
        let required = self.threshold.unwrap_or(self.signers.len()).max(1);
        if signers.len() >= required {
            return Ok(Accepted { digest: VerifiedDigest::new(image.digest), signers });
        }
        let reasons = signatures.iter().filter_map(|signature| {
            let reason = self.signers_of(image, signature).err()?;
            Some((signature.manifest(), reason))
        });
        let missing = missing.into_iter().map(|signer| signer.name.clone()).collect();
        Err(SignatureRejection::new(missing, signers.len(), required, signatures.len(), reasons))
    }

    /// The signers whose signature this is, or why it does not count. For people: `verify` decides.
    pub fn signers_of(&self, image: SignedImage<'_>, signature: &Signature) -> Result<Vec<String>, NotCounted> {
        signature.is_about(image)?;
        let mut signers = Vec::new();
        for signer in self.signers {
            if signature.verifies(&signer.key, image)? {
                signers.push(signer.name.clone());
            }
        }
        if signers.is_empty() {
            return Err(self.by_nobody(signature));
        }
        let by = || names(&signers);
        match self.unmet(image, signature) {
            None => Ok(signers),
            Some(Unmet::Annotation { name, required, found }) => Err(NotCounted::Annotation {
                by: by(),
                name: quoted(name),
                required: quoted(required),
                found: found.map(quoted),
            }),
            Some(Unmet::Repository { required }) => Err(NotCounted::Repository {
                by: by(),
                required: required.to_owned(),
                found: signature.claim().repository.clone(),
                is_bundle: signature.format() == SignatureFormat::Bundle,
            }),
        }
    }

    /// Has this signer made a signature that counts?
    fn is_signed_by(&self, image: SignedImage<'_>, signature: &Signature, signer: &Signer) -> bool {
        signature.is_about(image).is_ok()
            && self.unmet(image, signature).is_none()
            && matches!(signature.verifies(&signer.key, image), Ok(true))
    }

    /// What the signature says of this image that the policy does not want.
    fn unmet<'s>(&'s self, image: SignedImage<'_>, signature: &'s Signature) -> Option<Unmet<'s>> {
        let claim = signature.claim();
        if let Some(required) = self.repository
            && claim.repository.as_deref() != Some(required)
        {
            return Some(Unmet::Repository { required });
        }
        if self.annotations.is_empty() {
            return None;
        }
        // A signature over the manifest itself has no subject, and so no annotation.
        let ours = || claim.subjects.iter().filter(|subject| subject.digest == image.digest);
        let differs = |subject: Option<&Subject>, (name, required): &(&String, &String)| {
            subject.and_then(|subject| subject.annotation(name)) != Some(required.as_str())
        };
        if ours().any(|subject| !self.annotations.iter().any(|required| differs(Some(subject), &required))) {
            return None;
        }
        let first = ours().next();
        let (name, required) = self.annotations.iter().find(|required| differs(first, required))?;
        Some(Unmet::Annotation { name, required, found: first.and_then(|subject| subject.annotation(name)) })
    }

    /// Why a signature does not count that no key of the policy has made.
    fn by_nobody(&self, signature: &Signature) -> NotCounted {
        let hint = signature.hint();
        match self.signers.iter().find(|signer| signer.key.is_ed25519() && Some(signer.key.id()) == hint) {
            Some(signer) => NotCounted::Prehashed { signer: quoted(&signer.name) },
            None => NotCounted::OtherKey { hint },
        }
    }
}
