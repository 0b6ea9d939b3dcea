//! The certificates themselves: P-256 keys, which every client takes and which make for short handshakes.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use crate::options::Options;

/// What was made, as PEM.
pub struct Issued {
    /// The CA's certificate.
    pub ca_certificate: String,
    /// The CA's key.
    pub ca_key: String,
    /// The serving certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// When the serving certificate ends.
    pub not_after: OffsetDateTime,
}

impl fmt::Debug for Issued {
    /// Never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// The CA outlives its certificates, so that they can be renewed without touching the webhook configuration.
const CA_DAYS: u32 = 3650;
/// Clocks of a cluster's nodes differ.
const EARLIER: Duration = Duration::HOUR;

/// Makes a CA and a serving certificate.
pub fn issue(options: &Options) -> Result<Issued, IssueError> {
    let now = OffsetDateTime::now_utc();
    let days = |days: u32| now + Duration::days(i64::from(days));

    let mut ca = CertificateParams::default();
    ca.distinguished_name = common_name(format!("{} webhook CA", options.service));
    // RFC 5280 §4.2.1.9: no CA below this one.
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = (now - EARLIER, days(CA_DAYS.max(options.days)));
    let ca_key = KeyPair::generate()?;
    let ca_certificate = ca.self_signed(&ca_key)?.pem();
    let ca_key_pem = ca_key.serialize_pem();
    let issuer = Issuer::new(ca, ca_key);

    // Addresses among the names become IP entries.
    let mut leaf = CertificateParams::new(options.names())?;
    leaf.distinguished_name = common_name(options.service.clone());
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    (leaf.not_before, leaf.not_after) = (now - EARLIER, days(options.days));
    let not_after = leaf.not_after;
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?.pem();

    Ok(Issued { ca_certificate, ca_key: ca_key_pem, certificate, key: key.serialize_pem(), not_after })
}

/// Nobody checks it any more, but people read it. X.520 allows 64 characters.
fn common_name(name: String) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

/// The certificates cannot be made.
#[derive(Debug)]
pub struct IssueError(rcgen::Error);

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificates cannot be made: {}", self.0)
    }
}

impl std::error::Error for IssueError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
