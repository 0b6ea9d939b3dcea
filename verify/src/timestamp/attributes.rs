//! The signed attributes (RFC 5652 §5.3), each of which may be there once.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::signed_data::{CT_TST_INFO, IssuerAndSerial};
use crate::crypto::algorithm::Hash;
use crate::crypto::certificate_ref::CertificateRef;
use crate::crypto::der::{Reader, tag};
use crate::crypto::extension::GeneralName;

const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3]; // 1.2.840.113549.1.9.3
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4]; // 1.2.840.113549.1.9.4
const SIGNING_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 2, 12]; // 1.2.840.113549.1.9.16.2.12
const SIGNING_CERTIFICATE_V2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 2, 47]; // 1.2.840.113549.1.9.16.2.47

/// Those that a time stamp must have (RFC 3161 §2.4.2, RFC 5816 §2.2.1). The others, such as a signing time, say nothing that the
/// `TSTInfo` does not say.
pub(super) struct SignedAttributes<'a> {
    /// The hash of the content.
    pub(super) message_digest: &'a [u8],
    /// Which certificate's key has signed: at least one of the two.
    signing_certificate: [Option<CertificateId<'a>>; 2],
}

impl<'a> SignedAttributes<'a> {
    /// From the content of the set. Its order is checked: the signature is over the DER form (RFC 5652 §5.4).
    pub(super) fn read(set: &mut Reader<'a>) -> Option<Self> {
        let mut is_tst_info = false;
        let mut message_digest = None;
        let mut signing_certificate = [None, None];
        let mut before: Option<Attribute<'a>> = None;
        while !set.is_empty() {
            let attribute = Attribute::read(set)?;
            if before.is_some_and(|before| before.der >= attribute.der) {
                return None;
            }
            before = Some(attribute);
            let is_second = match attribute.oid {
                CONTENT_TYPE => {
                    let is_known = attribute.one(|value| value.oid())? == CT_TST_INFO;
                    std::mem::replace(&mut is_tst_info, is_known) || !is_known
                }
                MESSAGE_DIGEST => {
                    message_digest.replace(attribute.one(|value| value.content(tag::OCTET_STRING))?).is_some()
                }
                SIGNING_CERTIFICATE => {
                    let [first, _] = &mut signing_certificate;
                    first.replace(attribute.one(|value| CertificateId::signing(value, false))?).is_some()
                }
                SIGNING_CERTIFICATE_V2 => {
                    let [_, second] = &mut signing_certificate;
                    second.replace(attribute.one(|value| CertificateId::signing(value, true))?).is_some()
                }
                _ => false,
            };
            if is_second {
                return None;
            }
        }
        let is_whole = is_tst_info && signing_certificate.iter().any(Option::is_some);
        message_digest.filter(|_| is_whole).map(|message_digest| Self { message_digest, signing_certificate })
    }

    /// Is this the certificate that the authority has signed with?
    pub(super) fn name(&self, certificate: &CertificateRef<'_>) -> bool {
        self.signing_certificate.iter().flatten().all(|id| id.is_of(certificate))
    }
}

/// One attribute of any kind.
#[derive(Clone, Copy)]
pub(super) struct Attribute<'a> {
    der: &'a [u8],
    oid: &'a [u8],
    values: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// With at least one value. Values are in order.
    pub(super) fn read(set: &mut Reader<'a>) -> Option<Self> {
        let element = set.any().filter(|element| element.tag == tag::SEQUENCE)?;
        Reader::all(element.content, |attribute| {
            let oid = attribute.oid()?;
            let values = attribute.content(tag::SET)?;
            let mut before = None;
            let mut rest = Reader::new(values);
            while !rest.is_empty() {
                let value = rest.any()?.whole;
                if before.replace(value).is_some_and(|before| before >= value) {
                    return None;
                }
            }
            before.map(|_| Self { der: element.whole, oid, values })
        })
    }

    /// Its one value.
    fn one<T>(self, read: impl FnOnce(&mut Reader<'a>) -> Option<T>) -> Option<T> {
        Reader::all(self.values, read)
    }
}

/// An `ESSCertID` or `ESSCertIDv2` (RFC 5035 §4 and §5.4).
struct CertificateId<'a> {
    /// `None` for SHA-1, which the first version of the attribute has. A second certificate with the same hash, which
    /// would have to be of the same key and of a trusted CA as well, is out of reach with SHA-1 too.
    hash: Option<Hash>,
    value: &'a [u8],
    issuer_and_serial: Option<IssuerAndSerial<'a>>,
}

impl<'a> CertificateId<'a> {
    /// From a `SigningCertificate` or `SigningCertificateV2` with one certificate. Further ones would limit the chain
    /// (RFC 5035 §5.4), which is not supported.
    fn signing(reader: &mut Reader<'a>, is_second_version: bool) -> Option<Self> {
        reader.within(tag::SEQUENCE, |signing| {
            let id = signing.within(tag::SEQUENCE, |list| {
                list.within(tag::SEQUENCE, |id| {
                    let hash = match (is_second_version, id.is_next(tag::SEQUENCE)) {
                        (false, _) => None,
                        (true, false) => Some(Hash::Sha256),
                        (true, true) => Some(id.within(tag::SEQUENCE, Hash::read)?),
                    };
                    let value = id.content(tag::OCTET_STRING)?;
                    let issuer_and_serial =
                        if id.is_empty() { None } else { Some(id.within(tag::SEQUENCE, issuer_serial)?) };
                    Some(Self { hash, value, issuer_and_serial })
                })
            })?;
            if !signing.is_empty() {
                signing.content(tag::SEQUENCE)?; // policies
            }
            Some(id)
        })
    }

    fn is_of(&self, certificate: &CertificateRef<'_>) -> bool {
        let found = match self.hash {
            Some(hash) => hash.of(certificate.der),
            None => digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate.der),
        };
        found.as_ref() == self.value && self.issuer_and_serial.is_none_or(|id| id.is_of(certificate))
    }
}

/// An `IssuerSerial`: the issuer is a list of names there.
fn issuer_serial<'a>(reader: &mut Reader<'a>) -> Option<IssuerAndSerial<'a>> {
    let names = GeneralName::read_all(reader.any()?.whole)?;
    match names.as_slice() {
        [GeneralName::Directory(issuer)] => Some(IssuerAndSerial { issuer: *issuer, serial_number: reader.integer()? }),
        _ => None,
    }
}
