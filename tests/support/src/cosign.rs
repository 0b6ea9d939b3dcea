//! An in-process cosign: signs images with keys in both formats, honestly or with one thing wrong.
//!
//! ```
//! use portreeve_test_support::cosign::{Artifact, Bundle, Image, Key, Layer, Payload, Statement};
//!
//! let key = Key::p256();
//! let image = Image::new(br#"{"schemaVersion":2,"layers":[]}"#);
//! // The old format: a manifest under the tag `sha256-<hex>.sig`.
//! let payload = Payload::new(&image).reference("registry.local:9001/plant/plc").annotation("build", "42").bytes();
//! let old = Artifact::layers(&[Layer::new(payload, &key)]);
//! assert_eq!(image.tag(".sig"), format!("sha256-{}.sig", image.hex()));
//! // A bundle: a referrer of the image.
//! let bundle = Bundle::dsse(&Statement::new(&image).bytes(), &key).bytes();
//! let new = Artifact::bundle(&image, bundle);
//! assert_eq!((old.blobs.len(), new.blobs.len()), (2, 2), "the signature and the config");
//! ```
//!
//! The bytes are those of cosign 3.1.3 but for the order of names. What is signed is always `bytes()` after all edits, so a wrong
//! thing is really signed.

mod artifact;
mod bundle;
mod key;
mod payload;
pub mod plant;

pub use artifact::{Artifact, BUNDLE_TYPE, Image, Layer, PAYLOAD_TYPE, referrers};
pub use bundle::{Bundle, IN_TOTO, SIGN_PREDICATE, Statement, pae};
pub use key::Key;
pub use payload::Payload;

/// `sha256:<hex>` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", crate::signer::sha256_hex(bytes))
}
