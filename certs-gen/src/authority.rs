//! The CA: a new one, or the one in the directory, together with the names of the certificate that it made.
//!
//! A CA is taken only if its key is the certificate's and it is still in date; whether what it signs really chains to it
//! is checked once more after signing.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use pki_types::CertificateDer;
use pki_types::pem::PemObject as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _,
};
use time::{Duration, OffsetDateTime};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Something that signs.
#[derive(Debug)]
pub struct Authority {
    /// Its certificate, as PEM.
    pub certificate: String,
    /// Its key, as PEM, if it is new.
    pub new_key: Option<Secret>,
    /// When it ends.
    pub not_after: OffsetDateTime,
    /// Signs.
    pub issuer: Issuer<'static, KeyPair>,
}

/// A private key, as PEM.
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Clocks of a cluster's nodes differ.
pub(crate) const EARLIER: Duration = Duration::HOUR;

/// Files of certificates and keys are not longer.
const FILE_CAP: u64 = 1 << 20;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

impl Authority {
    /// A new one.
    pub fn generate(service: &str, now: OffsetDateTime, days: u32) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&format!("{service} webhook CA"));
        // RFC 5280 §4.2.1.9: no CA below this one.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (now - EARLIER, now + Duration::days(i64::from(days)));
        let not_after = params.not_after;
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let new_key = Some(Secret(key.serialize_pem()));
        Ok(Self { certificate, new_key, not_after, issuer: Issuer::new(params, key) })
    }

    /// The one in a directory: `ca.crt` and `ca.key`.
    pub fn load(directory: &Path) -> Result<Self, LoadError> {
        let (file, key_file) = (directory.join("ca.crt"), directory.join("ca.key"));
        let certificate = read(&file)?;
        let parsed = Parsed::new(&file, &certificate)?;
        let key_pem = read(&key_file)?;
        let key =
            KeyPair::from_pem(&key_pem).map_err(|source| LoadError::NotAKey { path: key_file.clone(), source })?;
        if key.subject_public_key_info() != parsed.public_key {
            return Err(LoadError::OtherKey { key: key_file, certificate: file });
        }
        let Some(name) = parsed.common_name else { return Err(LoadError::NotOurs { path: file }) };
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&name);
        Ok(Self { certificate, new_key: None, not_after: parsed.not_after, issuer: Issuer::new(params, key) })
    }
}

/// The names in the certificate of a directory, `tls.crt`; `None` if there is none.
pub fn names_in(directory: &Path) -> Result<Option<Vec<String>>, LoadError> {
    let file = directory.join("tls.crt");
    match read(&file) {
        Ok(text) => Parsed::new(&file, &text).map(|parsed| Some(parsed.names)),
        Err(LoadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Clients no longer check it, but people read it. X.520 allows 64 characters.
pub(crate) fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

/// What is wanted of a certificate that is there.
struct Parsed {
    common_name: Option<String>,
    public_key: Vec<u8>,
    not_after: OffsetDateTime,
    names: Vec<String>,
}

impl Parsed {
    fn new(path: &Path, pem: &str) -> Result<Self, LoadError> {
        let broken = || LoadError::NotACertificate { path: path.to_owned() };
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| broken())?;
        let certificate = x509_cert::Certificate::from_der(&der).map_err(|_| broken())?;
        let tbs = certificate.tbs_certificate();
        let mut attributes = tbs.subject().iter();
        let common_name = match (attributes.next(), attributes.next()) {
            (Some(only), None) if only.oid == COMMON_NAME => String::from_utf8(only.value.value().to_vec()).ok(),
            _ => None,
        };
        let seconds = tbs.validity().not_after.to_unix_duration().as_secs();
        let not_after = i64::try_from(seconds).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        let alternatives = tbs.get_extension::<SubjectAltName>().map_err(|_| broken())?;
        let names = alternatives.map(|(_, names)| names.0).unwrap_or_default();
        Ok(Self {
            common_name,
            public_key: tbs.subject_public_key_info().to_der().map_err(|_| broken())?,
            not_after: not_after.ok_or_else(broken)?,
            names: names.iter().filter_map(text_of).collect(),
        })
    }
}

fn text_of(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn read(path: &Path) -> Result<String, LoadError> {
    use io::Read as _;
    let io = |source| LoadError::Io { path: path.to_owned(), source };
    let mut text = String::new();
    fs::File::open(path).map_err(io)?.take(FILE_CAP).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

/// What is in the directory cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// A file cannot be read.
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a certificate.
    NotACertificate {
        /// The file.
        path: PathBuf,
    },
    /// Not a private key.
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// Key and certificate are strangers.
    OtherKey {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A CA with another kind of name than we give.
    NotOurs {
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => {
                write!(f, "cannot read {}: {source}; --renew needs the CA's ca.crt and ca.key in --out", path.display())
            }
            Self::NotACertificate { path } => write!(f, "{} holds no certificate", path.display()),
            Self::NotAKey { path, source } => write!(f, "{} holds no usable private key: {source}", path.display()),
            Self::OtherKey { key, certificate } => {
                write!(f, "{} is not the key of {}", key.display(), certificate.display())
            }
            Self::NotOurs { path } => {
                write!(f, "{} was not made by certs-gen, which cannot renew for it", path.display())
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::NotAKey { source, .. } => Some(source),
            _ => None,
        }
    }
}
