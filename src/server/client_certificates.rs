//! Accepts a client's certificate if a CA of the operator's file issued it for clients. Without one no client is heard.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use webpki::KeyUsage;

use crate::base::certificate_path;

/// The verifier of clients' certificates.
#[derive(Debug)]
pub(super) struct ClientCertificates {
    roots: RootCertStore,
    /// The CAs' subjects, by which a client chooses a certificate.
    subjects: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertificates {
    pub(super) fn new(roots: RootCertStore, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { subjects: roots.subjects(), roots, algorithms }
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let usage = KeyUsage::client_auth();
        certificate_path::verify(end_entity, intermediates, &self.roots, &self.algorithms, usage, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Purpose, IsCa, Issuer, KeyPair};
    use rustls::crypto::ring::default_provider;
    use rustls::server::WebPkiClientVerifier;

    use super::*;

    fn ca() -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        (certificate.der().clone(), Issuer::new(params, key))
    }

    fn issued_by(issuer: &Issuer<'_, KeyPair>, edit: impl Fn(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["apiserver".to_owned()]).unwrap();
        edit(&mut params);
        params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()
    }

    /// rustls' own verifier, which reads revocation lists as well, gives the same verdicts and asks for the same.
    #[test]
    fn a_client_is_accepted_as_rustls_accepts_it() {
        let ((root, issuer), (_, stranger)) = (ca(), ca());
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let algorithms = default_provider().signature_verification_algorithms;
        let ours = ClientCertificates::new(roots.clone(), algorithms);
        let theirs = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        let theirs = theirs.build().unwrap();
        let purpose =
            |purpose: Purpose| move |params: &mut CertificateParams| params.extended_key_usages = vec![purpose.clone()];
        let in_year = |year| move |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let as_ca = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let table = [
            ("for clients", issued_by(&issuer, purpose(Purpose::ClientAuth)), true),
            ("for anything", issued_by(&issuer, |_| ()), true),
            ("for servers", issued_by(&issuer, purpose(Purpose::ServerAuth)), false),
            ("by a stranger", issued_by(&stranger, |_| ()), false),
            ("expired", issued_by(&issuer, in_year(2001)), false),
            ("a CA", issued_by(&issuer, as_ca), false),
            ("the CA itself", root, false),
            ("no certificate", CertificateDer::from(vec![0x30, 0]), false),
        ];
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_796_083_200));
        for (what, certificate, expected) in table {
            let found = ours.verify_client_cert(&certificate, &[], now);
            let same = theirs.verify_client_cert(&certificate, &[], now);
            assert_eq!((found.is_ok(), same.is_ok()), (expected, expected), "{what}: {found:?}, {same:?}");
            if let (Err(found), Err(same)) = (found, same) {
                let alert = |error| match error {
                    Error::InvalidCertificate(why) => rustls::AlertDescription::from(why),
                    other => panic!("{other:?}"),
                };
                assert_eq!(alert(found), alert(same), "{what}");
            }
        }
        assert_eq!(format!("{:?}", ours.root_hint_subjects()), format!("{:?}", theirs.root_hint_subjects()));
        assert_eq!(ours.supported_verify_schemes(), theirs.supported_verify_schemes());
        assert_eq!(
            (ours.offer_client_auth(), ours.client_auth_mandatory()),
            (theirs.offer_client_auth(), theirs.client_auth_mandatory())
        );
    }
}
