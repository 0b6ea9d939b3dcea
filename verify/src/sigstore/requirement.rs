//! What a policy requires of an image's signatures, and whether they meet it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claim::Subject;
use super::fulcio::Names;
use super::identity::{Identity, SignedBy};
use super::key::SigstoreKey;
use super::rejection::{SignatureRejection, names};
use super::signature::{Proof, Signature, SignatureFormat};
use super::trusted_root::TrustedRoot;
use crate::effort::Effort;
use crate::image::Sha256;
use crate::not_counted::{NotCounted, quoted};
use crate::reasons::Reasons;
use crate::verified::VerifiedDigest;

/// Why a signature by a certificate does not count where nobody is asked for.
pub const BY_CERTIFICATE: &str = "it was made with a certificate (keyless); \"portreeve check --trusted-root FILE\" says whose it is, \
                                  and prints a policy for it";

/// A signer of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Its name in the policy.
    pub name: String,
    /// Its key or its identity. If several signers of one requirement have the same, the first alone counts.
    pub by: SignedBy,
}

impl Signer {
    /// A signer with a key.
    pub fn with_key(name: String, key: SigstoreKey) -> Self {
        Self { name, by: SignedBy::Key(key) }
    }
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
    /// What certificates and logs are verified by. Without it, no certificate and no log counts.
    pub trusted_root: Option<&'a Arc<TrustedRoot>>,
    /// Must a log have the signatures of keys as well? It must always have those of certificates.
    pub log_required: bool,
    /// Must a log have the certificates?
    pub sct_required: bool,
    /// The time of the day, in seconds since 1970. An entry without any time counts if its log has begun by then. Nothing else depends
    /// on it.
    pub now: i64,
    /// How many signatures may be verified.
    pub effort: Effort<'a>,
}

impl<'a> Requirement<'a> {
    /// All of these signers, and nothing else. Certificates must be in a log.
    pub fn new(signers: &'a [Signer], annotations: &'a BTreeMap<String, String>) -> Self {
        Self {
            signers,
            threshold: None,
            annotations,
            repository: None,
            trusted_root: None,
            log_required: false,
            sct_required: true,
            now: i64::MIN,
            effort: Effort::UNLIMITED,
        }
    }
}

