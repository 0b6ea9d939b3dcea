//! What a policy requires of an image's Notation signatures, and whether one of them meets it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::envelope::Envelope;
use super::identity::Identity;
use super::not_counted::NotCounted;
use super::rejection::Rejection;
use super::revocation::Revocation;
use super::trust_store::TrustStores;
use crate::image::Sha256;
use crate::verified::VerifiedDigest;

/// The image that signatures are to be about. All three must equal what is signed (CVE-2023-33959).
#[derive(Clone, Copy, Debug)]
pub struct SignedImage<'a> {
    /// Its digest.
    pub digest: Sha256,
    /// The media type of its manifest.
    pub media_type: &'a str,
    /// The size of its manifest in bytes.
    pub size: u64,
}

/// What a policy requires.
#[derive(Clone, Copy, Debug)]
pub struct Requirement<'a> {
    /// The certificates that are trusted.
    pub stores: &'a TrustStores,
    /// The signers that are trusted. Without one nobody is.
    pub identities: &'a [Identity],
    /// Is a time stamp needed only where a certificate is no longer in date (`verifyTimestamp: afterCertExpiry`)?
    pub after_cert_expiry_only: bool,
    /// How revocation is looked at.
    pub revocation: Revocation<'a>,
    /// Metadata that the signature must have signed.
    pub metadata: &'a BTreeMap<String, String>,
}

/// The image is signed as required.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The digest.
    pub digest: VerifiedDigest,
    /// The subjects of the signers whose signatures count, each once, in the order of the signatures.
    pub signers: Vec<String>,
}

impl Requirement<'_> {
    /// Does one of these signatures meet the requirement?
    pub fn verify(
        &self,
        image: SignedImage<'_>,
        envelopes: &[&Envelope],
        now: Timestamp,
    ) -> Result<Accepted, Rejection> {
        let mut signers: Vec<String> = Vec::new();
        let mut rejection = Rejection::default();
        for envelope in envelopes {
            match self.signer_of(image, envelope, now) {
                Ok(signer) if signers.contains(&signer) => {}
                Ok(signer) => signers.push(signer),
                Err(reason) => rejection.add(envelope.manifest(), reason),
            }
        }
        if signers.is_empty() {
            return Err(rejection);
        }
        Ok(Accepted { digest: VerifiedDigest::new(image.digest), signers })
    }

    /// The signer whose signature this is, or why it does not count.
    pub fn signer_of(&self, image: SignedImage<'_>, envelope: &Envelope, now: Timestamp) -> Result<String, NotCounted> {
        let _ = (image, envelope, now);
        Err(NotCounted::Shape("signatures of Notation cannot be verified yet"))
    }
}
