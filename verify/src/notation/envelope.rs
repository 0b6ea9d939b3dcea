//! One signature of an image: read, and once it is needed, verified under the key of its own first certificate.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::chain::{self, MAX_CHAIN};
use super::headers::{Algorithm, Headers, Scheme};
use super::payload::Payload;
use super::revocation::{Listed, RevocationLists, Status};
use super::revocation_list::is_revocable;
use super::trust_store::TrustStores;
use super::{cose, jws, subject};
use crate::crypto::certificate::Validity;
use crate::crypto::certificate_ref::CertificateRef;
use crate::effort::{Checks, Effort};
use crate::heap_size::{allocation, as_u64, inline_size};
use crate::image::Sha256;
use crate::not_counted::NotCounted;
use crate::timestamp::{Authority, GenTime, MAX_TOKEN, TimestampError, Token};

/// The format of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeFormat {
    /// `application/jose+json`.
    Jws,
    /// `application/cose`.
    Cose,
}

impl EnvelopeFormat {
    /// By the media type of the layer. `None` for other media types.
    pub fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/jose+json" => Some(Self::Jws),
            "application/cose" => Some(Self::Cose),
            _ => None,
        }
    }
}

impl fmt::Display for EnvelopeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jws => "a Notation signature (JWS)",
            Self::Cose => "a Notation signature (COSE)",
        })
    }
}

/// What an envelope of either format has, before anything of it is verified.
pub(super) struct Contents {
    pub(super) headers: Headers,
    pub(super) payload: Vec<u8>,
    /// The bytes that the signature is over.
    pub(super) signed: Vec<u8>,
    pub(super) signature: Vec<u8>,
    /// Certificates in DER, the signer's first.
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) timestamp: Option<Vec<u8>>,
}

/// A signature whose form is checked. Whether it is genuine and whether anybody trusts it is decided by
/// [`super::Requirement::verify`].
///
/// It remembers whether its own signature and its chain are sound, what was verified of its time stamp by which trust store, and
/// what which revocation lists say of its chain.
#[derive(Debug)]
pub struct Envelope {
    manifest: Sha256,
    format: EnvelopeFormat,
    pub(super) payload: Payload,
    pub(super) scheme: Scheme,
    pub(super) authentic_signing_time: Option<i64>,
    expires: Option<i64>,
    /// Certificates in DER, the signer's first.
    pub(super) chain: Vec<Vec<u8>>,
    /// The dates of each.
    pub(super) validity: Vec<Validity>,
    signer: String,
    /// The attributes of the signer's subject; `None` if they are ambiguous.
    pub(super) attributes: Option<Vec<(&'static str, Box<str>)>>,
    algorithm: Algorithm,
    /// The bytes that the signature is over.
    signed: Vec<u8>,
    signature: Vec<u8>,
    timestamp: Option<Vec<u8>>,
    remembered: Mutex<Remembered>,
}

/// What was verified, with success or without.
#[derive(Debug, Default)]
struct Remembered {
    /// Are the signature and the chain sound?
    own: Option<Result<(), NotCounted>>,
    /// By the hash of the content of trust stores or of revocation lists.
    timestamps: Vec<(Sha256, Result<GenTime, TimestampError>)>,
    revocation: Vec<(Sha256, Status)>,
}

/// What one verification takes at most, in units of [`Effort`]: a key on P-384 has the slowest.
const VERIFICATION: usize = 10;
/// What reading a time stamp takes.
const TIMESTAMP: usize = 5;
/// The most results of each kind that an envelope remembers.
const MAX_REMEMBERED: usize = 4;

impl Envelope {
    /// Reads the envelope of the signature manifest with this digest. Nothing is verified yet.
    pub fn read(manifest: Sha256, format: EnvelopeFormat, bytes: &[u8]) -> Result<Self, NotCounted> {
        let contents = match format {
            EnvelopeFormat::Jws => jws::read(bytes),
            EnvelopeFormat::Cose => cose::read(bytes),
        }?;
        let Contents { headers, payload, signed, signature, chain, timestamp } = contents;
        let payload = Payload::read(&payload)?;
        if timestamp.as_ref().is_some_and(|token| token.len() > MAX_TOKEN) {
            return Err(NotCounted::TooLarge { what: "its time stamp", cap: MAX_TOKEN });
        }
        let certificates = read_chain(&chain)?;
        let Some(leaf) = certificates.first() else { return Err(NotCounted::Shape("it has no certificate")) };
        let (signer, attributes) = (subject::printable(leaf.subject), subject::attributes(leaf.subject));
        let validity = certificates.iter().map(|certificate| certificate.validity).collect();
        Ok(Self {
            manifest,
            format,
            payload,
            scheme: headers.scheme,
            authentic_signing_time: headers.authentic_signing_time,
            expires: headers.expiry,
            chain,
            validity,
            signer,
            attributes,
            algorithm: headers.algorithm,
            signed,
            signature,
            timestamp,
            remembered: Mutex::default(),
        })
    }

    /// The digest of the manifest that it was found in.
    pub fn manifest(&self) -> Sha256 {
        self.manifest
    }

    /// Its format.
    pub fn format(&self) -> EnvelopeFormat {
        self.format
    }

    /// When the signature expires, if the signer says so, in seconds since 1970.
    pub fn expires(&self) -> Option<i64> {
        self.expires
    }