/// An identity that a certificate has, for people.
pub fn described(issuer: &str, subject: &str) -> String {
    [&*quoted(subject), " of ", &*quoted(issuer)].concat()
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

/// The most people that are told apart. An image has fewer signatures.
const MAX_PEOPLE: usize = 128;

/// Whom certificates name, and the signer of the policy that each of them counts for. The patterns of two signers may match one
/// certificate, and it must not count for both (SCHEMES.md, row 48).
struct People {
    /// For each signer, one bit for each of the people that its identity matches.
    matched: Vec<u128>,
    /// For each of the people, the signer that it counts for.
    counts_for: Vec<Option<usize>>,
}

impl People {
    fn new(names: &[Arc<Names>], signers: &[Signer]) -> Self {
        let bits = |identity: &Identity| {
            let mut bits = 0;
            for (place, names) in names.iter().take(MAX_PEOPLE).enumerate() {
                bits |= u128::from(identity.matches(&names.issuer, &names.subject)) << place;
            }
            bits
        };
        let matched = signers.iter().map(|signer| signer.by.identity().map_or(0, bits)).collect();
        Self { matched, counts_for: vec![None; names.len()] }
    }

    /// Finds a person for one more signer. Signers that have one keep one, and may get another. `asked` are the people that were
    /// looked at for this signer.
    fn assign(&mut self, signer: usize, asked: &mut u128) -> bool {
        let matched = self.matched.get(signer).copied().unwrap_or(0);
        for place in 0..self.counts_for.len().min(MAX_PEOPLE) {
            let bit = 1 << place;
            if matched & !*asked & bit == 0 {
                continue;
            }
            *asked |= bit;
            let other = self.counts_for.get(place).copied().flatten();
            if other.is_none_or(|other| self.assign(other, asked)) {
                if let Some(counts_for) = self.counts_for.get_mut(place) {
                    *counts_for = Some(signer);
                }
                return true;
            }
        }
        false
    }
}

impl Requirement<'_> {
    /// Do these signatures meet the requirement? Signers count once, whatever the number of their signatures.
    pub fn verify(&self, image: SignedImage<'_>, signatures: &[&Signature]) -> Result<Accepted, SignatureRejection> {
        let mut signers = Vec::new();
        let mut missing = Vec::new();
        let has_several = self.signers.iter().filter(|signer| signer.by.identity().is_some()).count() > 1;
        let mut people = has_several.then(|| self.people(image, signatures));
        for (index, signer) in self.signers.iter().enumerate() {
            let is_first = self.signers.iter().take(index).all(|earlier| earlier.by.id() != signer.by.id());
            let has_signed = is_first
                && match (&signer.by, &mut people) {
                    (SignedBy::Identity(_), Some(people)) => people.assign(index, &mut 0),
                    _ => signatures.iter().any(|signature| self.is_signed_by(image, signature, signer)),
                };
            if has_signed {
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
        let mut reasons = Reasons::default();
        for signature in signatures {
            if let Err(reason) = self.signers_of(image, signature) {
                reasons.add(signature.manifest(), reason);
            }
        }
        let missing = missing.into_iter().map(|signer| signer.name.clone()).collect();
        Err(SignatureRejection { missing, signed: signers.len(), required, reasons })
    }

    /// The signers whose signature this is, or why it does not count. For people: `verify` decides.
    pub fn signers_of(&self, image: SignedImage<'_>, signature: &Signature) -> Result<Vec<String>, NotCounted> {
        signature.is_about(image)?;
        let mut signers = Vec::new();
        let mut reason = None;
        for signer in self.signers {
            match self.is_made_by(image, signature, &signer.by) {
                Ok(true) if signer.by.identity().is_some_and(Identity::is_anybody) => {
                    let found = self.identity_of(image, signature);
                    signers.extend(found.map(|(issuer, subject)| described(&issuer, &subject)));
                }
                Ok(true) => signers.push(signer.name.clone()),
                Ok(false) => {}
                // Then nobody can say whether this signer has made it.
                Err(NotCounted::NotVerified) => reason = Some(NotCounted::NotVerified),
                Err(why) => reason = reason.or(Some(why)),
            }
        }
        if signers.is_empty() {
            return Err(reason.unwrap_or_else(|| self.by_nobody(image, signature)));
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

    /// The issuer and the subject that the certificate of a signature names, if all of its proofs hold.
    pub fn identity_of(&self, image: SignedImage<'_>, signature: &Signature) -> Option<(String, String)> {
        let proof = Proof::Certificate { sct_required: self.sct_required };
        signature.is_about(image).ok()?;
        let names = signature.proven(proof, self.trusted_root, image, self.now, self.effort).ok()??;
        Some(((*names.issuer).to_owned(), (*names.subject).to_owned()))
    }

    /// Whom the certificates of the signatures that count name, each once.
    fn people(&self, image: SignedImage<'_>, signatures: &[&Signature]) -> People {
        let mut people: Vec<Arc<Names>> = Vec::new();
        let proof = Proof::Certificate { sct_required: self.sct_required };
        for signature in signatures {
            if signature.is_about(image).is_ok()
                && let Ok(Some(names)) = signature.proven(proof, self.trusted_root, image, self.now, self.effort)
                && self.unmet(image, signature).is_none()
                && !self.is_by_key(image, signature)
                && !people.contains(&names)
            {
                people.push(names);
            }
        }
        People::new(&people, self.signers)
    }

    /// Has this signer made a signature that counts? What anybody may have written is compared with the policy last: it may have
    /// many annotations.
    fn is_signed_by(&self, image: SignedImage<'_>, signature: &Signature, signer: &Signer) -> bool {
        signature.is_about(image).is_ok()
            && matches!(self.is_made_by(image, signature, &signer.by), Ok(true))
            && self.unmet(image, signature).is_none()
            && (signer.by.key().is_some() || !self.is_by_key(image, signature))
    }

    /// Is it a signature of a key of the policy? In the old format a certificate of the same key may stand beside it, and one
    /// signature must not count for two signers (SCHEMES.md, row 48).
    fn is_by_key(&self, image: SignedImage<'_>, signature: &Signature) -> bool {
        let mut keys = self.signers.iter().filter(|signer| signer.by.key().is_some());
        keys.any(|signer| matches!(self.is_made_by(image, signature, &signer.by), Ok(true)))
    }

    /// Is the signature by this key or this identity, with all proofs that the policy requires?
    fn is_made_by(&self, image: SignedImage<'_>, signature: &Signature, by: &SignedBy) -> Result<bool, NotCounted> {
        match by {
            SignedBy::Key(key) => {
                if signature.is_keyless() || !signature.verifies(key, image, self.effort)? {
                    return Ok(false);
                }
                if self.log_required {
                    signature.proven(Proof::Key(key), self.trusted_root, image, self.now, self.effort)?;
                }
                Ok(true)
            }
            SignedBy::Identity(identity) => {
                let proof = Proof::Certificate { sct_required: self.sct_required };
                let names = signature.proven(proof, self.trusted_root, image, self.now, self.effort)?;
                Ok(names.is_some_and(|names| identity.matches(&names.issuer, &names.subject)))
            }
        }
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

    /// Why a signature does not count that no key and no identity of the policy has made.
    fn by_nobody(&self, image: SignedImage<'_>, signature: &Signature) -> NotCounted {
        if self.signers.iter().any(|signer| signer.by.identity().is_some()) {
            let proof = Proof::Certificate { sct_required: self.sct_required };
            if let Ok(Some(names)) = signature.proven(proof, self.trusted_root, image, self.now, self.effort) {
                return NotCounted::OtherIdentity { subject: quoted(&names.subject), issuer: quoted(&names.issuer) };
            }
        } else if self.signers.is_empty() && signature.has_certificate() {
            return NotCounted::Unproven(BY_CERTIFICATE);
        } else if signature.is_keyless() {
            return NotCounted::Certificate;
        }
        let hint = signature.hint();
        let is_prehashed = |key: &SigstoreKey| key.is_ed25519() && Some(key.id()) == hint;
        match self.signers.iter().find(|signer| signer.by.key().is_some_and(is_prehashed)) {
            Some(signer) => NotCounted::Prehashed { signer: quoted(&signer.name) },
            None => NotCounted::OtherKey { hint },
        }
    }
}
