//! Keys in trust data and their IDs.
//!
//! A key is known by its content alone: one that is listed under another ID than its own, that is of a kind we do not
//! verify, or whose certificate does not go with its type, never counts for anything.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::asn1::{Any, BitString, Null, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::crypto::certificate::{Bundle, Certificate, pem_blocks};
use crate::heap_size::{as_u64, inline_size, map_entry};
use crate::image::Sha256;
use crate::json::Value;
use crate::json::canonical::canonical_string;

/// The ID of a key: the hash of its canonical JSON (TUF 1.0 §4.2).
pub type KeyId = Sha256;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A signer's public key, as the operator configured it. Compared by its canonical ID, so that a bare key and a
/// certificate of it are the same signer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SignerKey {
    canonical_id: KeyId,
}

impl SignerKey {
    /// From PEM text: one `PUBLIC KEY` (SPKI) or one `CERTIFICATE`; headers such as Docker's `role:` are skipped.
    /// A private key is refused in words that say so.
    pub fn from_pem(pem: &str) -> Result<Self, SignerKeyError> {
        let blocks = pem_blocks(pem, 16).ok_or(SignerKeyError::Malformed)?;
        if blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY")) {
            return Err(SignerKeyError::PrivateKey);
        }
        let [block] = blocks.as_slice() else { return Err(SignerKeyError::NotOneBlock { found: blocks.len() }) };
        let material = match block.label.as_str() {
            "PUBLIC KEY" => Material::from_spki(&block.der),
            "CERTIFICATE" => Certificate::from_der(&block.der).ok_or(SignerKeyError::Malformed)?.key().cloned(),
            label => return Err(SignerKeyError::OtherLabel { label: crate::text::printable(label, 40) }),
        };
        let material = material.ok_or(SignerKeyError::Unsupported)?;
        match &material {
            Material::Ed25519(_) if material.is_weak() => return Err(SignerKeyError::SmallOrder),
            _ if material.is_weak() => return Err(SignerKeyError::Weak),
            _ => {}
        }
        Ok(Self { canonical_id: material.canonical_id() })
    }

    /// The ID of the bare key.
    pub fn canonical_id(&self) -> KeyId {
        self.canonical_id
    }
}

/// A key that a role lists and that can count.
#[derive(Debug)]
pub struct PublicKey {
    id: KeyId,
    canonical_id: KeyId,
    material: Material,
    bundle: Option<Bundle>,
}

impl PublicKey {
    /// What it takes in memory: about twice what there is to it, for a certificate is kept whole and taken apart.
    pub fn heap_size(&self) -> u64 {
        inline_size::<Self>() + 2 * self.bundle.as_ref().map_or(0, Bundle::heap_size) + 512
    }

    /// Reads an entry of `keys`. `Err` says what is malformed; `Ok(None)` is a key that never counts.
    pub(crate) fn read(listed_id: &str, entry: Value<'_>) -> Result<Option<Self>, &'static str> {
        let keytype = entry.get("keytype").and_then(Value::string).ok_or("a key without a keytype")?;
        let public = entry.get("keyval").and_then(|keyval| keyval.get("public")).and_then(Value::string);
        let public = STANDARD.decode(public.ok_or("a key without a public part")?); // strict base64: row 96
        let public = public.map_err(|_| "a key whose public part is not base64")?;
        let id = key_id(keytype, &public);
        // Row 25: known by content, not by whatever name it is listed under.
        if Sha256::from_hex(listed_id) != Some(id) {
            return Ok(None);
        }
        let (material, bundle) = match keytype {
            "ecdsa" | "rsa" => (Material::from_spki(&public), None),
            "ed25519" => (public.try_into().ok().map(Material::Ed25519), None),
            "ecdsa-x509" | "rsa-x509" => {
                let bundle = Bundle::from_canonical_pem(&public);
                (bundle.as_ref().and_then(|bundle| bundle.key().cloned()), bundle)
            }
            _ => (None, None),
        };
        // Row 21: the type must be the key's own.
        let is_of_type = |material: &Material| keytype.strip_suffix("-x509").unwrap_or(keytype) == material.keytype();
        let material = material.filter(|material| is_of_type(material) && !material.is_weak());
        Ok(material.map(|material| Self { id, canonical_id: material.canonical_id(), material, bundle }))
    }

    /// The ID under which the key is listed.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The ID of the bare key, whatever certificate is around it.
    pub fn canonical_id(&self) -> KeyId {
        self.canonical_id
    }

    /// The key itself.
    pub fn material(&self) -> &Material {
        &self.material
    }

    pub(crate) fn bundle(&self) -> Option<&Bundle> {
        self.bundle.as_ref()
    }
}

/// Who signs a role, and how many of them must.
#[derive(Clone, Debug)]
pub struct RoleKeys {
    pub(crate) threshold: u64,
    /// The listed keys that can count.
    pub(crate) keys: BTreeMap<KeyId, Arc<PublicKey>>,
}

impl RoleKeys {
    /// The canonical IDs of the keys that can count.
    pub fn canonical_ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.values().map(|key| key.canonical_id())
    }

