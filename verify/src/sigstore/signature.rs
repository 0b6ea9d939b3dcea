//! One signature of an image: parsed, and remembered under which keys it verifies.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::bundle::{self, Signed};
use super::claim::Claim;
use super::entry::NOT_BEGUN;
use super::evidence::{self, Claimed, NO_CERTIFICATE};
use super::fulcio::Names;
use super::key::SigstoreKey;
use super::material::Source;
use super::payload;
use super::requirement::SignedImage;
use super::trusted_root::TrustedRoot;
use crate::crypto::algorithm::Hash;
use crate::effort::{Checks, Effort};
use crate::heap_size::{allocation, as_u64, inline_size};
use crate::image::Sha256;
use crate::not_counted::NotCounted;
use crate::oci::media_type::COSIGN_PAYLOAD;
use crate::oci::{Descriptor, SignatureManifest};

/// The annotation of a layer that has its signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// The annotations of a layer that cosign 2 adds with a certificate or a log.
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// The most verdicts under a trusted root that a signature remembers.
const MAX_PROVEN: usize = 8;
/// What reading a proof takes, in units of [`Effort`]. Each check of a signature takes its own.
const PROOF: usize = 50;
/// The most keys that a signature verifies under and that it remembers. There is hardly more than one.
const MAX_MADE_BY: usize = 16;
/// The most keys that a signature does not verify under and that it remembers: more than a policy has.
const MAX_NOT_MADE_BY: usize = 256;

/// A signature of one of the two formats. Its form is checked, and who made it is not: [`super::Requirement::verify`] decides.
///
/// It remembers which keys it verifies under, because that never changes. Which keys and annotations count is decided anew each
/// time.
#[derive(Debug)]
pub struct Signature {
    manifest: Sha256,
    format: SignatureFormat,
    claim: Claim,
    signed: Signed,
    signature: Vec<u8>,
    hint: Option<Sha256>,
    is_keyless: bool,
    source: Source,
    /// The image whose manifest has the hash of [`Signed::Manifest`].
    image: OnceLock<Sha256>,
    remembered: Mutex<Remembered>,
    proven: Mutex<Vec<Proven>>,
}

/// What is to be proven under a trusted root.
#[derive(Clone, Copy)]
pub(super) enum Proof<'a> {
    /// That a log has the signature of this key.
    Key(&'a SigstoreKey),
    /// Whom the certificate names.
    Certificate { sct_required: bool },
}

/// What was proven under a trusted root, with success or without. It never changes: what may change is not remembered.
#[derive(Debug)]
struct Proven {
    root: Sha256,
    /// The key. `None` for the certificate.
    key: Option<Sha256>,
    sct_required: bool,
    outcome: Result<Option<Arc<Names>>, NotCounted>,
}

/// The keys under which a signature was verified, with success or without.
#[derive(Debug, Default)]
struct Remembered {
    made_by: Vec<Sha256>,
    /// The beginnings of their IDs, the oldest first. If another key's ID begins the same, a signature by it does not count.
    not_made_by: Vec<u64>,
}

impl Remembered {
    /// Does the signature verify under this key? `None` if it is not remembered.
    fn get(&self, key: Sha256) -> Option<bool> {
        if self.made_by.contains(&key) {
            return Some(true);
        }
        self.not_made_by.contains(&beginning(key)).then_some(false)
    }

    fn put(&mut self, key: Sha256, verifies: bool) {
        if self.get(key).is_some() {
            return; // another thread was faster
        }
        if verifies && self.made_by.len() < MAX_MADE_BY {
            self.made_by.push(key);
        }
        if !verifies {
            if self.not_made_by.len() == MAX_NOT_MADE_BY {
                self.not_made_by.remove(0);
            }
            self.not_made_by.push(beginning(key));
        }
    }
}

fn beginning(key: Sha256) -> u64 {
    key.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes)
}

/// The format of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFormat {
    /// cosign's old format: a layer under the tag `sha256-<hex>.sig`.
    Layer,
    /// A Sigstore bundle.
    Bundle,
}

