//! What a policy requires of an image's Notation signatures, and whether one of them meets it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::envelope::Envelope;
use super::headers::Scheme;
use super::identity::Identity;
use super::rejection::Rejection;
use super::revocation::Revocation;
use super::subject;
use super::trust_store::TrustStores;
use crate::crypto::certificate::Validity;
use crate::crypto::certificate_ref::CertificateRef;
use crate::effort::Effort;
use crate::image::Sha256;
use crate::not_counted::{NotCounted, SignedTime, quoted};
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
    /// How many signatures may be verified.
    pub effort: Effort<'a>,
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
                Err(reason) => rejection.reasons.add(envelope.manifest(), reason),
            }
        }
        if signers.is_empty() {
            return Err(rejection);
        }
        Ok(Accepted { digest: VerifiedDigest::new(image.digest), signers })
    }

    /// The signer whose signature this is, or why it does not count.
    pub fn signer_of(&self, image: SignedImage<'_>, envelope: &Envelope, now: Timestamp) -> Result<String, NotCounted> {
        let now = now.as_second();
        check_image(image, envelope)?;
        let signer = || envelope.signer().to_owned();
        // The anchors: byte-equal, of the type for the scheme.
        let (anchors, store) = match envelope.scheme {
            Scheme::X509 => (self.stores.ca(), "ca"),
            Scheme::SigningAuthority => (self.stores.signing_authority(), "signingAuthority"),
        };
        if !envelope.chain.iter().any(|certificate| anchors.contains(certificate)) {
            return Err(NotCounted::Untrusted { signer: signer(), store });
        }
        envelope.verify(self.effort)?;
        if !self.identities.iter().any(|identity| identity.is_met_by(envelope.attributes.as_deref())) {
            return Err(NotCounted::UntrustedIdentity { signer: signer() });
        }
        if let Some(at) = envelope.expires().filter(|at| now >= *at) {
            return Err(NotCounted::Expired { at });
        }
        self.check_dates(envelope, now)?;
        if let Revocation::Strict(lists) = self.revocation {
            envelope.check_revocation(lists, now, self.effort)?;
        }
        for (name, required) in self.metadata {
            let found = envelope.payload.metadata(name);
            if found != Some(required.as_str()) {
                return Err(NotCounted::Metadata {
                    name: quoted(name),
                    required: quoted(required),
                    found: found.map(quoted),
                });
            }
        }
        Ok(signer())
    }

    /// Is the time of the signature inside the dates of every certificate of the chain?
    fn check_dates(&self, envelope: &Envelope, now: i64) -> Result<(), NotCounted> {
        if let Some(time) = envelope.authentic_signing_time {
            return in_date(envelope, time, time, SignedTime::SigningAuthority);
        }
        let in_date_now = in_date(envelope, now, now, SignedTime::Now);
        if self.stores.tsa().is_none() || self.after_cert_expiry_only && in_date_now.is_ok() {
            return in_date_now;
        }
        let time = envelope.timestamp(self.stores, self.effort)?;
        in_date(envelope, time.earliest, time.latest, SignedTime::Timestamp)
    }
}

/// All three are compared: a digest alone does not say how its bytes are to be read (CVE-2023-33959).
fn check_image(image: SignedImage<'_>, envelope: &Envelope) -> Result<(), NotCounted> {
    let payload = &envelope.payload;
    let what = if payload.digest != image.digest {
        "the digest"
    } else if *payload.media_type != *image.media_type {
        "the media type"
    } else if payload.size != image.size {
        "the size"
    } else {
        return Ok(());
    };
    Err(NotCounted::OtherImage { what })
}

/// Is every certificate in date from `earliest` to `latest`?
fn in_date(envelope: &Envelope, earliest: i64, latest: i64, time: SignedTime) -> Result<(), NotCounted> {
    let is_outside = |validity: &Validity| earliest < validity.not_before || validity.not_after < latest;
    let Some(place) = envelope.validity.iter().position(is_outside) else { return Ok(()) };
    let certificate = envelope.chain.get(place).and_then(|der| CertificateRef::read(der));
    let subject = certificate.map(|certificate| subject::printable(certificate.subject)).unwrap_or_default();
    let Validity { not_before, not_after } =
        envelope.validity.get(place).copied().unwrap_or(Validity { not_before: 0, not_after: 0 });
    Err(NotCounted::Dates { subject, not_before, not_after, time })
}
