//! The protected headers, of either format: what the signer says of the signature (signature-specification.md, "Signed
//! attributes").

use crate::crypto::public_key::{PublicKey, SignatureAlgorithm};
use crate::not_counted::{NotCounted, quoted};

pub(super) const CONTENT_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";

pub(super) const SIGNING_SCHEME: &str = "io.cncf.notary.signingScheme";
pub(super) const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
pub(super) const AUTHENTIC_SIGNING_TIME: &str = "io.cncf.notary.authenticSigningTime";
pub(super) const EXPIRY: &str = "io.cncf.notary.expiry";
pub(super) const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
pub(super) const PLUGIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";
pub(super) const TIMESTAMP: &str = "io.cncf.notary.timestampSignature";
pub(super) const SIGNING_AGENT: &str = "io.cncf.notary.signingAgent";

/// The signing scheme: who says when a signature was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `notary.x509`: the signer, whom nobody needs to believe.
    X509,
    /// `notary.x509.signingAuthority`: an authority that is trusted for it.
    SigningAuthority,
}

/// What the protected headers say, before it is checked. A time is in seconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Protected<'a> {
    /// `alg` by its name in JWS.
    pub(super) algorithm: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
    pub(super) critical: Option<Vec<&'a str>>,
    pub(super) scheme: Option<&'a str>,
    pub(super) signing_time: Option<i64>,
    pub(super) authentic_signing_time: Option<i64>,
    pub(super) expiry: Option<i64>,
    pub(super) has_plugin: bool,
}

/// What the protected headers say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headers {
    pub(super) algorithm: Algorithm,
    pub(super) scheme: Scheme,
    /// When the signing authority says that it has signed; only its scheme has that.
    pub(super) authentic_signing_time: Option<i64>,
    pub(super) expiry: Option<i64>,
}

impl Protected<'_> {
    pub(super) fn check(self) -> Result<Headers, NotCounted> {
        if self.has_plugin {
            return Err(NotCounted::Shape(
                "it demands a verification plug-in, and plug-ins are not supported; sign without one",
            ));
        }
        if self.content_type != Some(CONTENT_TYPE) {
            return Err(NotCounted::value("its content type", self.content_type, CONTENT_TYPE));
        }
        let scheme = match self.scheme {
            Some("notary.x509") => Scheme::X509,
            Some("notary.x509.signingAuthority") => Scheme::SigningAuthority,
            found => {
                let expected = "\"notary.x509\" or \"notary.x509.signingAuthority\"";
                return Err(NotCounted::value("its signing scheme", found, expected));
            }
        };
        let (time, other) = match scheme {
            Scheme::X509 => (self.signing_time, self.authentic_signing_time),
            Scheme::SigningAuthority => (self.authentic_signing_time, self.signing_time),
        };
        let time = time.ok_or(NotCounted::Shape("it lacks the signing time of its signing scheme"))?;
        if other.is_some() {
            return Err(NotCounted::Shape("it has the signing time of another signing scheme"));
        }
        let mut critical = self.critical.ok_or(NotCounted::Shape("it has no header \"crit\""))?;
        let mut is_marked = |name: &str| {
            let place = critical.iter().position(|known| *known == name);
            place.map(|place| critical.remove(place)).is_some()
        };
        if !is_marked(SIGNING_SCHEME) {
            return Err(NotCounted::Shape("it does not mark its signing scheme as critical"));
        }
        if self.expiry.is_some() && !is_marked(EXPIRY) {
            return Err(NotCounted::Shape("it does not mark its expiry as critical"));
        }
        if scheme == Scheme::SigningAuthority && !is_marked(AUTHENTIC_SIGNING_TIME) {
            return Err(NotCounted::Shape("it does not mark its authentic signing time as critical"));
        }
        // What is left is not known, not there, or marked twice.
        if let Some(name) = critical.first() {
            return Err(NotCounted::Critical { name: quoted(name) });
        }
        if self.expiry.is_some_and(|expiry| expiry <= time) {
            return Err(NotCounted::Shape("it expires before it was signed"));
        }
        let authentic_signing_time = (scheme == Scheme::SigningAuthority).then_some(time);
        Ok(Headers { algorithm: Algorithm::of(self.algorithm)?, scheme, authentic_signing_time, expiry: self.expiry })
    }
}

/// How an envelope is signed. The key of the first certificate decides, and `alg` must say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Algorithm(SignatureAlgorithm);

impl Algorithm {
    /// By the name in JWS.
    fn of(name: Option<&str>) -> Result<Self, NotCounted> {
        Ok(Self(match name {
            Some("ES256") => SignatureAlgorithm::EcdsaSha256,
            Some("ES384") => SignatureAlgorithm::EcdsaSha384,
            Some("PS256") => SignatureAlgorithm::RsaPssSha256,
            Some("PS384") => SignatureAlgorithm::RsaPssSha384,
            Some("PS512") => SignatureAlgorithm::RsaPssSha512,
            Some("ES512") => {
                return Err(NotCounted::Shape(
                    "its algorithm is ES512, and keys on P-521 are not supported; sign with a key on P-256 or P-384",
                ));
            }
            name => {
                return Err(NotCounted::value("its algorithm", name, "one of ES256, ES384, PS256, PS384 and PS512"));
            }
        }))
    }

    /// Has this key made the signature over `message`? The key must be of the kind and the size that the algorithm is for.
    pub(super) fn verifies(self, key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), NotCounted> {
        let expected = match key {
            PublicKey::P256(_) => SignatureAlgorithm::EcdsaSha256,
            PublicKey::P384(_) => SignatureAlgorithm::EcdsaSha384,
            PublicKey::Rsa { bits: 2048, .. } => SignatureAlgorithm::RsaPssSha256,
            PublicKey::Rsa { bits: 3072, .. } => SignatureAlgorithm::RsaPssSha384,
            PublicKey::Rsa { bits: 4096, .. } => SignatureAlgorithm::RsaPssSha512,
            PublicKey::Rsa { .. } => {
                return Err(NotCounted::Shape(
                    "its RSA key has another size than 2048, 3072 and 4096 bits; sign with a key of such a size",
                ));
            }
            PublicKey::Ed25519(_) => {
                return Err(NotCounted::Shape(
                    "its key is an Ed25519 key, which Notation does not have; sign with a key on P-256 or P-384, or RSA",
                ));
            }
        };
        if self.0 != expected {
            return Err(NotCounted::Shape("its algorithm is not the one for the key of its certificate"));
        }
        if key.verifies(expected, message, signature) { Ok(()) } else { Err(NotCounted::Signature) }
    }
}