    /// What it takes in memory, but for the keys themselves.
    pub fn heap_size(&self) -> u64 {
        inline_size::<Self>() + as_u64(self.keys.len()) * map_entry::<KeyId, Arc<PublicKey>>()
    }
}

/// Two of them are the same when the same keys can count and as many must.
impl PartialEq for RoleKeys {
    fn eq(&self, other: &Self) -> bool {
        self.threshold == other.threshold && self.keys.keys().eq(other.keys.keys())
    }
}

/// The verifiable part of a public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// An uncompressed point.
    P256(Vec<u8>),
    /// An uncompressed point.
    P384(Vec<u8>),
    /// A PKCS#1 `RSAPublicKey`, and the bits of its modulus.
    Rsa {
        /// The key in PKCS #1, DER.
        pkcs1: Vec<u8>,
        /// The length of the modulus in bits.
        bits: usize,
    },
    /// Ed25519.
    Ed25519([u8; 32]),
}

impl Material {
    /// From a `SubjectPublicKeyInfo` in the one encoding that its key has; `None` for kinds that we do not verify
    /// (P-521 and all else).
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let info = SubjectPublicKeyInfoOwned::from_der(der).ok()?;
        let bits = info.subject_public_key.as_bytes()?;
        let curve = || info.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        let material = match info.algorithm.oid {
            EC if curve() == Some(P256) && bits.len() == 65 && bits.first() == Some(&4) => Self::P256(bits.to_vec()),
            EC if curve() == Some(P384) && bits.len() == 97 && bits.first() == Some(&4) => Self::P384(bits.to_vec()),
            RSA => Self::Rsa { pkcs1: bits.to_vec(), bits: modulus_bits(bits)? },
            ED25519 => Self::Ed25519(bits.try_into().ok()?),
            _ => return None,
        };
        // One key, one encoding, one canonical ID: a second spelling would count as a second key.
        (material.spki()? == der).then_some(material)
    }

    /// RSA below 2048 bits, whose signatures ring would refuse as well; Ed25519 keys for which anybody can sign, whose
    /// signatures ring takes.
    pub fn is_weak(&self) -> bool {
        match self {
            Self::Rsa { bits, .. } => *bits < 2048,
            Self::Ed25519(raw) => has_small_order(raw),
            Self::P256(_) | Self::P384(_) => false,
        }
    }

    fn keytype(&self) -> &'static str {
        match self {
            Self::P256(_) | Self::P384(_) => "ecdsa",
            Self::Rsa { .. } => "rsa",
            Self::Ed25519(_) => "ed25519",
        }
    }

    fn canonical_id(&self) -> KeyId {
        match self {
            Self::Ed25519(raw) => key_id(self.keytype(), raw),
            // Encoding what was decoded does not fail; an empty key has an ID of its own that nobody else has.
            _ => key_id(self.keytype(), &self.spki().unwrap_or_default()),
        }
    }

    fn spki(&self) -> Option<Vec<u8>> {
        let (oid, parameters, bits) = match self {
            Self::P256(point) => (EC, Some(Any::encode_from(&P256).ok()?), point.as_slice()),
            Self::P384(point) => (EC, Some(Any::encode_from(&P384).ok()?), point.as_slice()),
            Self::Rsa { pkcs1, .. } => (RSA, Some(Any::encode_from(&Null).ok()?), pkcs1.as_slice()),
            Self::Ed25519(raw) => (ED25519, None, raw.as_slice()),
        };
        let info = SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned { oid, parameters },
            subject_public_key: BitString::from_bytes(bits).ok()?,
        };
        info.to_der().ok()
    }
}

