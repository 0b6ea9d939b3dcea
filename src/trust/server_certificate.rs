//! Accepting a trust server's certificate: by WebPKI's rules, and one more case that small sites live on. A certificate
//! that was made with `openssl req -x509` is self-signed and says of itself that it is a CA, so by the rules it can be
//! no server's; but where exactly this certificate stands in the operator's bundle, there is nothing left to prove but
//! its host name, its dates and that the server holds its key.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use webpki::EndEntityCert;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// The verifier.
#[derive(Debug)]
pub(super) struct ServerCertificates {
    rules: Arc<WebPkiServerVerifier>,
    /// The operator's bundle.
    bundle: Vec<CertificateDer<'static>>,
}

impl ServerCertificates {
    pub(super) fn new(rules: Arc<WebPkiServerVerifier>, bundle: Vec<CertificateDer<'static>>) -> Self {
        Self { rules, bundle }
    }
}

impl ServerCertVerifier for ServerCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.rules.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if is_ca_as_server(&error) && self.bundle.iter().any(|known| known == end_entity) => {
                check_name(end_entity, server_name)?;
                check_dates(end_entity, now)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    // Possession of the key is always proved by the rules.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.rules.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.rules.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rules.supported_verify_schemes()
    }
}

/// The one rule that may be waived.
pub(super) fn is_ca_as_server(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(other.0.downcast_ref::<webpki::Error>(), Some(webpki::Error::CaUsedAsEndEntity))
}

fn check_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let certificate =
        EndEntityCert::try_from(certificate).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let verdict = certificate.verify_is_valid_for_subject_name(name);
    verdict.map_err(|_| Error::InvalidCertificate(CertificateError::NotValidForName))
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate =
        Certificate::from_der(certificate).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let validity = certificate.tbs_certificate().validity();
    let now = Duration::from_secs(now.as_secs());
    if now < validity.not_before.to_unix_duration() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > validity.not_after.to_unix_duration() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;
    use crate::credentials::files::scratch::Scratch;
    use crate::trust::ca::{BuiltInRoots, verifier};

    fn certificate(host: &str, is_ca: IsCa, last_year: i32) -> rcgen::Certificate {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.is_ca = is_ca;
        params.not_after = date_time_ymd(last_year, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    fn ca() -> IsCa {
        IsCa::Ca(BasicConstraints::Unconstrained)
    }

    #[test]
    fn a_self_signed_certificate_counts_only_where_it_is_itself_in_the_bundle() {
        let scratch = Scratch::new();
        let good = certificate("notary.local", ca(), 4000);
        let table = [
            ("in the bundle", certificate("notary.local", ca(), 4000), None, true),
            ("no CA either", certificate("notary.local", IsCa::NoCa, 4000), None, true),
            ("another host", certificate("other.local", ca(), 4000), None, false),
            ("expired", certificate("notary.local", ca(), 2001), None, false),
            ("not in the bundle", certificate("notary.local", ca(), 4000), Some(&good), false),
        ];
        for (what, server, bundle, expected) in table {
            let bundle = bundle.unwrap_or(&server).pem();
            let verifier = verifier(BuiltInRoots::Trusted, Some(&scratch.write("ca.pem", bundle))).unwrap();
            let name = ServerName::try_from("notary.local").unwrap();
            let verdict = verifier.verify_server_cert(server.der(), &[], &name, &[], UnixTime::now());
            assert_eq!(verdict.is_ok(), expected, "{what}: {verdict:?}");
        }
    }

    #[test]
    fn dates_hold_for_it_too() {
        let certificate = certificate("notary.local", ca(), 2001);
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = Error::InvalidCertificate(CertificateError::Expired);
        let early = Error::InvalidCertificate(CertificateError::NotValidYet);
        assert_eq!(check_dates(certificate.der(), at(900_000_000)), Ok(()));
        assert_eq!(check_dates(certificate.der(), at(1_000_000_000)), Err(expired));
        assert_eq!(check_dates(certificate.der(), at(1_000)), Err(early));
    }
}
