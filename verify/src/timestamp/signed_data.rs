//! CMS `SignedData` (RFC 5652 §5) of version 3 with one signer, as RFC 3161 has it.

use super::attributes::{Attribute, SignedAttributes};
use super::error::TimestampError;
use crate::crypto::algorithm::{Hash, signature_algorithm};
use crate::crypto::certificate_ref::{CertificateRef, MAX_SERIAL_NUMBER};
use crate::crypto::der::{Reader, element, tag};
use crate::crypto::name::Name;
use crate::crypto::public_key::SignatureAlgorithm;

/// 1.2.840.113549.1.7.2
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
/// 1.2.840.113549.1.9.16.1.4, id-ct-TSTInfo
pub(super) const CT_TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 1, 4];

/// Most certificates in a token, and most hash functions.
const MAX_ELEMENTS: usize = 16;

/// A signed message with one signer.
pub(super) struct SignedData<'a> {
    /// The `TSTInfo` in DER.
    pub(super) content: &'a [u8],
    /// They are as trusted as whoever sent the token.
    pub(super) certificates: Vec<CertificateRef<'a>>,
    pub(super) signer: Signer<'a>,
    /// The hash of the content.
    pub(super) hash: Hash,
    pub(super) attributes: SignedAttributes<'a>,
    /// What the signature is over: the attributes as a SET.
    pub(super) signed: Vec<u8>,
    pub(super) algorithm: SignatureAlgorithm,
    pub(super) signature: &'a [u8],
}

/// How the signer's certificate is named.
#[derive(Clone, Copy)]
pub(super) enum Signer<'a> {
    Issuer(IssuerAndSerial<'a>),
    KeyIdentifier(&'a [u8]),
}

/// A certificate by its issuer and its number.
#[derive(Clone, Copy)]
pub(super) struct IssuerAndSerial<'a> {
    pub(super) issuer: Name<'a>,
    pub(super) serial_number: &'a [u8],
}

impl IssuerAndSerial<'_> {
    pub(super) fn is_of(&self, certificate: &CertificateRef<'_>) -> bool {
        self.issuer == certificate.issuer && self.serial_number == certificate.serial_number
    }
}

impl Signer<'_> {
    /// Is it this certificate?
    pub(super) fn is(self, certificate: &CertificateRef<'_>) -> bool {
        match self {
            Self::Issuer(id) => id.is_of(certificate),
            Self::KeyIdentifier(id) => certificate.subject_key_identifier().flatten() == Some(id),
        }
    }
}

impl<'a> SignedData<'a> {
    /// From a `ContentInfo`.
    pub(super) fn read(content_info: &mut Reader<'a>) -> Result<Self, TimestampError> {
        let shape = TimestampError::Shape;
        let fields = content_info.within(tag::SEQUENCE, Fields::read);
        let fields = fields.ok_or(shape("it is no CMS SignedData of version 3 with one signer and a TSTInfo"))?;
        let mut certificates = Vec::new();
        let mut rest = fields.certificates;
        while !rest.is_empty() {
            let certificate = rest.any().and_then(|element| CertificateRef::read(element.whole));
            let certificate = certificate.filter(|_| certificates.len() < MAX_ELEMENTS);
            certificates.push(certificate.ok_or(shape("one of its certificates is no X.509, or there are too many"))?);
        }
        let info = Reader::all(fields.signer_info, SignerInfo::read).ok_or(shape("its SignerInfo is malformed"))?;
        let hash = Reader::all(info.digest_algorithm, Hash::read);
        let hash = hash.ok_or(TimestampError::Signature("its hash is none of SHA-256, SHA-384 and SHA-512"))?;
        let algorithm = signature_algorithm(info.signature_algorithm, Some(hash)).ok_or(TimestampError::Signature(
            "its algorithm is not supported; supported are ECDSA over SHA-256 and SHA-384, RSA PKCS #1 and Ed25519",
        ))?;
        if !lists(fields.digest_algorithms, hash) {
            return Err(shape("it does not list the hash of its signer, or lists one twice"));
        }
        let attributes = Reader::all(info.signed_attributes, SignedAttributes::read).ok_or(shape(
            "its signed attributes must be contentType, messageDigest and signingCertificate or signingCertificateV2, each once \
             and with one value, in the order of DER",
        ))?;
        Ok(Self {
            content: fields.content,
            certificates,
            signer: info.signer,
            hash,
            attributes,
            signed: element(tag::SET, &[info.signed_attributes]), // RFC 5652 §5.4: not the tag that is sent
            algorithm,
            signature: info.signature,
        })
    }
}

