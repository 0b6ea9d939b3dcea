//! The keys of trust data and their IDs.
//!
//! A key is identified by its content. A key never counts if it is listed under another ID than its own, if it is of a kind
//! that is not verified, or if its certificate does not fit its type.

use std::fmt;
use std::sync::Arc;

use super::root_certificate::RootCertificate;
use crate::crypto::certificate::Certificate;
use crate::crypto::pem::pem_blocks;
use crate::crypto::public_key::PublicKey;
use crate::heap_size::{as_u64, inline_size, map_entry};
use crate::image::Sha256;
use crate::json::Value;
use crate::json::canonical::canonical_string;
use crate::ordered::Map;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The ID of a key: the hash of its canonical JSON (TUF 1.0 §4.2).
pub type KeyId = Sha256;

/// The public key of a signer, as the operator configured it. It is compared by its canonical ID, so a bare key and its
/// certificate are the same signer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SignerKey {
    canonical_id: KeyId,
}

impl SignerKey {
    /// From PEM text: one `PUBLIC KEY` (SPKI) or one `CERTIFICATE`. Headers such as Docker's `role:` are skipped.
    pub fn from_pem(pem: &str) -> Result<Self, SignerKeyError> {
        let blocks = pem_blocks(pem, 16).ok_or(SignerKeyError::Malformed)?;
        if blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY")) {
            return Err(SignerKeyError::PrivateKey);
        }
        let [block] = blocks.as_slice() else { return Err(SignerKeyError::NotOneBlock { found: blocks.len() }) };
        let public = match block.label.as_str() {
            "PUBLIC KEY" => PublicKey::from_spki(&block.der),
            "CERTIFICATE" => Certificate::from_der(&block.der).ok_or(SignerKeyError::Malformed)?.key().cloned(),
            label => return Err(SignerKeyError::OtherLabel { label: crate::text::printable(label, 40) }),
        };
        let public = public.ok_or(SignerKeyError::Unsupported)?;
        match &public {
            PublicKey::Ed25519(_) if public.is_weak() => return Err(SignerKeyError::SmallOrder),
            _ if public.is_weak() => return Err(SignerKeyError::Weak),
            _ => {}
        }
        Ok(Self { canonical_id: canonical_id(&public) })
    }

    /// The ID of the bare key.
    pub(crate) fn canonical_id(&self) -> KeyId {
        self.canonical_id
    }
}

/// A key that a role lists, and that can count.
#[derive(Debug)]
pub(crate) struct ListedKey {
    id: KeyId,
    canonical_id: KeyId,
    public: PublicKey,
    certificate: Option<RootCertificate>,
}

impl ListedKey {
    /// What it takes in memory, nearly: its certificates are kept both encoded and decoded.
    pub(crate) fn heap_size(&self) -> u64 {
        inline_size::<Self>() + 2 * self.certificate.as_ref().map_or(0, RootCertificate::heap_size) + 512
    }

    /// Reads an entry of `keys`. `Err` says what is malformed. `Ok(None)` is a key that never counts.
    pub(crate) fn read(listed_id: &str, entry: Value<'_>) -> Result<Option<Self>, &'static str> {
        let keytype = entry.get("keytype").and_then(Value::string).ok_or("a key without a keytype")?;
        let public = entry.get("keyval").and_then(|keyval| keyval.get("public")).and_then(Value::string);
        let public = STANDARD.decode(public.ok_or("a key without a public part")?); // strict base64: TRUST.md, row 96
        let public = public.map_err(|_| "a key whose public part is not base64")?;
        let id = key_id(keytype, &public);
        // TRUST.md, row 25: the content gives the ID, not the name under which the key is listed.
        if Sha256::from_hex(listed_id) != Some(id) {
            return Ok(None);
        }
        let (public, certificate) = match keytype {
            "ecdsa" | "rsa" => (PublicKey::from_spki(&public), None),
            "ed25519" => (public.try_into().ok().map(PublicKey::Ed25519), None),
            "ecdsa-x509" | "rsa-x509" => {
                let certificate = RootCertificate::from_canonical_pem(&public);
                (certificate.as_ref().and_then(|certificate| certificate.key().cloned()), certificate)
            }
            _ => (None, None),
        };
        // TRUST.md, row 21: the type must be that of the key.
        let is_of_type = |public: &PublicKey| keytype.strip_suffix("-x509").unwrap_or(keytype) == type_of(public);
        let public = public.filter(|public| is_of_type(public) && !public.is_weak());
        Ok(public.map(|public| Self { id, canonical_id: canonical_id(&public), public, certificate }))
    }

    /// The ID under which the key is listed.
    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    /// The ID of the bare key, without a certificate.
    pub(crate) fn canonical_id(&self) -> KeyId {
        self.canonical_id
    }

    /// The key itself.
    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn certificate(&self) -> Option<&RootCertificate> {
        self.certificate.as_ref()
    }
}

/// The keys of a role, and how many of them must sign.
#[derive(Clone, Debug)]
pub struct RoleKeys {
    pub(crate) threshold: u64,
    /// The listed keys that can count.
    pub(crate) keys: Map<KeyId, Arc<ListedKey>>,
}

impl RoleKeys {
    /// The canonical IDs of the keys that can count.
    pub(crate) fn canonical_ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.values().map(|key| key.canonical_id())
    }

