//! Accepts a server's certificate by WebPKI's rules, with one exception that small sites need. `openssl req -x509` makes
//! a self-signed certificate that is marked as a CA, and WebPKI accepts no CA certificate as a server's. This verifier
//! accepts such a certificate if exactly this certificate is in the operator's bundle. Host name, dates and the proof that
//! the server holds the key are checked as for any other.
//!
//! Also says in an operator's words why a certificate was refused, and which certificate to issue instead.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage};

use crate::base::certificate_path;
use portreeve_verify::Validity;
use portreeve_verify::text::printable;

/// Most names of a certificate that a message lists.
const MAX_NAMES: usize = 5;

/// The verifier of server certificates.
#[derive(Debug)]
pub(crate) struct ServerCertificates {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
    /// The operator's bundle.
    bundle: Vec<CertificateDer<'static>>,
}

impl ServerCertificates {
    pub(crate) fn new(
        roots: RootCertStore,
        algorithms: WebPkiSupportedAlgorithms,
        bundle: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { roots, algorithms, bundle }
    }
}

impl ServerCertVerifier for ServerCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usage = KeyUsage::server_auth();
        match certificate_path::verify(end_entity, intermediates, &self.roots, &self.algorithms, usage, now) {
            Err(error) if is_ca_as_server(&error) && self.bundle.iter().any(|known| known == end_entity) => {
                check_dates(end_entity, now)?;
            }
            verdict => verdict?,
        }
        check_name(end_entity, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    // The proof that the server holds the key.
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

/// Is it the one rule to which there is an exception?
pub(crate) fn is_ca_as_server(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(other.0.downcast_ref::<webpki::Error>(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Is the certificate for this name?
pub(crate) fn check_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let certificate = EndEntityCert::try_from(certificate).map_err(certificate_path::refused)?;
    certificate.verify_is_valid_for_subject_name(name).map_err(certificate_path::refused)
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let validity = Validity::of(certificate).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < validity.not_before {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > validity.not_after {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

/// What is wrong with a certificate, and which one to issue instead.
pub(crate) fn describe(why: &CertificateError) -> String {
    let words = match why {
        // A CA that was made again under its old name shows as a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it was not issued by a CA that is trusted here (trust.ca adds the CA of a private server)"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet (is the clock right?)"
        }
        CertificateError::NotValidForName => "it was issued for another host name",
        CertificateError::NotValidForNameContext { expected, presented } => return wrong_name(expected, presented),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its extended key usage does not include servers; issue one with extendedKeyUsage=serverAuth"
        }
        #[expect(deprecated, reason = "rustls may still give it")]
        CertificateError::UnsupportedSignatureAlgorithm
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it, or a CA certificate above it, has a signature that is not accepted (SHA-1, or a key that is too weak); \
             issue one with SHA-256 and ECDSA P-256 or RSA of 2048 bits or more"
        }
        CertificateError::BadEncoding => "it is not a valid X.509 certificate",
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(error) => return rule_broken(error),
            None => return why.to_string(),
        },
        other => return other.to_string(),
    };
    words.to_owned()
}

fn wrong_name(expected: &ServerName<'_>, presented: &[String]) -> String {
    let host = expected.to_str();
    let kind = if matches!(expected, ServerName::IpAddress(_)) { "IP" } else { "DNS" };
    if presented.is_empty() {
        return format!(
            "it has no subjectAltName, and a common name alone names no host; issue one with \
             subjectAltName={kind}:{host}"
        );
    }
    // `DnsName("notary.local")`, as webpki has it.
    let bare = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner);
        printable(inner.trim_end_matches(')').trim_matches('"'), 80)
    };
    let names: Vec<String> = presented.iter().take(MAX_NAMES).map(bare).collect();
    let more = if presented.len() > MAX_NAMES { ", …" } else { "" };
    format!(
        "it is for {}{more} and not for {host}; use one of its names in the address, or issue one with \
         subjectAltName={kind}:{host}",
        names.join(", ")
    )
}

