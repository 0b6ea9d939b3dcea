//! A private CA, and the serving certificate that every server of a test uses: for `localhost`, and for `notary.test`,
//! a name that only a test's own proxy resolves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portreeve_test_support::temp::TempDir;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The CA's certificate and one serving certificate, as files and as TLS configurations.
#[derive(Debug)]
pub(crate) struct Pki {
    dir: TempDir,
}

impl Pki {
    pub(crate) fn new() -> Arc<Self> {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = params(&[], "test CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(ca, ca_key);

        let key = KeyPair::generate().unwrap();
        let leaf = params(&["localhost", "127.0.0.1", "notary.test"], "localhost").signed_by(&key, &issuer).unwrap();

        let dir = TempDir::new();
        dir.write("ca.pem", ca_certificate.pem());
        dir.write("tls.crt", leaf.pem());
        dir.write("tls.key", key.serialize_pem());
        Arc::new(Self { dir })
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.file("tls.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.file("tls.key")
    }

    /// A client's configuration that trusts this CA alone.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// A server's configuration for `localhost`.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let chain = vec![CertificateDer::from_pem_file(self.certificate()).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.key()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Arc::new(config)
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::join(self.dir.path(), name)
    }
}

/// Parameters of a certificate for these names.
pub(crate) fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