    /// When the first certificate of its chain ends, in seconds since 1970.
    pub fn ends(&self) -> i64 {
        self.validity.iter().map(|validity| validity.not_after).min().unwrap_or_default()
    }

    /// The subject of its first certificate, printable (RFC 4514).
    pub fn signer(&self) -> &str {
        &self.signer
    }

    /// What it takes in memory, in bytes: all that it may remember as well.
    pub fn heap_size(&self) -> u64 {
        let chain = self.chain.iter().map(|der| allocation(der.capacity()) + inline_size::<(Vec<u8>, Validity)>());
        let attributes = self.attributes.iter().flatten();
        let attributes = attributes.map(|(_, value)| inline_size::<(&str, Box<str>)>() + allocation(value.len()));
        let remembered = inline_size::<(Sha256, Result<GenTime, TimestampError>)>()
            + inline_size::<(Sha256, Status)>()
            + as_u64(self.chain.len()) * inline_size::<Listed>();
        inline_size::<Self>()
            + self.payload.heap_size()
            + chain.sum::<u64>()
            + attributes.sum::<u64>()
            + allocation(self.signer.capacity())
            + allocation(self.signed.capacity())
            + allocation(self.signature.capacity())
            + allocation(self.timestamp.as_ref().map_or(0, Vec::capacity))
            + as_u64(MAX_REMEMBERED) * remembered
    }

    /// Has the key of its first certificate made it, and is its chain sound? The rules for a chain that are checked here depend
    /// neither on the time nor on a policy. Whether anybody trusts the chain is another question.
    pub fn verify(&self, effort: Effort<'_>) -> Result<(), NotCounted> {
        if let Some(known) = &self.remembered().own {
            return known.clone();
        }
        take(effort, (1 + self.chain.len()) * VERIFICATION)?;
        let result = read_chain(&self.chain).and_then(|certificates| {
            let key = chain::check(&certificates)?;
            self.algorithm.verifies(&key, &self.signed, &self.signature)
        });
        self.remembered().own = Some(result.clone());
        result
    }

    /// The time of its time stamp, by the authorities in the stores of the type `tsa`.
    pub(super) fn timestamp(&self, stores: &TrustStores, effort: Effort<'_>) -> Result<GenTime, NotCounted> {
        let (Some(token), Some((anchors, id))) = (&self.timestamp, stores.tsa().zip(stores.tsa_id())) else {
            return Err(NotCounted::NoTimestamp);
        };
        let known = self.remembered().timestamps.iter().find(|(known, _)| *known == id).map(|(_, known)| *known);
        let result = match known {
            Some(known) => known,
            None => {
                take(effort, TIMESTAMP)?;
                let authority = Authority { anchors, intermediates: &[] };
                let checks = Checks::new(effort);
                let result =
                    Token::read(token).and_then(|token| token.verify_by(&self.signature, &authority, None, &checks));
                if checks.is_exhausted() {
                    return Err(NotCounted::NotVerified);
                }
                keep(&mut self.remembered().timestamps, id, result);
                result
            }
        };
        result.map_err(NotCounted::Timestamp)
    }

    /// Is no certificate of its chain revoked now, by these lists?
    pub(super) fn check_revocation(
        &self,
        lists: &RevocationLists,
        now: i64,
        effort: Effort<'_>,
    ) -> Result<(), NotCounted> {
        let id = lists.id();
        if let Some((_, known)) = self.remembered().revocation.iter().find(|(known, _)| *known == id) {
            return known.check(&self.chain, now);
        }
        let certificates = read_chain(&self.chain)?;
        if certificates.iter().any(is_revocable) {
            take(effort, certificates.len() * VERIFICATION)?;
        }
        let status = lists.status(&certificates);
        let result = status.check(&self.chain, now);
        keep(&mut self.remembered().revocation, id, status);
        result
    }

    /// When the first of these lists ends that the signature needs, in seconds since 1970. It was verified under them before.
    pub fn revocation_ends(&self, lists: &RevocationLists) -> Option<i64> {
        let remembered = self.remembered();
        let known = remembered.revocation.iter().find(|(known, _)| *known == lists.id());
        known.and_then(|(_, status)| status.ends())
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a result, in the place of the oldest one if there are too many.
fn keep<T>(results: &mut Vec<(Sha256, T)>, id: Sha256, result: T) {
    if results.iter().any(|(known, _)| *known == id) {
        return; // another thread was faster
    }
    if results.len() == MAX_REMEMBERED {
        results.remove(0);
    }
    results.push((id, result));
}

fn read_chain(chain: &[Vec<u8>]) -> Result<Vec<CertificateRef<'_>>, NotCounted> {
    if chain.len() > MAX_CHAIN {
        return Err(NotCounted::Shape("its chain has more than 10 certificates"));
    }
    let certificates = chain.iter().map(|der| CertificateRef::read(der)).collect::<Option<Vec<_>>>();
    certificates.ok_or(NotCounted::Shape("a certificate of its chain is damaged"))
}

#[cfg(test)]
thread_local! {
    /// How often this thread has verified a signature, a time stamp or a revocation list.
    pub(super) static VERIFICATIONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Takes units before a verification.
fn take(effort: Effort<'_>, units: usize) -> Result<(), NotCounted> {
    if !effort.take(units) {
        return Err(NotCounted::NotVerified);
    }
    #[cfg(test)]
    VERIFICATIONS.with(|count| count.set(count.get() + 1));
    Ok(())
}
