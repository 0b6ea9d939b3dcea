//! Generated certificates: a TLS authority with servers and clients under it, and the X.509 leaves of Notary's root
//! keys.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::OffsetDateTime;

use crate::signer::Key;

/// A certificate authority with its key.
pub struct Authority {
    pem: String,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    /// Intermediates between this authority and its root, nearest first, this one included. Empty for a root.
    chain: Vec<String>,
}

impl Authority {
    /// A self-signed CA, valid from 1975 to 4096.
    pub fn new() -> Self {
        Self::named("Test CA")
    }

    /// A self-signed CA of this name.
    pub fn named(name: &str) -> Self {
        Self::root(name, None)
    }

    /// A self-signed CA with this validity.
    pub fn valid(name: &str, from: Timestamp, until: Timestamp) -> Self {
        Self::root(name, Some((from, until)))
    }

    /// An intermediate CA under this one.
    pub fn intermediate(&self, name: &str) -> Self {
        self.intermediate_inner(name, None)
    }

    /// An intermediate CA under this one with this validity.
    pub fn intermediate_valid(&self, name: &str, from: Timestamp, until: Timestamp) -> Self {
        self.intermediate_inner(name, Some((from, until)))
    }

    /// An intermediate CA under this one with this path length.
    pub fn intermediate_followed_by(&self, name: &str, intermediates: u8) -> Self {
        self.certify(constrained(name, intermediates))
    }

    /// A self-signed CA with this path length.
    pub fn followed_by(name: &str, intermediates: u8) -> Self {
        Self::self_signed(constrained(name, intermediates))
    }

    /// An intermediate CA under this one whose key may not sign certificates.
    pub fn intermediate_without_cert_sign(&self, name: &str) -> Self {
        self.certify(without_cert_sign(name))
    }

    /// A self-signed CA whose key may not sign certificates.
    pub fn without_cert_sign(name: &str) -> Self {
        Self::self_signed(without_cert_sign(name))
    }

    /// The CA's certificate.
    pub fn pem(&self) -> String {
        self.pem.clone()
    }

    /// The CA's certificate.
    pub fn der(&self) -> Vec<u8> {
        self.der.clone()
    }

    /// A serving certificate for these DNS names and IP addresses: (chain PEM, PKCS#8 key PEM).
    pub fn server(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let common_name = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).expect("names for a certificate");
        params.distinguished_name = dn(&common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.leaf(params)
    }

    /// A client certificate: (chain PEM, PKCS#8 key PEM).
    pub fn client(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name = dn(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.leaf(params)
    }

    fn leaf(&self, mut params: CertificateParams) -> (String, String) {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem() + &self.chain.concat(), key.serialize_pem())
    }

    fn root(name: &str, validity: Option<(Timestamp, Timestamp)>) -> Self {
        Self::self_signed(ca_params(name, validity.map(|(from, until)| (time(from), time(until)))))
    }

    fn self_signed(params: CertificateParams) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
            chain: Vec::new(),
        }
    }

    fn intermediate_inner(&self, name: &str, validity: Option<(Timestamp, Timestamp)>) -> Self {
        self.certify(ca_params(name, validity.map(|(from, until)| (time(from), time(until)))))
    }

    fn certify(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let mut chain = vec![certificate.pem()];
        chain.extend(self.chain.iter().cloned());
        Self { pem: certificate.pem(), der: certificate.der().to_vec(), issuer: Issuer::new(params, key), chain }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// The certificate of a Notary key as `notary` creates it: a common name, a validity, a purpose.
#[derive(Clone)]
pub struct Leaf {
    common_name: String,
    validity: Option<(OffsetDateTime, OffsetDateTime)>,
    purposes: Vec<ExtendedKeyUsagePurpose>,
    is_ca: bool,
}

impl Leaf {
    /// A leaf with this common name (a GUN for root keys), valid from 1975 to 4096, for code signing.
    pub fn new(common_name: &str) -> Self {
        Self {
            common_name: common_name.to_owned(),
            validity: None,
            purposes: vec![ExtendedKeyUsagePurpose::CodeSigning],
            is_ca: false,
        }
    }

    /// With this validity.
    pub fn valid(mut self, from: Timestamp, until: Timestamp) -> Self {
        self.validity = Some((time(from), time(until)));
        self
    }

    /// Valid from the last day of 1969, the date of a board without a clock, to the last second of 9999, which means no
    /// end (RFC 5280 §4.1.2.5).
    pub fn valid_from_1969_for_ever(mut self) -> Self {
        let seconds = |seconds| OffsetDateTime::from_unix_timestamp(seconds).expect("a date");
        self.validity = Some((seconds(-3_600), seconds(253_402_300_799)));
        self
    }

    /// For TLS servers as well, as Notary demands below a CA pin.
    pub fn server_auth(mut self) -> Self {
        self.purposes.push(ExtendedKeyUsagePurpose::ServerAuth);
        self
    }

    /// Without an extended key usage.
    pub fn any_purpose(mut self) -> Self {
        self.purposes.clear();
        self
    }

    /// With `CA:TRUE`, which is forbidden for a root key.
    pub fn ca(mut self) -> Self {
        self.is_ca = true;
        self
    }

    /// Self-signed, in PEM.
    pub fn self_signed(&self, key: &Key) -> String {
        let key = key.rcgen();
        self.params().self_signed(&*key).expect("a certificate").pem()
    }

    /// Signed by an authority: the leaf alone, in PEM. Append [`Authority::pem`] of an intermediate to bundle it.
    pub fn signed_by(&self, key: &Key, authority: &Authority) -> String {
        let key = key.rcgen();
        self.params().signed_by(&*key, &authority.issuer).expect("a certificate").pem()
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = dn(&self.common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = self.purposes.clone();
        params.is_ca = if self.is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        set_validity(&mut params, self.validity);
        params
    }
}

fn constrained(name: &str, intermediates: u8) -> CertificateParams {
    let mut params = ca_params(name, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(intermediates));
    params
}

fn without_cert_sign(name: &str) -> CertificateParams {
    let mut params = ca_params(name, None);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    params
}

fn ca_params(name: &str, validity: Option<(OffsetDateTime, OffsetDateTime)>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = dn(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, validity);
    params
}

fn dn(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn set_validity(params: &mut CertificateParams, validity: Option<(OffsetDateTime, OffsetDateTime)>) {
    if let Some((from, until)) = validity {
        params.not_before = from;
        params.not_after = until;
    }
}

fn time(time: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.as_second()).expect("a date")
}
