//! Signers' public keys, as `cosign generate-key-pair` writes them: PEM, `PUBLIC KEY`.
//!
//! Keys that cosign cannot be verified with here are refused by name when they are loaded, not at the first image.

use std::fmt;

use crate::crypto::pem::{pem_blocks, pem_text};
use crate::crypto::public_key::{PublicKey, SignatureAlgorithm, unsupported_kind};
use crate::image::Sha256;
use crate::text::printable;

/// The most bits of an RSA key that is verified.
const MAX_RSA_BITS: usize = 8192;

/// cosign's algorithms (SCHEMES.md, rows 32 to 38): over SHA-256 for P-256 and RSA, over SHA-384 for P-384 (cosign 2: SHA-256).
const ALGORITHMS: [SignatureAlgorithm; 4] = [
    SignatureAlgorithm::EcdsaSha384Der,
    SignatureAlgorithm::EcdsaSha256Der,
    SignatureAlgorithm::RsaPkcs1Sha256,
    SignatureAlgorithm::Ed25519,
];

/// A public key that cosign can sign for: P-256, P-384, RSA of 2048 to 8192 bits, or Ed25519 (pure).
#[derive(Clone, PartialEq, Eq)]
pub struct SigstoreKey {
    key: PublicKey,
    id: Sha256,
}

impl SigstoreKey {
    /// From PEM text with exactly one block: `PUBLIC KEY` (SPKI), or `RSA PUBLIC KEY` (PKCS#1).
    pub fn from_pem(pem: &str) -> Result<Self, SigstoreKeyError> {
        // Before anything else, so that the advice is right for a private key that is damaged as well.
        if pem.contains("PRIVATE KEY-----") {
            return Err(SigstoreKeyError::PrivateKey);
        }
        let blocks = pem_blocks(pem, 16).ok_or(SigstoreKeyError::Damaged)?;
        let block = match blocks.as_slice() {
            [block] => block,
            [] => return Err(SigstoreKeyError::NoPem),
            _ => return Err(SigstoreKeyError::Several { found: blocks.len() }),
        };
        let key = match block.label.as_str() {
            "PUBLIC KEY" => PublicKey::from_spki(&block.der),
            "RSA PUBLIC KEY" => PublicKey::from_pkcs1(&block.der),
            "CERTIFICATE" => return Err(SigstoreKeyError::Certificate),
            label => return Err(SigstoreKeyError::OtherLabel { label: printable(label, 40) }),
        };
        let key = key.ok_or_else(|| match unsupported_kind(&block.der) {
            Some(kind) => SigstoreKeyError::Unsupported { kind },
            None => SigstoreKeyError::Damaged,
        })?;
        match key {
            PublicKey::Rsa { bits, .. } if key.is_weak() || bits > MAX_RSA_BITS => {
                Err(SigstoreKeyError::RsaSize { bits })
            }
            _ if key.is_weak() => Err(SigstoreKeyError::Weak),
            _ => Ok(Self { id: Sha256::of(&key.spki()), key }),
        }
    }

    /// The key of a certificate. `None` if it is weak, or too large.
    pub(super) fn from_public(key: PublicKey) -> Option<Self> {
        let fits = !matches!(key, PublicKey::Rsa { bits, .. } if bits > MAX_RSA_BITS) && !key.is_weak();
        fits.then(|| Self { id: Sha256::of(&key.spki()), key })
    }

    /// The key as DER `SubjectPublicKeyInfo`.
    pub(super) fn spki(&self) -> Vec<u8> {
        self.key.spki()
    }

    /// The hash of the key's `SubjectPublicKeyInfo`: equal for equal keys only.
    pub fn id(&self) -> Sha256 {
        self.id
    }

    /// The key as PEM, `PUBLIC KEY`.
    pub fn to_pem(&self) -> String {
        pem_text("PUBLIC KEY", &self.key.spki())
    }

    /// What a verification takes, in units of [`crate::Effort`]: P-384 is tried with two hashes, and takes ten times as long each time.
    pub(super) fn units(&self) -> usize {
        let hashes = if matches!(self.key, PublicKey::P384(_)) { 2 } else { 1 };
        hashes * self.key.units()
    }

    /// Has this key made the signature over `message`?
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        #[cfg(test)]
        VERIFICATIONS.with(|count| count.set(count.get() + 1));
        ALGORITHMS.iter().any(|algorithm| self.key.verifies(*algorithm, message, signature))
    }

    /// cosign 3 signs with such a key by Ed25519ph, which is not verified.
    pub(super) fn is_ed25519(&self) -> bool {
        matches!(self.key, PublicKey::Ed25519(_))
    }
}

impl fmt::Debug for SigstoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigstoreKey({})", self.id)
    }
}

/// A key that cannot be used. `Display` says what it is, and which keys can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigstoreKeyError {
    /// The text has no PEM block.
    NoPem,
    /// The PEM text or the key in it cannot be read, or the key is in an encoding that is not its only one.
    Damaged,
    /// The text has several blocks.
    Several {
        /// How many.
        found: usize,
    },
    /// It is a private key.
    PrivateKey,
    /// It is a certificate.
    Certificate,
    /// It is a block of another kind.
    OtherLabel {
        /// Its label.
        label: String,
    },
    /// It is a key of a kind that is not verified.
    Unsupported {
        /// The kind.
        kind: &'static str,
    },
    /// It is an RSA key of a size that is not verified.
    RsaSize {
        /// The length of its modulus in bits.
        bits: usize,
    },
    /// It is an Ed25519 key for which anybody can sign.
    Weak,
}

/// What can be used, behind what cannot.
const USABLE: &str =
    "use a key that \"cosign generate-key-pair\" makes (P-256), or P-384, RSA of 2048 to 8192 bits, or Ed25519";

impl fmt::Display for SigstoreKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPem => f.write_str(
                "it has no PEM block; the contents of cosign.pub belong here, which begin with -----BEGIN PUBLIC KEY-----",
            ),
            Self::Damaged => f.write_str("it is damaged, or no public key in DER; copy cosign.pub again"),
            Self::Several { found } => {
                write!(f, "it has {found} PEM blocks; one public key belongs here, and each further key is a signer of its own")
            }
            Self::PrivateKey => f.write_str(
                "it is a private key, which must stay with its signer; the public key belongs here: cosign.pub, which \
                 \"cosign public-key --key cosign.key\" prints; replace the key pair if others could read this",
            ),
            Self::Certificate => f.write_str(
                "it is a certificate; the public key belongs here, which \"openssl x509 -pubkey -noout\" prints",
            ),
            Self::OtherLabel { label } => {
                write!(f, "it is a PEM block \"{label}\"; a block \"PUBLIC KEY\" belongs here, as in cosign.pub")
            }
            Self::Unsupported { kind } => write!(f, "it is {kind}, which is not supported; {USABLE}"),
            Self::RsaSize { bits } => write!(f, "it is an RSA key of {bits} bits, which is not supported; {USABLE}"),
            Self::Weak => write!(f, "it is an Ed25519 key of small order, for which anybody can sign; {USABLE}"),
        }
    }
}

impl std::error::Error for SigstoreKeyError {}

#[cfg(test)]
thread_local! {
    /// The signatures that this thread has checked, for the tests that results are remembered.
    pub(super) static VERIFICATIONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests;