/// The y coordinates of the points of order 8 on Ed25519's curve, little-endian (RFC 8032 §5.1).
const ORDER_8: [[u8; 32]; 2] = [
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Is this Ed25519 key a point of order 1, 2, 4 or 8, in whatever encoding? Whoever knows that can sign for it without
/// any secret (row 104). An encoding that is not the point's only one (RFC 8032 §5.1.3: y below 2^255 - 19) counts with
/// them: it would be a second ID of the same key.
fn has_small_order(raw: &[u8; 32]) -> bool {
    let mut y = *raw;
    let [first, middle @ .., last] = &mut y;
    *last &= 0x7f; // without the sign of x
    match (*first, *last) {
        (0 | 1, 0) => middle.iter().all(|byte| *byte == 0), // 0 and 1: orders 4 and 1
        (0xec.., 0x7f) => middle.iter().all(|byte| *byte == u8::MAX), // -1: order 2; and all above it
        _ => ORDER_8.contains(&y),
    }
}

fn modulus_bits(pkcs1: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(pkcs1).ok()?;
    let bits = reader.sequence(|reader| {
        let modulus = UintRef::decode(reader)?;
        UintRef::decode(reader)?;
        let leading = modulus.as_bytes().first().map_or(8, |byte| byte.leading_zeros() as usize);
        Ok::<_, x509_cert::der::Error>((8 * modulus.as_bytes().len()).saturating_sub(leading))
    });
    reader.is_finished().then_some(bits.ok()?)
}

/// The hash of `{"keytype":"T","keyval":{"private":null,"public":"B64"}}`; what really stands in `private` or beside
/// it is ignored, as Notary does.
fn key_id(keytype: &str, public: &[u8]) -> KeyId {
    let mut form = b"{\"keytype\":".to_vec();
    form.extend(canonical_string(keytype));
    form.extend_from_slice(b",\"keyval\":{\"private\":null,\"public\":\"");
    form.extend_from_slice(STANDARD.encode(public).as_bytes());
    form.extend_from_slice(b"\"}}");
    Sha256::of(&form)
}

/// A signer's key that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignerKeyError {
    /// It is a private key.
    PrivateKey,
    /// There is not exactly one PEM block.
    NotOneBlock {
        /// How many there are.
        found: usize,
    },
    /// The PEM block is of another kind.
    OtherLabel {
        /// Its label.
        label: String,
    },
    /// The PEM, or what is in it, is broken.
    Malformed,
    /// A kind of key that is not verified.
    Unsupported,
    /// RSA with fewer than 2048 bits.
    Weak,
    /// Ed25519 of small order.
    SmallOrder,
}

impl fmt::Display for SignerKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrivateKey => f.write_str(
                "this is a private key, which must stay with its signer; give the PUBLIC KEY or the CERTIFICATE",
            ),
            Self::NotOneBlock { found } => {
                write!(f, "expected exactly one PEM block, PUBLIC KEY or CERTIFICATE, and found {found}")
            }
            Self::OtherLabel { label } => {
                write!(f, "expected a PEM block PUBLIC KEY or CERTIFICATE, and found \"{label}\"")
            }
            Self::Malformed => f.write_str("the PEM block is broken"),
            Self::Unsupported => {
                f.write_str("the key is of a kind that is not verified; ECDSA P-256, P-384, RSA and Ed25519 are")
            }
            Self::Weak => f.write_str("the RSA key has fewer than 2048 bits"),
            Self::SmallOrder => f.write_str(
                "the Ed25519 key has small order: anybody can make signatures that it accepts; make a new key pair",
            ),
        }
    }
}

