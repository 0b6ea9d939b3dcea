//! Whether a certificate was issued under CAs, by WebPKI's rules, for servers and for clients. Verifies the chain, the dates and
//! the purpose. Names, and the proof that the peer holds the key, are others' part.
//!
//! rustls has verifiers for this. Their builders read revocation lists as well, which nothing here gives them: twenty kilobytes
//! of the executable.

use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error, OtherError, RootCertStore};
use webpki::{EndEntityCert, KeyUsage};

/// Was the certificate issued under one of the CAs for this usage, and is it in date?
pub(crate) fn verify(
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    algorithms: &WebPkiSupportedAlgorithms,
    usage: KeyUsage,
    now: UnixTime,
) -> Result<(), Error> {
    let certificate = EndEntityCert::try_from(certificate).map_err(refused)?;
    let path = certificate.verify_for_usage(algorithms.all, &roots.roots, intermediates, now, usage, None, None);
    path.map(drop).map_err(refused)
}

/// The error of rustls, by which it chooses an alert.
pub(crate) fn refused(error: webpki::Error) -> Error {
    use webpki::Error as E;
    Error::InvalidCertificate(match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::InvalidCertValidity => CertificateError::Expired,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::CertNotValidForName(names) => {
            CertificateError::NotValidForNameContext { expected: names.expected, presented: names.presented }
        }
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::UnsupportedSignatureAlgorithmContext(context) => CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: context.signature_algorithm_id,
            supported_algorithms: context.supported_algorithms,
        },
        E::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => {
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: context.signature_algorithm_id,
                public_key_algorithm_id: context.public_key_algorithm_id,
            }
        }
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        error => CertificateError::Other(OtherError(Arc::new(error))),
    })
}