/// An error of WebPKI that rustls passes on unchanged.
fn rule_broken(error: &webpki::Error) -> String {
    use webpki::Error as E;
    let words = match error {
        E::UnsupportedCertVersion => {
            "it is of X.509 version 1, which names no host; issue one of version 3 with a subjectAltName (an older openssl \
             x509 -req makes version 1 unless -extfile is given)"
        }
        E::CaUsedAsEndEntity => {
            "it is a CA certificate (put exactly this certificate into the file of trust.ca, or use one that a CA issued)"
        }
        E::EndEntityUsedAsCa => {
            "its issuer's certificate is not a CA certificate; issue that one again with basicConstraints=CA:TRUE"
        }
        E::PathLenConstraintViolated => {
            "there are more CAs between it and the root than one of them allows (pathlen); issue it from a CA further up"
        }
        E::NameConstraintViolation => "a CA above it is not allowed to issue for this host (nameConstraints)",
        E::UnsupportedCriticalExtension => {
            "it, or a CA certificate above it, has a critical extension that is not supported; issue one without it"
        }
        E::InvalidSerialNumber => {
            "its serial number is negative, zero or too long; issue one with another serial number"
        }
        E::SignatureAlgorithmMismatch => "it names two different signature algorithms; issue it again",
        E::EmptyEkuExtension
        | E::ExtensionValueInvalid
        | E::MalformedDnsIdentifier
        | E::MalformedExtensions
        | E::MalformedNameConstraint
        | E::InvalidNetworkMaskConstraint
        | E::UnsupportedNameType => return format!("one of its extensions is malformed ({error}); issue it again"),
        E::MaximumNameConstraintComparisonsExceeded
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumPathDepthExceeded
        | E::MaximumSignatureChecksExceeded => {
            "the chain that the server sends is too long; it should send its own certificate and the CA certificates \
             between it and the root, and nothing else"
        }
        other => return format!("it violates a rule of X.509 ({other})"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
        date_time_ymd,
    };
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::base::files::scratch::Scratch;
    use crate::http::roots::{BuiltInRoots, verifier};

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

    /// `openssl req -new | openssl x509 -req -signkey …`, without an extension.
    const VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBKTCB0QIUS8KOsJX6/LxO4+DYdqUMbEoBRKYwCgYIKoZIzj0EAwIwFzEVMBMG
A1UEAwwMbm90YXJ5LmxvY2FsMCAXDTI2MTEzMDIwMDMyMFoYDzIxMjYxMTA2MjAw
MzIwWjAXMRUwEwYDVQQDDAxub3RhcnkubG9jYWwwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQSF0dfEgmbkYZsh5zpISSFIN2pVN8ebxbAPVEAndYnlsRAD5XMNfzT
vRY0xY0T2/iE1mEuerHwzHCwNIWZVnhVMAoGCCqGSM49BAMCA0cAMEQCIEzaC5pZ
Ezqsfbg1NRg3osD1ZV/jnG1k+4KTNG/GvHJiAiAz2s49u++gKh+qz8zBSQbkJlME
4l1XQCJbipGTOaBVmg==
-----END CERTIFICATE-----
";

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_with_what_to_issue() {
        let params = |names: &[&str], edit: fn(&mut CertificateParams)| {
            let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            let params = params.as_mut().unwrap();
            params.distinguished_name.push(DnType::CommonName, "notary.local");
            edit(params);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap()
        };
        let names: [&str; 7] = ["a.local", "b.local", "*.c.local", "10.0.0.1", "fd00::1", "d.local", "e.local"];
        let client = |params: &mut CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        };
        let critical = |params: &mut CertificateParams| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions = vec![extension];
        };
        let of_a_ca = |params: &mut CertificateParams| params.is_ca = ca();
        let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2001, 1, 1);
        let certificates = [
            (
                params(&[], |_| ()),
                "no subjectAltName, and a common name alone names no host; issue one with \
                                   subjectAltName=DNS:notary.local",
            ),
            (params(&[], of_a_ca), "subjectAltName=DNS:notary.local"),
            (
                params(&names, |_| ()),
                "it is for a.local, b.local, *.c.local, 10.0.0.1, fd00::1, … and not for notary.local",
            ),
            (params(&["notary.local"], client), "extendedKeyUsage=serverAuth"),
            (params(&["notary.local"], critical), "critical extension"),
            (params(&["notary.local"], expired), "it has expired"),
        ];
        let scratch = Scratch::new();
        let told = |der: &CertificateDer<'_>, bundle: &str, name: &str| {
            let verifier = verifier(BuiltInRoots::Trusted, Some(&scratch.write("ca.pem", bundle))).unwrap();
            let name = ServerName::try_from(name.to_owned()).unwrap();
            match verifier.verify_server_cert(der, &[], &name, &[], UnixTime::now()) {
                Err(Error::InvalidCertificate(why)) => describe(&why),
                other => panic!("{other:?}"),
            }
        };
        for (certificate, words) in &certificates {
            let found = told(certificate.der(), &certificate.pem(), "notary.local");
            assert!(found.contains(words), "{words}: {found}");
        }
        let found = told(certificates[0].0.der(), &certificates[0].0.pem(), "10.1.2.3");
        assert!(found.contains("subjectAltName=IP:10.1.2.3"), "{found}");
        let version_1 = CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap();
        for bundle in [VERSION_1, &certificates[0].0.pem()] {
            let found = told(&version_1, bundle, "notary.local");
            assert!(found.contains("X.509 version 1") && found.contains("version 3 with a subjectAltName"), "{found}");
        }
        let not_known = told(certificates[1].0.der(), &certificates[0].0.pem(), "notary.local");
        assert!(!not_known.contains("Error") && !not_known.contains("Other"), "{not_known}");
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