impl std::error::Error for SignerKeyError {}

#[cfg(test)]
mod tests {
    use portreeve_test_support::certificates::Leaf;
    use portreeve_test_support::signer::Key;

    use super::*;
    use crate::json::Document;

    #[test]
    fn signer_keys_are_public_keys_or_certificates() {
        let key = Key::p256();
        let bare = SignerKey::from_pem(&key.public_pem()).unwrap();
        assert_eq!(bare.canonical_id().hex(), key.id());
        assert_eq!(SignerKey::from_pem(&Leaf::new("alice").self_signed(&key)), Ok(bare.clone()));
        let docker = key.public_pem().replace("KEY-----\n", "KEY-----\nrole: alice\n\n");
        assert!(docker.contains("role: alice"));
        let (begin, end) = docker.split_at(docker.find("-----END").unwrap());
        let docker = format!("{}{end}", begin.replace("-----END PUBLIC KEY-----\nrole: alice\n\n", ""));
        assert_eq!(SignerKey::from_pem(&docker), Ok(bare.clone()));
        assert_eq!(SignerKey::from_pem(&key.public_pem().replace('\n', "\r\n")), Ok(bare.clone()));
        assert_eq!(SignerKey::from_pem(&format!("comment\n{}\n", key.public_pem())), Ok(bare));

        for good in [
            include_str!("fixtures/p256-public.pem"),
            include_str!("fixtures/p384-public.pem"),
            include_str!("fixtures/p384-certificate.pem"),
            include_str!("fixtures/ed25519-public.pem"),
        ] {
            assert!(SignerKey::from_pem(good).is_ok(), "{good}");
        }
        let ed25519 = Key::ed25519();
        assert_eq!(SignerKey::from_pem(&ed25519.public_pem()).unwrap().canonical_id().hex(), ed25519.id());
        let rsa = Key::rsa_pss();
        assert_eq!(SignerKey::from_pem(&rsa.public_pem()).unwrap().canonical_id().hex(), rsa.id());
    }

    #[test]
    fn other_signer_keys_are_refused_in_words() {
        let key = Key::p256();
        let cut = key.public_pem().replace("-----END", "----END");
        let junk = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        let request = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
        for (pem, error) in [
            (key.private_pem(), SignerKeyError::PrivateKey),
            (key.public_pem() + &key.private_pem(), SignerKeyError::PrivateKey),
            (key.public_pem() + &key.public_pem(), SignerKeyError::NotOneBlock { found: 2 }),
            (String::new(), SignerKeyError::NotOneBlock { found: 0 }),
            ("alice".to_owned(), SignerKeyError::NotOneBlock { found: 0 }),
            (cut, SignerKeyError::Malformed),
            (junk.replace("AAAA", "%%%%"), SignerKeyError::Malformed),
            (junk.replace("PUBLIC KEY", "CERTIFICATE"), SignerKeyError::Malformed),
            (junk.to_owned(), SignerKeyError::Unsupported),
            (request.to_owned(), SignerKeyError::OtherLabel { label: "CERTIFICATE REQUEST".to_owned() }),
            (include_str!("fixtures/p521-public.pem").to_owned(), SignerKeyError::Unsupported),
            (include_str!("fixtures/p256-compressed-public.pem").to_owned(), SignerKeyError::Unsupported),
            (include_str!("fixtures/rsa-1024-public.pem").to_owned(), SignerKeyError::Weak),
        ] {
            assert_eq!(SignerKey::from_pem(&pem), Err(error.clone()), "{pem}");
            assert!(!error.to_string().is_empty());
        }
    }

