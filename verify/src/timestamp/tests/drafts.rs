//! A time stamp authority that makes what an honest one does, and anything else.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SignatureAlgorithm, SigningKey as _, date_time_ymd,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use crate::crypto::certificate_ref::CertificateRef;
use crate::crypto::der::{element, tag};
use crate::timestamp::{Authority, GenTime, TimestampError, Token};

/// What the drafts are time stamps of.
pub(crate) const SIGNED: &[u8] = b"a signature";
/// Noon of 2026-06-01, as the drafts have it.
pub(crate) const NOON: i64 = 1_780_315_200;

pub(crate) const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
pub(crate) const SHA_1: &[u8] = &[0x2b, 0x0e, 3, 2, 26];
pub(crate) const ECDSA_SHA_256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const PKCS_9: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9];

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(tag::SEQUENCE, parts)
}

pub(crate) fn oid(content: &[u8]) -> Vec<u8> {
    element(tag::OBJECT_IDENTIFIER, &[content])
}

pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    element(tag::OCTET_STRING, &[content])
}

pub(crate) fn integer(content: &[u8]) -> Vec<u8> {
    element(tag::INTEGER, &[content])
}

pub(crate) fn algorithm(id: &[u8]) -> Vec<u8> {
    sequence(&[&oid(id)])
}

/// An attribute of PKCS #9 with these values.
pub(crate) fn attribute(number: &[u8], values: &[&[u8]]) -> Vec<u8> {
    sequence(&[&oid(&[PKCS_9, number].concat()), &element(tag::SET, values)])
}

pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

pub(crate) fn sha1(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
}

/// A certificate with its key.
pub(crate) struct Holder {
    pub(crate) der: Vec<u8>,
    params: CertificateParams,
    key: KeyPair,
}

/// A CA as most are, or the certificate of an authority: valid from 2025 to 2035.
pub(crate) fn params(name: &str, is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2035, 1, 1));
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    } else {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.custom_extensions = vec![purposes(&[8], true)];
    }
    params
}

/// An extended key usage: the last arcs of its purposes below id-kp.
pub(crate) fn purposes(last: &[u8], is_critical: bool) -> CustomExtension {
    let purposes: Vec<_> = last.iter().map(|last| oid(&[0x2b, 6, 1, 5, 5, 7, 3, *last])).collect();
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 37], sequence(&[&purposes.concat()]));
    extension.set_criticality(is_critical);
    extension
}

impl Holder {
    pub(crate) fn root(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { der: params.self_signed(&key).unwrap().der().to_vec(), params, key }
    }

    pub(crate) fn certify(&self, params: CertificateParams) -> Self {
        self.certify_for(params, &PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn certify_for(&self, params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        Self { der: params.signed_by(&key, &issuer).unwrap().der().to_vec(), params, key }
    }

    pub(crate) fn read(&self) -> CertificateRef<'_> {
        CertificateRef::read(&self.der).unwrap()
    }
}

/// A root, an intermediate and an authority under it.
pub(crate) struct Chain {
    pub(crate) root: Holder,
    pub(crate) intermediate: Holder,
    pub(crate) signer: Holder,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self::with(params("Stamps", false))
    }

    pub(crate) fn with(signer: CertificateParams) -> Self {
        let root = Holder::root(params("Root", true));
        let intermediate = root.certify(params("Intermediate", true));
        let signer = intermediate.certify(signer);
        Self { root, intermediate, signer }
    }

    /// An honest draft.
    pub(crate) fn draft(&self) -> Draft<'_> {
        Draft::new(self, info_at("20260601120000Z"))
    }

    /// By the root alone.
    pub(crate) fn verify(&self, token: &[u8]) -> Result<GenTime, TimestampError> {
        let anchors = [self.root.der.clone()];
        Token::read(token)?.verify(SIGNED, &Authority { anchors: &anchors, intermediates: &[] })
    }
}

/// The fields of a `TSTInfo` of [`SIGNED`] at this time, without those that may be missing.
pub(crate) fn info_at(time: &str) -> Vec<Vec<u8>> {
    let imprint = sequence(&[&algorithm(SHA_256), &octets(&sha256(SIGNED))]);
    let time = element(tag::GENERALIZED_TIME, &[time.as_bytes()]);
    vec![integer(&[1]), oid(&[0x2a, 3, 4]), imprint, integer(&[7]), time]
}

