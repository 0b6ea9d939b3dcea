//! The serving side's TLS: certificate, key and client CA, read from files and read again when they change.
//!
//! A set of files takes effect only as a whole and only when it is sound: the chain parses, the key belongs to it, the
//! client CA holds certificates. Otherwise the last good set stays in force, the log says why, and a metric rises.
//! Sessions are not resumed: a resumed session would outlive the client CA that let it in.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use x509_cert::der::Decode as _;

use super::settings::TlsFiles;
use crate::metrics::{Metrics, What};

/// The TLS configuration in force.
#[derive(Debug)]
pub(super) struct TlsStore {
    files: TlsFiles,
    metrics: Arc<Metrics>,
    current: RwLock<Arc<ServerConfig>>,
    last: Mutex<LastLook>,
}

impl TlsStore {
    /// Reads the files; there is nothing to fall back to yet, so any fault is an error.
    pub(super) fn load(files: TlsFiles, metrics: Arc<Metrics>) -> Result<Self, TlsError> {
        let stamps = Stamps::of(&files);
        let loaded = load(&files)?;
        loaded.announce(&files, &metrics);
        Ok(Self {
            files,
            metrics,
            current: RwLock::new(loaded.config),
            last: Mutex::new(LastLook { stamps, complaint: None }),
        })
    }

    /// What the next handshake uses.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks whether the files changed, and takes them over if they did and are sound. After a failure the files are
    /// read again each time, changed or not: what was missing may have been descriptors, not certificates.
    pub(super) fn look(&self) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Stamped before reading, so that a change during the read is seen next time.
        let stamps = Stamps::of(&self.files);
        let changed = stamps != last.stamps;
        if !changed && last.complaint.is_none() {
            return;
        }
        last.stamps = stamps;
        match load(&self.files) {
            Ok(loaded) => {
                loaded.announce(&self.files, &self.metrics);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded.config;
                last.complaint = None;
                self.metrics.reload(What::Certificate, true);
            }
            Err(error) => {
                let complaint = error.to_string();
                if changed || last.complaint.as_ref() != Some(&complaint) {
                    log::error!("the changed serving certificate is not used, the last good one stays: {complaint}");
                    self.metrics.reload(What::Certificate, false);
                }
                last.complaint = Some(complaint);
            }
        }
    }
}

#[derive(Debug)]
struct LastLook {
    stamps: Stamps,
    complaint: Option<String>,
}

/// A sound set of files.
struct Loaded {
    config: Arc<ServerConfig>,
    not_after: i64,
}

impl Loaded {
    fn announce(&self, files: &TlsFiles, metrics: &Metrics) {
        metrics.certificate_not_after(self.not_after);
        let until = jiff::Timestamp::from_second(self.not_after).map_or_else(|_| "?".to_owned(), |t| t.to_string());
        let path = files.certificate.display();
        if self.not_after <= jiff::Timestamp::now().as_second() {
            // Taken all the same: this clock may be the one that is wrong, and probes still have to be answered.
            log::error!("the serving certificate {path} ended {until}; kube-apiserver will refuse it, renew it");
        } else {
            log::info!("serving certificate {path} in force, valid until {until}");
        }
    }
}

fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&files.certificate, "a PEM certificate chain, leaf first")?;
    let not_after = chain
        .first()
        .and_then(|leaf| x509_cert::Certificate::from_der(leaf).ok())
        .map(|leaf| leaf.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
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
    // HTTP/2 is not spoken; without this a Go client would choose it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Loaded { config: Arc::new(config), not_after: i64::try_from(not_after).unwrap_or(i64::MAX) })
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
    let unusable = |source| TlsError::UnusableClientCa { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for ca in certificates(path, "a PEM bundle of CA certificates")? {
        roots.add(ca).map_err(|error| unusable(Box::new(error)))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| unusable(Box::new(error)))?;
    Ok(builder.with_client_cert_verifier(verifier))
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

/// No certificate file is that large; a device or a log that was mounted by mistake is.
const FILE_BYTES: u64 = 1 << 20;

fn read(path: &Path, expected: &'static str) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), expected, source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(TlsError::TooLarge { path: path.to_owned(), expected });
    }
    Ok(bytes)
}

/// What tells one state of the files from another, through kubelet's `..data` link.
#[derive(Debug, PartialEq, Eq)]
struct Stamps([Option<Stamp>; 3]);

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    device: u64,
    length: u64,
    modified: Option<SystemTime>,
    changed: (i64, i64),
}

impl Stamps {
    fn of(files: &TlsFiles) -> Self {
        use std::os::linux::fs::MetadataExt as _;
        let stamp = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some(Stamp {
                inode: found.st_ino(),
                device: found.st_dev(),
                length: found.len(),
                modified: found.modified().ok(),
                changed: (found.st_ctime(), found.st_ctime_nsec()),
            })
        };
        Self([stamp(&files.certificate), stamp(&files.key), files.client_ca.as_deref().and_then(stamp)])
    }
}

/// The serving side's files cannot be used.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is larger than any certificate.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// A file is damaged PEM.
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds nothing of the kind.
    Nothing {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The first PEM block is no X.509 certificate.
    NotACertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key is of no kind we can sign with.
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
        source: Box<dyn std::error::Error + Send + Sync>,
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
            Self::Unreadable { path, expected, source } => {
                write!(f, "{} cannot be read ({source}); expected {expected}", path.display())
            }
            Self::TooLarge { path, expected } => {
                write!(f, "{} is larger than {FILE_BYTES} bytes; expected {expected}", path.display())
            }
            Self::Pem { path, expected, source } => {
                write!(f, "{} is damaged ({source}); expected {expected}", path.display())
            }
            Self::Nothing { path, expected } => {
                write!(f, "{} holds nothing of what is expected: {expected}", path.display())
            }
            Self::NotACertificate { path } => {
                write!(f, "the first certificate in {} is not X.509; expected the serving certificate", path.display())
            }
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
            Self::Unreadable { source, .. } => Some(source),
            Self::Pem { source, .. } => Some(source),
            Self::UnusableKey { source, .. } | Self::KeyMismatch { source, .. } | Self::Provider { source } => {
                Some(source)
            }
            Self::UnusableClientCa { source, .. } => Some(source.as_ref()),
            Self::TooLarge { .. } | Self::Nothing { .. } | Self::NotACertificate { .. } => None,
        }
    }
}
