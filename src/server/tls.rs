//! TLS of the server: certificate, key and client CA, read from files and read again when they change.
//!
//! A set of files takes effect only as a whole and only if it can be used: the chain parses, the key belongs to it, the
//! certificate is in date, the client CA contains certificates. Otherwise the last good set stays in force, the log says why,
//! and a metric counts it. Only where the set in force is out of date as well, one that is out of date takes effect: this
//! machine's clock may be wrong, and the files may be right. Until its time comes, the server is not ready.
//! Sessions are not resumed: a resumed session would outlive the client CA that allowed it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};

use portreeve_verify::Validity;

use super::client_certificates::ClientCertificates;
use super::settings::TlsFiles;
use crate::base::clock;
use crate::base::files::{FileError, Stamp, read_capped};
use crate::base::reload::{Reload, Reloading, Source};
use crate::metrics::{Metrics, Reloaded};

/// The TLS configuration in force.
#[derive(Debug)]
pub(super) struct TlsStore {
    loaded: Reloading<ServingFiles>,
    metrics: Arc<Metrics>,
    /// Why the files could not be used at the last check.
    complaint: Mutex<Option<String>>,
}

impl TlsStore {
    /// Reads the files. There is no earlier set to fall back to, so that any fault is an error.
    pub(super) fn load(files: TlsFiles, metrics: Arc<Metrics>) -> Result<Self, TlsError> {
        // The caller decides how often to check.
        let loaded = Reloading::start(ServingFiles(files), Duration::ZERO)?;
        let complaint = loaded.value().announce(&loaded.source().0, &metrics).err();
        Ok(Self { loaded, metrics, complaint: Mutex::new(complaint) })
    }

    /// The configuration of the next handshake.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.loaded.value().config
    }

    /// Whether the certificate in force is in date. `Err` says what is wrong with it.
    pub(super) fn is_in_date(&self) -> Result<(), String> {
        let TlsFiles { certificate, .. } = &self.loaded.source().0;
        self.loaded.value().check_dates(certificate, clock::now()).map_err(|error| error.to_string())
    }

    /// Checks the files, and puts them in force if they changed and can be used. After a failure they are read at every
    /// check, changed or not: the cause may have been a lack of descriptors. The same complaint is logged once.
    pub(super) fn look(&self) {
        let mut complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        match self.loaded.check() {
            // A set that was out of date, and is in force, may have come into its time.
            Reload::Unchanged if complaint.is_some() && self.is_in_date().is_ok() => {
                log::info!("the serving certificate is in date now");
                *complaint = None;
                self.metrics.reload(Reloaded::Certificate, true);
            }
            Reload::Unchanged => {}
            Reload::Made(loaded) => {
                *complaint = loaded.announce(&self.loaded.source().0, &self.metrics).err();
                if complaint.is_none() {
                    self.metrics.reload(Reloaded::Certificate, true);
                }
            }
            Reload::Failed { error, again } => {
                let error = error.to_string();
                if !again || complaint.as_ref() != Some(&error) {
                    log::error!("the changed serving certificate is not used, the last good one stays: {error}");
                    self.metrics.reload(Reloaded::Certificate, false);
                }
                *complaint = Some(error);
            }
        }
    }
}

#[derive(Debug)]
struct ServingFiles(TlsFiles);

impl Source for ServingFiles {
    type Value = Loaded;
    type Stamp = [Option<Stamp>; 3];
    type Error = TlsError;

    fn stamp(&self) -> [Option<Stamp>; 3] {
        let TlsFiles { certificate, key, client_ca } = &self.0;
        [Stamp::of(certificate), Stamp::of(key), client_ca.as_deref().and_then(Stamp::of)]
    }

    fn make(&self, _: &[Option<Stamp>; 3], last: Option<&Loaded>) -> Result<Loaded, TlsError> {
        let (loaded, path, now) = (load(&self.0)?, &self.0.certificate, clock::now());
        match last {
            Some(last) if last.check_dates(path, now).is_ok() => loaded.check_dates(path, now).map(|()| loaded),
            _ => Ok(loaded),
        }
    }

    fn is_transient(&self, _: &TlsError) -> bool {
        true
    }
}

/// A set of files that can be used.
#[derive(Clone, Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    validity: Validity,
}

impl Loaded {
    /// Reports what is in force now. `Err` if it is out of date, which counts as a failure: kube-apiserver refuses it.
    fn announce(&self, files: &TlsFiles, metrics: &Metrics) -> Result<(), String> {
        metrics.certificate_not_after(self.validity.not_after);
        let dates = self.check_dates(&files.certificate, clock::now()).map_err(|error| error.to_string());
        match &dates {
            Ok(()) => {
                let until = time(self.validity.not_after);
                log::info!("serving certificate {} in force, valid until {until}", files.certificate.display());
            }
            Err(error) => {
                log::error!("{error}; it is used for want of another, but this instance is not ready");
                metrics.reload(Reloaded::Certificate, false);
            }
        }
        dates
    }

    /// Is the certificate in date?
    fn check_dates(&self, path: &Path, now: jiff::Timestamp) -> Result<(), TlsError> {
        let Validity { not_before, not_after } = self.validity;
        let path = path.to_owned();
        match now.as_second() {
            second if second < not_before => Err(TlsError::NotYetValid { path, from: not_before }),
            second if second > not_after => Err(TlsError::Expired { path, until: not_after }),
            _ => Ok(()),
        }
    }
}

/// A time in seconds since 1970, for people.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "the year 9999".to_owned(), |time| time.to_string())
}

fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&files.certificate, "a PEM certificate chain, leaf first")?;
    let validity = chain
        .first()
        .and_then(|leaf| Validity::of(leaf))
        .ok_or_else(|| TlsError::NotACertificate { path: files.certificate.clone() })?;
    let key = private_key(&files.key)?;
    let signing = provider
        .key_provider
        .load_private_key(key)
        .map_err(|source| TlsError::UnusableKey { path: files.key.clone(), source })?;
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(|source| TlsError::KeyMismatch {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    })?;
    let mut config = with_clients(&provider, files.client_ca.as_deref())?
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    // HTTP/2 is not supported. Without this a Go client would choose it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Loaded { config: Arc::new(config), validity })
}

fn with_clients(
    provider: &Arc<CryptoProvider>,
    client_ca: Option<&Path>,
) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|source| TlsError::Provider { source })?;
    let Some(path) = client_ca else {
        return Ok(builder.with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for ca in certificates(path, "a PEM bundle of CA certificates")? {
        roots.add(ca).map_err(|source| TlsError::UnusableClientCa { path: path.to_owned(), source })?;
    }
    let verifier = ClientCertificates::new(roots, provider.signature_verification_algorithms);
    Ok(builder.with_client_cert_verifier(Arc::new(verifier)))
}

fn certificates(path: &Path, expected: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(path, expected)?)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { path: path.to_owned(), expected, source })?;
    match found.is_empty() {
        true => Err(TlsError::Nothing { path: path.to_owned(), expected }),
        false => Ok(found),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let expected = "a PEM private key (PKCS#8, PKCS#1 or SEC1, not encrypted)";
    PrivateKeyDer::from_pem_slice(&read(path, expected)?).map_err(|source| match source {
        rustls::pki_types::pem::Error::NoItemsFound => TlsError::Nothing { path: path.to_owned(), expected },
        source => TlsError::Pem { path: path.to_owned(), expected, source },
    })
}

/// The serving certificate in these files, if they can be used together. For people.
pub(crate) fn serving_leaf(files: &TlsFiles) -> Result<CertificateDer<'static>, TlsError> {
    load(files)?;
    let chain = certificates(&files.certificate, "a PEM certificate chain, leaf first")?;
    chain.into_iter().next().ok_or_else(|| TlsError::NotACertificate { path: files.certificate.clone() })
}

/// No certificate file is that large. A device or a log that was mounted by mistake is.
const MAX_FILE: usize = 1 << 20;

fn read(path: &Path, expected: &'static str) -> Result<Vec<u8>, TlsError> {
    read_capped(path, MAX_FILE).map_err(|source| TlsError::File { path: path.to_owned(), expected, source })
}

/// The files of the serving certificate cannot be used.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read.
    File {
        /// The file.
        path: PathBuf,
        /// What it should contain.
        expected: &'static str,
        /// The cause.
        source: FileError,
    },
    /// A file is damaged PEM.
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should contain.
        expected: &'static str,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// A file does not contain what is expected.
    Nothing {
        /// The file.
        path: PathBuf,
        /// What it should contain.
        expected: &'static str,
    },
    /// The first PEM block is no X.509 certificate.
    NotACertificate {
        /// The file.
        path: PathBuf,
    },
    /// The certificate has expired.
    Expired {
        /// The file.
        path: PathBuf,
        /// Its last second.
        until: i64,
    },
    /// The certificate is not valid yet.
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// Its first second.
        from: i64,
    },
    /// The key is of a kind that is not supported.
    UnusableKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// Certificate and key do not belong together.
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The client CA cannot be used.
    UnusableClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The crypto library lacks TLS 1.2 or 1.3.
    Provider {
        /// What is wrong.
        source: rustls::Error,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, expected, source } => {
                write!(f, "{} {source}; expected {expected}", path.display())
            }
            Self::Pem { path, expected, source } => {
                write!(f, "{} is damaged ({source}); expected {expected}", path.display())
            }
            Self::Nothing { path, expected } => {
                write!(f, "{} does not contain what is expected: {expected}", path.display())
            }
            Self::NotACertificate { path } => {
                write!(f, "the first certificate in {} is not X.509; expected the serving certificate", path.display())
            }
            Self::Expired { path, until } => {
                let until = time(*until);
                write!(
                    f,
                    "the serving certificate in {} expired {until}; kube-apiserver refuses it, so renew it",
                    path.display()
                )
            }
            Self::NotYetValid { path, from } => write!(
                f,
                "the serving certificate in {} is not valid before {}, and kube-apiserver refuses it until then; see whether \
                 the clocks of this node and of its issuer are right",
                path.display(),
                time(*from)
            ),
            Self::UnusableKey { path, source } => {
                write!(
                    f,
                    "the key in {} cannot be used ({source}); expected RSA, P-256, P-384 or Ed25519",
                    path.display()
                )
            }
            Self::KeyMismatch { certificate, key, source: _ } => write!(
                f,
                "the key in {} does not belong to the first certificate in {}; expected the pair that was issued together",
                key.display(),
                certificate.display()
            ),
            Self::UnusableClientCa { path, source } => {
                write!(f, "the client CA in {} cannot be used ({source}); expected CA certificates", path.display())
            }
            Self::Provider { source } => write!(f, "TLS cannot be set up: {source}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Pem { source, .. } => Some(source),
            Self::UnusableKey { source, .. }
            | Self::KeyMismatch { source, .. }
            | Self::UnusableClientCa { source, .. }
            | Self::Provider { source } => Some(source),
            Self::Nothing { .. } | Self::NotACertificate { .. } | Self::Expired { .. } | Self::NotYetValid { .. } => {
                None
            }
        }
    }
}
