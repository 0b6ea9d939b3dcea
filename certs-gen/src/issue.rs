//! The serving certificate: a P-256 key, which every client takes and which makes for short handshakes.
//!
//! What was signed is checked against its CA before anybody sees it: a chain that does not hold locks a cluster.

use std::fmt;
use std::time::Duration as StdDuration;

use pki_types::pem::PemObject as _;
use pki_types::{CertificateDer, ServerName, UnixTime};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::authority::{Authority, EARLIER, LoadError, Secret, common_name, names_in};
use crate::options::{Options, Task};

/// What was made, as PEM.
#[derive(Debug)]
pub struct Issued {
    /// The Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// All names of the serving certificate.
    pub names: Vec<String>,
    /// The CA's certificate.
    pub ca_certificate: String,
    /// The CA's key, if the CA is new.
    pub ca_key: Option<Secret>,
    /// When the CA ends.
    pub ca_not_after: OffsetDateTime,
    /// The serving certificate.
    pub certificate: String,
    /// Its key.
    pub key: Secret,
    /// When the serving certificate ends.
    pub not_after: OffsetDateTime,
}

/// The CA outlives its certificates, so that they can be renewed without touching the webhook configuration.
const CA_DAYS: u32 = 3650;

/// The names in the manifests.
const NAME: &str = "portreeve";

/// Makes a serving certificate, by a new CA or by the one that is there.
pub fn issue(options: &Options) -> Result<Issued, IssueError> {
    let now = OffsetDateTime::now_utc();
    let Subject { service, namespace, names } = Subject::of(options)?;
    let authority = match options.task {
        Task::Renew => Authority::load(&options.out)?,
        Task::Make | Task::Replace => {
            Authority::generate(&service, now, options.ca_days.unwrap_or(CA_DAYS.max(options.days)))?
        }
    };
    let not_after = now + Duration::days(i64::from(options.days));
    if authority.not_after < not_after {
        return Err(IssueError::CaEndsFirst { ca: authority.not_after, days: options.days });
    }

    // Addresses among the names become IP entries.
    let mut leaf = CertificateParams::new(names.clone())?;
    leaf.distinguished_name = common_name(&service);
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    (leaf.not_before, leaf.not_after) = (now - EARLIER, not_after);
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &authority.issuer)?.pem();
    if !holds(&authority.certificate, &certificate, names.first(), now) {
        return Err(IssueError::NoChain);
    }
    Ok(Issued {
        service,
        namespace,
        names,
        ca_certificate: authority.certificate,
        ca_key: authority.new_key,
        ca_not_after: authority.not_after,
        certificate,
        key: Secret(key.serialize_pem()),
        not_after,
    })
}

/// Whom the certificate is for.
struct Subject {
    service: String,
    namespace: String,
    names: Vec<String>,
}

impl Subject {
    /// As the options say; a renewal that names no Service is for whom the old certificate was for.
    fn of(options: &Options) -> Result<Self, LoadError> {
        let named = options.service.is_some() || options.namespace.is_some();
        let old = if options.task == Task::Renew && !named { names_in(&options.out)? } else { None };
        let called = old.as_deref().and_then(service_of).map(|(service, namespace)| (Some(service), Some(namespace)));
        let (service, namespace) = called.unwrap_or_else(|| (options.service.clone(), options.namespace.clone()));
        let service = service.unwrap_or_else(|| NAME.to_owned());
        let namespace = namespace.unwrap_or_else(|| NAME.to_owned());
        let mut names: Vec<String> = Vec::new();
        for name in old.unwrap_or_else(|| service_names(&service, &namespace)).iter().chain(&options.extra) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        Ok(Self { service, namespace, names })
    }
}

/// The names of a Service, the one that kube-apiserver uses first.
fn service_names(service: &str, namespace: &str) -> Vec<String> {
    let base = format!("{service}.{namespace}");
    vec![format!("{base}.svc"), base.clone(), format!("{base}.svc.cluster.local")]
}

/// The Service and the namespace that a certificate's names speak of.
fn service_of(names: &[String]) -> Option<(String, String)> {
    names.iter().find_map(|name| {
        let (service, namespace) = name.strip_suffix(".svc")?.split_once('.')?;
        (!namespace.contains('.')).then(|| (service.to_owned(), namespace.to_owned()))
    })
}

/// Would a client that trusts this CA take this certificate?
fn holds(ca: &str, certificate: &str, name: Option<&String>, now: OffsetDateTime) -> bool {
    let check = || -> Option<()> {
        let ca = CertificateDer::from_pem_slice(ca.as_bytes()).ok()?;
        let anchor = anchor_from_trusted_cert(&ca).ok()?;
        let leaf = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
        let leaf = EndEntityCert::try_from(&leaf).ok()?;
        let time = UnixTime::since_unix_epoch(StdDuration::from_secs(u64::try_from(now.unix_timestamp()).ok()?));
        let usage = KeyUsage::server_auth();
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &[anchor], &[], time, usage, None, None).ok()?;
        leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name?.as_str()).ok()?).ok()
    };
    check().is_some()
}

/// The certificates cannot be made.
#[derive(Debug)]
pub enum IssueError {
    /// The library refuses.
    Make(rcgen::Error),
    /// What is there cannot be used.
    Load(LoadError),
    /// The CA would be of no use to the certificate's end.
    CaEndsFirst {
        /// When the CA ends.
        ca: OffsetDateTime,
        /// The certificate's days.
        days: u32,
    },
    /// What was signed does not chain to the CA.
    NoChain,
}

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> Self {
        Self::Make(error)
    }
}

impl From<LoadError> for IssueError {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make(error) => write!(f, "the certificates cannot be made: {error}"),
            Self::Load(error) => error.fmt(f),
            Self::CaEndsFirst { ca, days } => write!(
                f,
                "the CA ends on {}, before the {days} days of the certificate; ask for fewer --days, or make a new CA \
                 with --force and replace every caBundle",
                ca.date()
            ),
            Self::NoChain => f.write_str("what the CA signed does not chain to it: certs-gen did not make this CA"),
        }
    }
}

impl std::error::Error for IssueError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Make(error) => Some(error),
            Self::Load(error) => Some(error),
            Self::CaEndsFirst { .. } | Self::NoChain => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kube_apiserver_calls() {
        let options = Options { extra: vec!["portreeve.portreeve".into(), "10.0.0.1".into()], ..Options::default() };
        let subject = Subject::of(&options).unwrap();
        assert_eq!(
            subject.names,
            ["portreeve.portreeve.svc", "portreeve.portreeve", "portreeve.portreeve.svc.cluster.local", "10.0.0.1"]
        );
        assert_eq!(service_of(&subject.names), Some(("portreeve".into(), "portreeve".into())));
        for names in [&["a.b"][..], &["a.svc"], &["a.b.c.svc"], &["a.b.svc.cluster.local"]] {
            let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
            assert_eq!(service_of(&names), None, "{names:?}");
        }
    }
}
