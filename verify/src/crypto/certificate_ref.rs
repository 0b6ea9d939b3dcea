//! One X.509 certificate in the bytes that it was read from: all fields and extensions that a verifier asks for.

use super::algorithm::signature_algorithm;
use super::certificate::Validity;
use super::der::{Reader, tag};
use super::extension::{
    BASIC_CONSTRAINTS, BasicConstraints, EXTENDED_KEY_USAGE, ExtendedKeyUsage, Extension, GeneralName, KEY_USAGE,
    KeyUsage, SUBJECT_ALT_NAME, SUBJECT_KEY_IDENTIFIER,
};
use super::name::Name;
use super::public_key::{PublicKey, SubjectPublicKeyInfo};

/// Most bytes of a serial number: the 20 of RFC 5280 §4.1.2.2, and one for a sign that some do not count.
pub(crate) const MAX_SERIAL_NUMBER: usize = 21;

/// Most bytes of a certificate. Those in use have a few thousand.
const MAX_CERTIFICATE: usize = 64 << 10;
/// Most extensions of a certificate. Those in use have about ten, and each is compared with all others.
const MAX_EXTENSIONS: usize = 64;

/// The fields of a certificate (RFC 5280 §4.1). Fields that are not here are checked for their types alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CertificateRef<'a> {
    /// The whole certificate.
    pub(crate) der: &'a [u8],
    /// The signed part, the TBSCertificate, with its tag.
    pub(crate) signed: &'a [u8],
    /// The content of the serial number: with its sign, in its shortest form.
    pub(crate) serial_number: &'a [u8],
    pub(crate) issuer: Name<'a>,
    pub(crate) validity: Validity,
    pub(crate) subject: Name<'a>,
    pub(crate) key: SubjectPublicKeyInfo<'a>,
    /// All of them can be read.
    extensions: Reader<'a>,
    /// The content of the `AlgorithmIdentifier` in the signed part.
    signed_algorithm: &'a [u8],
    /// The content of the `AlgorithmIdentifier` that stands beside the signature.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> CertificateRef<'a> {
    /// From DER. `None` if it cannot be read, is too large, or has too many extensions or attributes of names.
    pub(crate) fn read(der: &'a [u8]) -> Option<Self> {
        if der.len() > MAX_CERTIFICATE {
            return None;
        }
        Reader::all(der, |all| {
            all.within(tag::SEQUENCE, |certificate| {
                let signed = certificate.any().filter(|signed| signed.tag == tag::SEQUENCE)?;
                let fields = Reader::all(signed.content, Self::read_signed)?;
                let algorithm = algorithm(certificate)?;
                let signature = certificate.bytes()?;
                Some(Self { der, signed: signed.whole, algorithm, signature, ..fields })
            })
        })
    }

    /// From the signed part.
    fn read_signed(signed: &mut Reader<'a>) -> Option<Self> {
        if signed.is_next(tag::explicit(0)) {
            let is_known = |version: &&[u8]| matches!(version, [0..=2]);
            signed.within(tag::explicit(0), |version| version.integer().filter(is_known))?;
        }
        let serial_number = signed.integer().filter(|serial_number| serial_number.len() <= MAX_SERIAL_NUMBER)?;
        let algorithm = algorithm(signed)?;
        let issuer = Name::read(signed)?;
        let validity = signed
            .within(tag::SEQUENCE, |dates| Some(Validity { not_before: dates.time()?, not_after: dates.time()? }))?;
        let subject = Name::read(signed)?;
        let key = SubjectPublicKeyInfo::read(signed)?;
        for unique_id in [tag::implicit(1), tag::implicit(2)] {
            if signed.is_next(unique_id) {
                signed.bits(unique_id)?;
            }
        }
        let mut extensions = Reader::default();
        if signed.is_next(tag::explicit(3)) {
            extensions = signed.within(tag::explicit(3), |outer| {
                outer.within(tag::SEQUENCE, |list| {
                    let all = *list;
                    let mut count = 0;
                    while !list.is_empty() {
                        Extension::read(list)?;
                        count += 1;
                    }
                    (count <= MAX_EXTENSIONS).then_some(all)
                })
            })?;
        }
        let (der, signature) = (&[][..], &[][..]);
        Some(Self {
            der,
            signed: der,
            serial_number,
            issuer,
            validity,
            subject,
            key,
            extensions,
            signed_algorithm: algorithm,
            algorithm,
            signature,
        })
    }

    /// The OBJECT IDENTIFIER of the algorithm of its signature, as it stands beside the signature.
    pub(crate) fn signature_oid(&self) -> Option<&'a [u8]> {
        Reader::new(self.algorithm).oid()
    }

    /// Its public key, if it is of a kind that is verified.
    pub(crate) fn public_key(&self) -> Option<PublicKey> {
        self.key.public_key()
    }

    /// What the check of a signature by its key takes, in units of [`crate::Effort`].
    pub(crate) fn units(&self) -> usize {
        self.public_key().map_or(0, |key| key.units())
    }

    /// All extensions, in order.
    pub(crate) fn extensions(&self) -> Vec<Extension<'a>> {
        let mut list = self.extensions;
        std::iter::from_fn(|| Extension::read(&mut list)).collect()
    }

    /// This extension, if the certificate has it. The outer `None` if it has it twice.
    pub(crate) fn extension(&self, oid: &[u8]) -> Option<Option<Extension<'a>>> {
        let mut list = self.extensions;
        let mut found = None;
        while !list.is_empty() {
            let extension = Extension::read(&mut list)?;
            if extension.oid == oid && found.replace(extension).is_some() {
                return None;
            }
        }
        Some(found)
    }

    /// Its key usage, if it has one. The outer `None` if it is there twice or cannot be read, as for all that follow.
    pub(crate) fn key_usage(&self) -> Option<Option<KeyUsage>> {
        match self.extension(KEY_USAGE)? {
            Some(usage) => usage.key_usage().map(Some),
            None => Some(None),
        }
    }

    /// Its basic constraints, if it has some.
    pub(crate) fn basic_constraints(&self) -> Option<Option<BasicConstraints>> {
        match self.extension(BASIC_CONSTRAINTS)? {
            Some(constraints) => constraints.basic_constraints().map(Some),
            None => Some(None),
        }
    }

    /// Its extended key usage, if it has one.
    pub(crate) fn extended_key_usage(&self) -> Option<Option<ExtendedKeyUsage<'a>>> {
        match self.extension(EXTENDED_KEY_USAGE)? {
            Some(usage) => usage.extended_key_usage().map(Some),
            None => Some(None),
        }
    }

    /// Its subject alternative names. Empty if it has no such extension.
    pub(crate) fn subject_alt_names(&self) -> Option<Vec<GeneralName<'a>>> {
        match self.extension(SUBJECT_ALT_NAME)? {
            Some(names) => GeneralName::read_all(names.value),
            None => Some(Vec::new()),
        }
    }

    /// Its subject key identifier, if it has one.
    pub(crate) fn subject_key_identifier(&self) -> Option<Option<&'a [u8]>> {
        match self.extension(SUBJECT_KEY_IDENTIFIER)? {
            Some(id) => Reader::all(id.value, |id| id.content(tag::OCTET_STRING)).map(Some),
            None => Some(None),
        }
    }

    /// Is its signature by an algorithm that is verified?
    pub(crate) fn has_supported_signature(&self) -> bool {
        signature_algorithm(self.algorithm, None).is_some()
    }

    /// Is it issued in the name of this issuer, and signed by the issuer's key? Whether the issuer is a CA, and whether both
    /// are in date, is for the caller to check. Signatures over SHA-1, of RSA keys below 2048 bits, and of kinds that are not
    /// verified, are none.
    pub(crate) fn is_signed_by(&self, issuer: &CertificateRef<'_>) -> bool {
        let key = issuer.public_key().filter(|key| !key.is_weak());
        let algorithm = signature_algorithm(self.algorithm, None);
        self.issuer == issuer.subject
            && self.signed_algorithm == self.algorithm // RFC 5280 §4.1.1.2
            && key.zip(algorithm).is_some_and(|(key, how)| key.verifies(how, self.signed, self.signature))
    }
}

/// The content of an `AlgorithmIdentifier`, whose types are right.
fn algorithm<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let content = reader.content(tag::SEQUENCE)?;
    Reader::all(content, Reader::algorithm)?;
    Some(content)
}

#[cfg(test)]
mod tests;