/// All parts of a token, each in DER.
pub(crate) struct Draft<'a> {
    chain: &'a Chain,
    pub(crate) version: Vec<u8>,
    pub(crate) digest_algorithms: Vec<Vec<u8>>,
    pub(crate) content_type: Vec<u8>,
    pub(crate) info: Vec<u8>,
    pub(crate) certificates: Option<Vec<Vec<u8>>>,
    /// Between the certificates and the signers.
    pub(crate) crls: Vec<u8>,
    pub(crate) signer_version: Vec<u8>,
    pub(crate) signer: Vec<u8>,
    pub(crate) digest_algorithm: Vec<u8>,
    /// In the order of DER when they are signed, unless `is_in_order` says that they stay as they are.
    pub(crate) attributes: Vec<Vec<u8>>,
    pub(crate) is_in_order: bool,
    pub(crate) signature_algorithm: Vec<u8>,
    /// Behind the signature.
    pub(crate) unsigned: Vec<u8>,
    /// Further signers.
    pub(crate) others: Vec<u8>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(chain: &'a Chain, info: Vec<Vec<u8>>) -> Self {
        let info = sequence(&[&info.concat()]);
        let read = chain.signer.read();
        Self {
            chain,
            version: integer(&[3]),
            digest_algorithms: vec![algorithm(SHA_256)],
            content_type: oid(&[PKCS_9, &[16, 1, 4]].concat()),
            certificates: Some(vec![chain.signer.der.clone(), chain.intermediate.der.clone()]),
            crls: Vec::new(),
            signer_version: integer(&[1]),
            signer: sequence(&[read.issuer.der, &integer(read.serial_number)]),
            digest_algorithm: algorithm(SHA_256),
            attributes: vec![
                attribute(&[3], &[&oid(&[PKCS_9, &[16, 1, 4]].concat())]),
                attribute(&[4], &[&octets(&sha256(&info))]),
                certificate_v2(&[], &sha256(&chain.signer.der), &[]),
            ],
            is_in_order: false,
            signature_algorithm: algorithm(ECDSA_SHA_256),
            unsigned: Vec::new(),
            others: Vec::new(),
            info,
        }
    }

    /// Signed by the authority.
    pub(crate) fn token(&self) -> Vec<u8> {
        self.signed_by(&self.chain.signer)
    }

    pub(crate) fn signed_by(&self, signer: &Holder) -> Vec<u8> {
        let mut attributes = self.attributes.clone();
        if !self.is_in_order {
            attributes.sort();
        }
        let attributes = attributes.concat();
        let signature = signer.key.sign(&element(tag::SET, &[&attributes])).unwrap();
        let signer_info = sequence(&[
            &self.signer_version,
            &self.signer,
            &self.digest_algorithm,
            &element(tag::explicit(0), &[&attributes]),
            &self.signature_algorithm,
            &octets(&signature),
            &self.unsigned,
        ]);
        let certificates = self.certificates.as_ref().map(|all| element(tag::explicit(0), &[&all.concat()]));
        let content = sequence(&[&self.content_type, &element(tag::explicit(0), &[&octets(&self.info)])]);
        let data = sequence(&[
            &self.version,
            &element(tag::SET, &[&self.digest_algorithms.concat()]),
            &content,
            &certificates.unwrap_or_default(),
            &self.crls,
            &element(tag::SET, &[&signer_info, &self.others]),
        ]);
        let signed_data = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]);
        sequence(&[&signed_data, &element(tag::explicit(0), &[&data])])
    }
}

/// The attribute signingCertificateV2, with this algorithm and this `IssuerSerial`, both in DER or empty.
pub(crate) fn certificate_v2(algorithm: &[u8], hash: &[u8], issuer_serial: &[u8]) -> Vec<u8> {
    let id = sequence(&[algorithm, &octets(hash), issuer_serial]);
    attribute(&[16, 2, 47], &[&sequence(&[&sequence(&[&id])])])
}

/// The attribute signingCertificate.
pub(crate) fn certificate_v1(hash: &[u8]) -> Vec<u8> {
    attribute(&[16, 2, 12], &[&sequence(&[&sequence(&[&sequence(&[&octets(hash)])])])])
}

/// A response with this status around a token.
pub(crate) fn response(status: u8, token: &[u8]) -> Vec<u8> {
    sequence(&[&sequence(&[&integer(&[status])]), token])
}
