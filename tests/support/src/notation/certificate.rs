//! Certificates of signers and of their CAs.

use super::key::{Kind, SigningKey};
use super::{time, tlv};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub const KEY_USAGE: &[u8] = &[0x55, 29, 15];
pub const BASIC_CONSTRAINTS: &[u8] = &[0x55, 29, 19];
pub const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 29, 37];

/// An OBJECT IDENTIFIER, whether it is critical, and the value in DER.
pub type Extension = (Vec<u8>, bool, Vec<u8>);

/// The bits of a key usage, from the highest one.
pub fn key_usage(is_critical: bool, bits: u8) -> Extension {
    (KEY_USAGE.to_vec(), is_critical, tlv(3, &[&[bits.trailing_zeros().min(7) as u8, bits]]))
}

pub fn basic_constraints(is_critical: bool, is_ca: bool, path_length: Option<u8>) -> Extension {
    let is_ca: &[u8] = if is_ca { &[1, 1, 0xff] } else { &[] };
    let path_length = path_length.map(|length| tlv(2, &[&[length]])).unwrap_or_default();
    (BASIC_CONSTRAINTS.to_vec(), is_critical, tlv(0x30, &[is_ca, &path_length]))
}

/// The last numbers of the purposes below 1.3.6.1.5.5.7.3; 0 for any purpose.
pub fn extended_key_usage(purposes: &[u8]) -> Extension {
    let purpose = |number: &u8| match number {
        0 => tlv(6, &[&[0x55, 29, 37, 0]]),
        number => tlv(6, &[&[0x2b, 6, 1, 5, 5, 7, 3, *number]]),
    };
    (EXTENDED_KEY_USAGE.to_vec(), false, tlv(0x30, &[&purposes.iter().flat_map(purpose).collect::<Vec<_>>()]))
}

/// The address of a revocation list.
pub fn distribution_point(url: &str) -> Extension {
    let name = tlv(0xa0, &[&tlv(0xa0, &[&tlv(0x86, &[url.as_bytes()])])]);
    (vec![0x55, 29, 31], false, tlv(0x30, &[&tlv(0x30, &[&name])]))
}

/// The address of an OCSP responder.
pub fn ocsp_address(url: &str) -> Extension {
    let access = tlv(0x30, &[&tlv(6, &[&[0x2b, 6, 1, 5, 5, 7, 48, 1]]), &tlv(0x86, &[url.as_bytes()])]);
    (vec![0x2b, 6, 1, 5, 5, 7, 1, 1], false, tlv(0x30, &[&access]))
}

/// A name in DER: one attribute in each relative name.
pub fn name(attributes: &[(&str, &str)]) -> Vec<u8> {
    let relative = |(kind, value): &(&str, &str)| {
        let number = match *kind {
            "C" => 6,
            "ST" => 8,
            "L" => 7,
            "O" => 10,
            "OU" => 11,
            "CN" => 3,
            kind => panic!("an attribute that this signer does not know: {kind}"),
        };
        tlv(0x31, &[&tlv(0x30, &[&tlv(6, &[&[0x55, 4, number]]), &tlv(0x0c, &[value.as_bytes()])])])
    };
    tlv(0x30, &[&attributes.iter().flat_map(relative).collect::<Vec<_>>()])
}

/// What a certificate is to have.
#[derive(Clone)]
pub struct Spec {
    /// In DER.
    pub subject: Vec<u8>,
    pub key: SigningKey,
    pub not_before: i64,
    pub not_after: i64,
    pub serial_number: u8,
    pub extensions: Vec<Extension>,
    /// The `AlgorithmIdentifier` of its signature, if it is to be another one.
    pub algorithm: Option<Vec<u8>>,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Certificate {
    pub der: Vec<u8>,
    pub key: SigningKey,
    pub(super) subject: Vec<u8>,
}

impl Certificate {
    pub fn pem(&self) -> String {
        let text = STANDARD.encode(&self.der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }
}

impl Spec {
    /// A signer with this common name, of the organization Plant. Valid from 2020 to 2040.
    pub fn leaf(common_name: &str, kind: Kind) -> Self {
        Self {
            subject: name(&[("C", "US"), ("ST", "WA"), ("O", "Plant"), ("CN", common_name)]),
            key: SigningKey::new(kind),
            not_before: 1_577_836_800,
            not_after: 2_208_988_800,
            serial_number: 1,
            extensions: vec![key_usage(true, 0x80), extended_key_usage(&[3])],
            algorithm: None,
        }
    }

    /// A CA, which may sign revocation lists as well.
    pub fn ca(common_name: &str, kind: Kind) -> Self {
        let extensions = vec![key_usage(true, 0x06), basic_constraints(true, true, None)];
        Self { extensions, ..Self::leaf(common_name, kind) }
    }

    /// With this extension, in the place of the one of the same kind.
    pub fn with(mut self, extension: Extension) -> Self {
        self = self.without(&extension.0);
        self.extensions.push(extension);
        self
    }

    pub fn without(mut self, oid: &[u8]) -> Self {
        self.extensions.retain(|(known, ..)| known != oid);
        self
    }

    pub fn self_signed(&self) -> Certificate {
        self.issue(&self.subject, &self.key)
    }

    pub fn signed_by(&self, issuer: &Certificate) -> Certificate {
        self.issue(&issuer.subject, &issuer.key)
    }

    fn issue(&self, issuer: &[u8], key: &SigningKey) -> Certificate {
        let algorithm = self.algorithm.clone().unwrap_or_else(|| key.der_algorithm());
        let extension = |(oid, is_critical, value): &Extension| {
            let is_critical: &[u8] = if *is_critical { &[1, 1, 0xff] } else { &[] };
            tlv(0x30, &[&tlv(6, &[oid]), is_critical, &tlv(4, &[value])])
        };
        let extensions: Vec<u8> = self.extensions.iter().flat_map(extension).collect();
        let mut parts = vec![
            tlv(0xa0, &[&tlv(2, &[&[2]])]),
            tlv(2, &[&[self.serial_number]]),
            algorithm.clone(),
            issuer.to_vec(),
            tlv(0x30, &[&time(self.not_before), &time(self.not_after)]),
            self.subject.clone(),
            self.key.spki(),
        ];
        if !extensions.is_empty() {
            parts.push(tlv(0xa3, &[&tlv(0x30, &[&extensions])]));
        }
        let signed = tlv(0x30, &[&parts.concat()]);
        let signature = tlv(3, &[&[0], &key.sign_der(&signed)]);
        let der = tlv(0x30, &[&signed, &algorithm, &signature]);
        Certificate { der, key: self.key.clone(), subject: self.subject.clone() }
    }
}

/// A signer, its CA and the root, in the order of an envelope.
pub fn chain(leaf: Kind, ca: Kind) -> Vec<Certificate> {
    let root = Spec::ca("Plant Root", ca).self_signed();
    let intermediate = Spec::ca("Plant Signing CA", ca).signed_by(&root);
    vec![Spec::leaf("builder", leaf).signed_by(&intermediate), intermediate, root]
}