    /// What it takes in memory, without the keys themselves.
    pub(crate) fn heap_size(&self) -> u64 {
        inline_size::<Self>() + as_u64(self.keys.len()) * map_entry::<KeyId, Arc<ListedKey>>()
    }
}

/// They are equal if the same keys can count and the thresholds are equal.
impl PartialEq for RoleKeys {
    fn eq(&self, other: &Self) -> bool {
        self.threshold == other.threshold && self.keys.keys().eq(other.keys.keys())
    }
}

/// The `keytype` of a bare key.
fn type_of(public: &PublicKey) -> &'static str {
    match public {
        PublicKey::P256(_) | PublicKey::P384(_) => "ecdsa",
        PublicKey::Rsa { .. } => "rsa",
        PublicKey::Ed25519(_) => "ed25519",
    }
}

/// The ID of a bare key.
fn canonical_id(public: &PublicKey) -> KeyId {
    match public {
        PublicKey::Ed25519(raw) => key_id(type_of(public), raw),
        _ => key_id(type_of(public), &public.spki()),
    }
}

/// The hash of `{"keytype":"T","keyval":{"private":null,"public":"B64"}}`. As in Notary, the real content of `private` and other
/// fields are ignored.
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
    /// The key is of a kind that is not verified.
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
    use crate::crypto::public_key::ORDER_8;
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
            let public = PublicKey::Ed25519(raw);
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", {
                STANDARD.encode(public.spki())
            });
            assert_eq!(SignerKey::from_pem(&pem), Err(SignerKeyError::SmallOrder), "{raw:02x?}");
            let public = STANDARD.encode(raw);
            let entry = format!(r#"{{"keytype":"ed25519","keyval":{{"private":null,"public":"{public}"}}}}"#);
            let id = Sha256::of(entry.as_bytes()).hex();
            let document = Document::of(entry.as_bytes()).unwrap();
            let value = document.root();
            assert!(ListedKey::read(&id, value).unwrap().is_none(), "{raw:02x?}");
            // R the neutral element, S zero: a signature made without a secret.
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
            assert!(!PublicKey::Ed25519(raw).is_weak(), "{y}");
        }
    }

    #[test]
    fn ids_come_from_content_alone() {
        for key in [Key::p256(), Key::rsa_pss(), Key::ed25519(), Key::root("a")] {
            let text = key.json().to_string();
            for text in [text.clone(), text.replace("\"private\":null", "\"private\":\"x\",\"more\":1")] {
                let document = Document::of(text.as_bytes()).unwrap();
                let value = document.root();
                let read = ListedKey::read(&key.id(), value).unwrap().unwrap();
                assert_eq!((read.id().hex(), read.canonical_id().hex()), (key.id(), key.bare().id()));
                assert!(ListedKey::read(&"0".repeat(64), value).unwrap().is_none());
                assert!(ListedKey::read(&key.id().to_uppercase(), value).unwrap().is_none());
            }
        }
    }
}