    /// Every encoding of a point of small order, and encodings that are no point's own.
    fn small_order() -> Vec<[u8; 32]> {
        let last = |first: u8| {
            let mut y = [0xff; 32];
            (y[0], y[31]) = (first, 0x7f);
            y
        };
        let (zero, mut one) = ([0; 32], [0; 32]);
        one[0] = 1;
        let mut all = vec![zero, one, ORDER_8[0], ORDER_8[1]];
        all.extend((0xec..=0xff).map(last)); // -1, then 2^255 - 19 and all above it
        let signed = all.clone().into_iter().map(|mut y| {
            y[31] |= 0x80;
            y
        });
        all.extend(signed);
        all
    }

    #[test]
    fn row_104_ed25519_keys_of_small_order_are_nobodys() {
        let message = b"anything";
        let mut forged = 0;
        for raw in small_order() {
            let material = Material::Ed25519(raw);
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", {
                STANDARD.encode(material.spki().unwrap())
            });
            assert_eq!(SignerKey::from_pem(&pem), Err(SignerKeyError::SmallOrder), "{raw:02x?}");
            let public = STANDARD.encode(raw);
            let entry = format!(r#"{{"keytype":"ed25519","keyval":{{"private":null,"public":"{public}"}}}}"#);
            let id = Sha256::of(entry.as_bytes()).hex();
            let document = Document::of(entry.as_bytes()).unwrap();
            let value = document.root();
            assert!(PublicKey::read(&id, value).unwrap().is_none(), "{raw:02x?}");
            // R the neutral element, S zero: who has no secret signs with it.
            let mut signature = [0; 64];
            signature[0] = 1;
            let ring = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, raw);
            forged += usize::from(ring.verify(message, &signature).is_ok());
        }
        assert!(forged > 0, "ring refuses them by itself now");
        for honest in [Key::ed25519(), Key::ed25519()] {
            assert!(SignerKey::from_pem(&honest.public_pem()).is_ok());
        }
        for y in [2, 3, 0xee] {
            let mut raw = [0; 32];
            (raw[0], raw[31]) = (y, 0x7f);
            assert!(!has_small_order(&raw), "{y}");
        }
    }

    #[test]
    fn ids_come_from_content_alone() {
        for key in [Key::p256(), Key::rsa_pss(), Key::ed25519(), Key::root("a")] {
            let text = key.json().to_string();
            for text in [text.clone(), text.replace("\"private\":null", "\"private\":\"x\",\"more\":1")] {
                let document = Document::of(text.as_bytes()).unwrap();
                let value = document.root();
                let read = PublicKey::read(&key.id(), value).unwrap().unwrap();
                assert_eq!((read.id().hex(), read.canonical_id().hex()), (key.id(), key.bare().id()));
                assert!(PublicKey::read(&"0".repeat(64), value).unwrap().is_none());
                assert!(PublicKey::read(&key.id().to_uppercase(), value).unwrap().is_none());
            }
        }
    }

    #[test]
    fn one_key_has_one_encoding() {
        let der = |pem: &str| pem_blocks(pem, 1).unwrap().remove(0).der;
        let mut key = der(include_str!("fixtures/p256-public.pem"));
        assert!(Material::from_spki(&key).is_some());
        key.push(0);
        assert!(Material::from_spki(&key).is_none());
        // RSA without the NULL that belongs there: the same key under another ID.
        let rsa = der(&Key::rsa_pss().public_pem());
        assert!(Material::from_spki(&rsa).is_some());
        let null = rsa.windows(2).position(|pair| pair == [5, 0]).unwrap();
        let mut twin = rsa.clone();
        twin.drain(null..null + 2);
        twin[3] -= 2; // the outer length, which is two bytes long
        let algorithm = null - 12;
        assert_eq!(twin[algorithm], 13);
        twin[algorithm] = 11;
        assert!(SubjectPublicKeyInfoOwned::from_der(&twin).is_ok(), "the test's own twin must be sound");
        assert!(Material::from_spki(&twin).is_none());
    }
}