impl Signature {
    /// A layer of the old format and its payload. The payload's bytes must be those of the descriptor: the caller compares size
    /// and digest. Layers may share it.
    pub fn from_layer(
        manifest: &SignatureManifest,
        layer: &Descriptor,
        payload: Arc<[u8]>,
    ) -> Result<Self, NotCounted> {
        if layer.media_type != COSIGN_PAYLOAD {
            return Err(NotCounted::Shape("the layer's media type is not that of a cosign payload"));
        }
        let signature = layer.annotations.get(SIGNATURE).and_then(|signature| STANDARD.decode(signature).ok());
        let signature = signature.ok_or(NotCounted::Shape("the layer has no signature in base64 as an annotation"))?;
        let claim = payload::read(&payload)?;
        let annotation = |name: &str| layer.annotations.get(name).cloned();
        let (certificate, entry) = (annotation(CERTIFICATE), annotation(LOG_ENTRY));
        let source = match (certificate, entry) {
            (None, None) => Source::Nothing,
            (certificate, entry) => Source::Layer { certificate, entry, timestamp: annotation(TIMESTAMP) },
        };
        let (signed, hint, is_keyless) = (Signed::Bytes(payload), None, false);
        let read = bundle::Bundle { claim, signed, signature, hint, is_keyless, source };
        Ok(Self::new(manifest.digest, SignatureFormat::Layer, read))
    }

    /// The bundle of a referrer.
    pub fn from_bundle(manifest: &SignatureManifest, bundle: Vec<u8>) -> Result<Self, NotCounted> {
        Ok(Self::new(manifest.digest, SignatureFormat::Bundle, bundle::read(bundle, false)?))
    }

    /// A bundle whose statement may say anything: for the client of the conformance suite alone. An attestation is no signature
    /// of an image (SCHEMES.md, row 59).
    #[cfg(any(test, feature = "conformance"))]
    #[doc(hidden)]
    pub fn from_attestation(manifest: Sha256, bundle: Vec<u8>) -> Result<Self, NotCounted> {
        Ok(Self::new(manifest, SignatureFormat::Bundle, bundle::read(bundle, true)?))
    }

    fn new(manifest: Sha256, format: SignatureFormat, read: bundle::Bundle) -> Self {
        let bundle::Bundle { claim, signed, signature, hint, is_keyless, source } = read;
        let (image, remembered, proven) = (OnceLock::new(), Mutex::default(), Mutex::default());
        Self { manifest, format, claim, signed, signature, hint, is_keyless, source, image, remembered, proven }
    }

    /// The digest of the manifest that it was found in.
    pub fn manifest(&self) -> Sha256 {
        self.manifest
    }

    /// Its format.
    pub fn format(&self) -> SignatureFormat {
        self.format
    }

    /// The ID of the key that a bundle says has made it. It is not signed: it is good for messages alone.
    pub fn hint(&self) -> Option<Sha256> {
        self.hint
    }

    /// Is it over the bytes of the image's manifest? Then [`SignedImage::manifest`] is needed to verify it.
    pub fn needs_manifest(&self) -> bool {
        matches!(self.signed, Signed::Manifest(..))
    }

    /// What it takes in memory, in bytes: all the keys that it may remember as well.
    pub fn heap_size(&self) -> u64 {
        let signed = match &self.signed {
            Signed::Bytes(bytes) => bytes.len(),
            Signed::Manifest(_, bytes) => bytes.capacity(),
        };
        let proven = match self.source {
            Source::Nothing => 0,
            Source::Bundle(_) | Source::Layer { .. } => {
                as_u64(MAX_PROVEN) * (inline_size::<Proven>() + inline_size::<Names>() + Names::MAX_HEAP)
            }
        };
        inline_size::<Self>()
            + proven
            + self.source.heap_size()
            + self.claim.heap_size()
            + allocation(signed)
            + allocation(self.signature.capacity())
            + as_u64(MAX_MADE_BY) * inline_size::<Sha256>()
            + as_u64(MAX_NOT_MADE_BY) * inline_size::<u64>()
    }

    pub(super) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Is it a bundle with a certificate? In the old format a certificate may stand beside any signature.
    pub(super) fn is_keyless(&self) -> bool {
        self.is_keyless
    }

    /// Has it a certificate, whatever it is worth?
    pub(super) fn has_certificate(&self) -> bool {
        self.is_keyless || matches!(self.source, Source::Layer { certificate: Some(_), .. })
    }