/// The fields of a `ContentInfo` and of the `SignedData` in it.
struct Fields<'a> {
    digest_algorithms: &'a [u8],
    content: &'a [u8],
    certificates: Reader<'a>,
    signer_info: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(info: &mut Reader<'a>) -> Option<Self> {
        if info.oid()? != SIGNED_DATA {
            return None;
        }
        info.within(tag::explicit(0), |outer| outer.within(tag::SEQUENCE, Self::of_signed_data))
    }

    fn of_signed_data(data: &mut Reader<'a>) -> Option<Self> {
        // RFC 5652 §5.1: other content than plain data, and no certificates of the kinds that need a higher version.
        if data.integer()? != [3] {
            return None;
        }
        let digest_algorithms = data.content(tag::SET)?;
        let content = data.within(tag::SEQUENCE, |content| {
            let is_tst_info = content.oid()? == CT_TST_INFO;
            let octets = content.within(tag::explicit(0), |outer| outer.content(tag::OCTET_STRING))?;
            Some(octets).filter(|_| is_tst_info)
        })?;
        let mut certificates = Reader::default();
        if data.is_next(tag::explicit(0)) {
            let content = data.content(tag::explicit(0))?;
            certificates = Reader::new(content);
        }
        let signer_info = data.within(tag::SET, |set| set.content(tag::SEQUENCE))?;
        Some(Self { digest_algorithms, content, certificates, signer_info })
    }
}

/// The fields of a `SignerInfo`.
struct SignerInfo<'a> {
    signer: Signer<'a>,
    digest_algorithm: &'a [u8],
    signed_attributes: &'a [u8],
    signature_algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> SignerInfo<'a> {
    fn read(info: &mut Reader<'a>) -> Option<Self> {
        let version = info.integer()?;
        let (expected, signer) = if info.is_next(tag::implicit(0)) {
            (3, Signer::KeyIdentifier(info.content(tag::implicit(0))?))
        } else {
            let id = info.within(tag::SEQUENCE, |id| {
                let issuer = Name::read(id)?;
                let serial_number = id.integer().filter(|number| number.len() <= MAX_SERIAL_NUMBER)?;
                Some(IssuerAndSerial { issuer, serial_number })
            })?;
            (1, Signer::Issuer(id))
        };
        let digest_algorithm = info.content(tag::SEQUENCE)?;
        let signed_attributes = info.content(tag::explicit(0))?;
        let signature_algorithm = info.content(tag::SEQUENCE)?;
        let signature = info.content(tag::OCTET_STRING)?;
        if info.is_next(tag::explicit(1)) {
            // Nobody has signed these, so they say nothing.
            let mut unsigned = Reader::new(info.content(tag::explicit(1))?);
            while !unsigned.is_empty() {
                Attribute::read(&mut unsigned)?;
            }
        }
        let fields = Self { signer, digest_algorithm, signed_attributes, signature_algorithm, signature };
        Some(fields).filter(|_| version == [expected])
    }
}

/// Does this set of algorithms have the hash? Each may be there once.
fn lists(digest_algorithms: &[u8], hash: Hash) -> bool {
    let mut rest = Reader::new(digest_algorithms);
    let mut seen = Vec::new();
    let mut is_listed = false;
    while !rest.is_empty() {
        let Some(algorithm) = rest.any().filter(|algorithm| algorithm.tag == tag::SEQUENCE) else { return false };
        let is_read = Reader::all(algorithm.content, Reader::algorithm).is_some();
        if !is_read || seen.contains(&algorithm.whole) || seen.len() == MAX_ELEMENTS {
            return false;
        }
        seen.push(algorithm.whole);
        is_listed |= Reader::all(algorithm.content, Hash::read) == Some(hash);
    }
    is_listed
}
