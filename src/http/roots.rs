//! The CAs under which servers are trusted: Mozilla's roots, which are built in, and the operator's bundle. Reads one file.
//! One certificate that cannot be read makes the whole bundle an error.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::server_verifier::ServerCertificates;
use crate::base::files::{FileError, read_capped};

/// Largest bundle. Mozilla's own has a quarter of this size.
const MAX_BUNDLE: usize = 1 << 20;

/// Are Mozilla's roots trusted besides the bundle?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuiltInRoots {
    /// They are, and the bundle may be absent.
    Trusted,
    /// The bundle alone is trusted, and must be there.
    Ignored,
}

/// The TLS client's configuration under these roots. An absent bundle adds nothing to the built-in ones.
pub(crate) fn tls_config(built_in: BuiltInRoots, bundle: Option<&Path>) -> Result<Arc<ClientConfig>, CaError> {
    // The provider is given, so that no feature of another dependency can choose another one.
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| CaError::Tls { source })?
        // rustls calls every verifier of one's own dangerous. Ours uses WebPKI's rules (`server_verifier`).
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier(built_in, bundle)?))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The verifier of servers under these roots.
pub(crate) fn verifier(built_in: BuiltInRoots, bundle: Option<&Path>) -> Result<ServerCertificates, CaError> {
    let mut own = Vec::new();
    let mut roots = match built_in {
        BuiltInRoots::Trusted => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        BuiltInRoots::Ignored => RootCertStore::empty(),
    };
    if let Some(path) = bundle {
        match read_capped(path, MAX_BUNDLE) {
            Ok(pem) => own = add_bundle(&mut roots, path, &pem)?,
            Err(source) if source.is_not_found() && built_in == BuiltInRoots::Trusted => {
                log::info!("no CA bundle at {}: only the built-in roots are trusted", path.display());
            }
            Err(source) => return Err(CaError::File { path: path.to_owned(), source }),
        }
    }
    if roots.is_empty() {
        return Err(CaError::NoRoots);
    }
    Ok(ServerCertificates::new(roots, provider().signature_verification_algorithms, own))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Adds the bundle's certificates to the roots, and returns them.
fn add_bundle(roots: &mut RootCertStore, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let mut certificates = Vec::new();
    let mut number = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        number += 1;
        let certificate = certificate.map_err(|_| CaError::Pem { path: path.to_owned(), number })?;
        certificates.push(certificate.clone());
        roots.add(certificate).map_err(|source| CaError::Certificate { path: path.to_owned(), number, source })?;
    }
    if number == 0 {
        return Err(CaError::Empty { path: path.to_owned() });
    }
    Ok(certificates)
}

/// A CA bundle that cannot be used.
#[derive(Debug)]
pub enum CaError {
    /// The file cannot be read.
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FileError,
    },
    /// It contains no certificate.
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// One of its blocks is not PEM.
    Pem {
        /// The file.
        path: PathBuf,
        /// Which one, from 1.
        number: usize,
    },
    /// One of its certificates cannot be a root.
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which one, from 1.
        number: usize,
        /// Why.
        source: rustls::Error,
    },
    /// No CA is trusted at all.
    NoRoots,
    /// TLS cannot be set up.
    Tls {
        /// Why.
        source: rustls::Error,
    },
}

impl fmt::Display for CaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => write!(f, "CA bundle {} {source}", path.display()),
            Self::Empty { path } => write!(f, "CA bundle {} contains no certificate in PEM", path.display()),
            Self::Pem { path, number } => {
                write!(f, "CA bundle {}: block {number} is not valid PEM", path.display())
            }
            Self::Certificate { path, number, source } => {
                write!(f, "CA bundle {}: certificate {number} cannot be used: {source}", path.display())
            }
            Self::NoRoots => {
                f.write_str("no CA is trusted: there is no CA bundle, and the built-in roots are not used")
            }
            Self::Tls { source } => write!(f, "TLS cannot be set up: {source}"),
        }
    }
}

impl std::error::Error for CaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Certificate { source, .. } | Self::Tls { source } => Some(source),
            Self::Empty { .. } | Self::Pem { .. } | Self::NoRoots => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use portreeve_test_support::certificates::Authority;

    use super::*;
    use crate::base::files::scratch::Scratch;

    #[test]
    fn a_bundle_counts_only_whole() {
        let scratch = Scratch::new();
        let good = Authority::new().pem();
        let tls_config = |bundle: Option<&Path>| super::tls_config(BuiltInRoots::Trusted, bundle);
        assert!(tls_config(None).is_ok());
        assert!(tls_config(Some(&scratch.path().join("absent"))).is_ok());
        assert!(tls_config(Some(&scratch.write("one", &good))).is_ok());
        assert!(tls_config(Some(&scratch.write("two", format!("# ours\n{good}{good}")))).is_ok());
        let bad = scratch.write("empty", "");
        assert!(matches!(tls_config(Some(&bad)), Err(CaError::Empty { .. })));
        let bad = scratch.write("cut", format!("{good}-----BEGIN CERTIFICATE-----\nMIIB\n"));
        assert!(matches!(tls_config(Some(&bad)), Err(CaError::Pem { number: 2, .. })));
        let bad =
            scratch.write("junk", format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
        assert!(matches!(tls_config(Some(&bad)), Err(CaError::Certificate { number: 2, .. })));
        assert!(matches!(tls_config(Some(scratch.path())), Err(CaError::File { .. })));
    }

    #[test]
    fn a_bundle_that_stands_alone_must_be_there() {
        let scratch = Scratch::new();
        let alone = |bundle: Option<&Path>| tls_config(BuiltInRoots::Ignored, bundle);
        assert!(alone(Some(&scratch.write("one", Authority::new().pem()))).is_ok());
        assert!(matches!(alone(Some(&scratch.path().join("absent"))), Err(CaError::File { .. })));
        assert!(matches!(alone(None), Err(CaError::NoRoots)));
    }
}