    /// Whom its certificate names, or nobody, if a key's signature is in a log, as this trusted root says. The image is one that
    /// it is about.
    pub(super) fn proven(
        &self,
        proof: Proof<'_>,
        root: Option<&Arc<TrustedRoot>>,
        image: SignedImage<'_>,
        now: i64,
        effort: Effort<'_>,
    ) -> Result<Option<Arc<Names>>, NotCounted> {
        let root =
            root.ok_or(NotCounted::Unproven("the policy has no trusted root, which certificates and logs need"))?;
        let (key, sct_required) = match proof {
            Proof::Key(key) => (Some(key.id()), false),
            Proof::Certificate { sct_required } => (None, sct_required),
        };
        let is_this =
            |known: &&Proven| known.root == root.id() && known.key == key && known.sct_required == sct_required;
        let lock = || self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().iter().find(is_this) {
            return known.outcome.clone();
        }
        if key.is_none() && !self.has_certificate() {
            return Err(NO_CERTIFICATE);
        }
        if !effort.take(PROOF) {
            return Err(NotCounted::NotVerified);
        }
        let message = self.message(image)?;
        let material = self.source.read();
        let payload = match (&self.format, &self.signed) {
            (SignatureFormat::Bundle, Signed::Bytes(bytes)) => bytes.splitn(5, |byte| *byte == b' ').last(),
            _ => None,
        };
        let is_bundle = self.format == SignatureFormat::Bundle;
        let claimed = Claimed { message, payload, signature: &self.signature, is_bundle, now };
        let checks = Checks::new(effort);
        let outcome = material.and_then(|material| match proof {
            Proof::Key(key) => evidence::of_key(&material, claimed, key, root, &checks).map(|()| None),
            Proof::Certificate { sct_required } => {
                let names = evidence::of_certificate(&material, claimed, root, sct_required, &checks);
                names.map(|names| Some(Arc::new(names)))
            }
        });
        if checks.is_exhausted() {
            return Err(NotCounted::NotVerified);
        }
        if matches!(outcome, Err(NotCounted::Unproven(NOT_BEGUN))) {
            return outcome;
        }
        let mut proven = lock();
        if proven.len() == MAX_PROVEN {
            proven.remove(0);
        }
        proven.push(Proven { root: root.id(), key, sct_required, outcome: outcome.clone() });
        outcome
    }

    /// Is it about this image?
    pub(super) fn is_about(&self, image: SignedImage<'_>) -> Result<(), NotCounted> {
        let is_about = match &self.signed {
            Signed::Bytes(_) => self.claim.subjects.iter().any(|subject| subject.digest == image.digest),
            Signed::Manifest(Hash::Sha256, digest) => *digest == image.digest.as_bytes(),
            Signed::Manifest(hash, digest) => match self.image.get() {
                Some(known) => *known == image.digest,
                None => hash.of(manifest_of(image)?).as_ref() == digest,
            },
        };
        if is_about { Ok(()) } else { Err(NotCounted::OtherImage { what: "the digest" }) }
    }

    /// Does it verify under this key? The image is one that it is about.
    pub(super) fn verifies(
        &self,
        key: &SigstoreKey,
        image: SignedImage<'_>,
        effort: Effort<'_>,
    ) -> Result<bool, NotCounted> {
        if let Some(verifies) = self.remembered().get(key.id()) {
            return Ok(verifies);
        }
        let message = self.message(image)?;
        if !effort.take(key.units()) {
            return Err(NotCounted::NotVerified);
        }
        let verifies = key.verifies(message, &self.signature);
        self.remembered().put(key.id(), verifies);
        Ok(verifies)
    }

    /// The bytes that it is over. The image is one that it is about.
    fn message<'s>(&'s self, image: SignedImage<'s>) -> Result<&'s [u8], NotCounted> {
        match &self.signed {
            Signed::Bytes(bytes) => Ok(bytes),
            Signed::Manifest(..) => {
                let bytes = manifest_of(image)?;
                // Two manifests with the same hash of another algorithm are one manifest, so they are one image.
                self.image.get_or_init(|| image.digest);
                Ok(bytes)
            }
        }
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of the image's manifest, if they are at hand and are those of its digest.
fn manifest_of(image: SignedImage<'_>) -> Result<&[u8], NotCounted> {
    image.manifest.filter(|manifest| Sha256::of(manifest) == image.digest).ok_or(NotCounted::NoManifest)
}

impl fmt::Display for SignatureFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Layer => "a cosign signature",
            Self::Bundle => "a Sigstore bundle",
        })
    }
}
