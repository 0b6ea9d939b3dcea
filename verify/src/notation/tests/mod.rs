//! Rows 92 to 114 of SCHEMES.md, with envelopes that are signed in process.

mod algorithm;
mod cbor;
mod chain;
mod cose;
mod dates;
mod differential;
mod headers;
mod identity;
mod remembered;
mod revocation;
mod trust_policy;
mod trust_store;
mod vectors;

use crate::Effort;
use std::collections::BTreeMap;

use jiff::Timestamp;
use portreeve_test_support::notation::{Certificate, Cose, Jws, Kind, Spec};

use super::*;
use crate::image::Sha256;

const IMAGE: &[u8] = b"{\"an\":\"image\"}";
const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// 2026-12-01.
const NOW: i64 = 1_796_083_200;
const DAY: i64 = 86_400;

fn image() -> SignedImage<'static> {
    SignedImage { digest: Sha256::of(IMAGE), media_type: MEDIA_TYPE, size: IMAGE.len() as u64 }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn p256_chain() -> Vec<Certificate> {
    portreeve_test_support::notation::chain(Kind::P256, Kind::P256)
}

fn read(format: EnvelopeFormat, bytes: &[u8]) -> Result<Envelope, NotCounted> {
    let envelope = Envelope::read(Sha256::of(b"manifest"), format, bytes)?;
    envelope.verify(Effort::UNLIMITED)?;
    Ok(envelope)
}

fn jws(jws: &Jws) -> Result<Envelope, NotCounted> {
    read(EnvelopeFormat::Jws, &jws.bytes())
}

fn cose(cose: &Cose) -> Result<Envelope, NotCounted> {
    read(EnvelopeFormat::Cose, &cose.bytes())
}

/// A policy that owns what a requirement borrows.
struct Policy {
    stores: TrustStores,
    identities: Vec<Identity>,
    lists: RevocationLists,
    is_strict: bool,
    after_cert_expiry_only: bool,
    metadata: BTreeMap<String, String>,
}

impl Policy {
    /// Trusts these certificates as CAs, and each signer of the organization Plant.
    fn of(ca: &[&Certificate]) -> Self {
        Self::with(TrustStores::new(ca.iter().map(|ca| ca.der.clone()).collect(), Vec::new(), None))
    }

    fn with(stores: TrustStores) -> Self {
        Self {
            stores,
            identities: vec![Identity::parse("x509.subject: C=US, ST=WA, O=Plant").unwrap()],
            lists: RevocationLists::none(),
            is_strict: true,
            after_cert_expiry_only: false,
            metadata: BTreeMap::new(),
        }
    }

    fn requirement(&self) -> Requirement<'_> {
        Requirement {
            stores: &self.stores,
            identities: &self.identities,
            after_cert_expiry_only: self.after_cert_expiry_only,
            revocation: if self.is_strict { Revocation::Strict(&self.lists) } else { Revocation::Skip },
            metadata: &self.metadata,
            effort: Effort::UNLIMITED,
        }
    }

    fn signer_of(&self, envelope: &Envelope, now: i64) -> Result<String, NotCounted> {
        self.requirement().signer_of(image(), envelope, at(now))
    }

    /// The words for why it does not count.
    fn refusal(&self, envelope: &Envelope, now: i64) -> (&'static str, String) {
        let reason = self.signer_of(envelope, now).expect_err("it counts");
        let rejection = self.requirement().verify(image(), &[envelope], at(now)).expect_err("it is accepted");
        assert_eq!(rejection.reasons.first, [(envelope.manifest(), reason.clone(), 1)]);
        (reason.code(), reason.to_string())
    }
}

/// The words for why an envelope cannot be read.
fn why(result: Result<Envelope, NotCounted>) -> (&'static str, String) {
    let reason = result.expect_err("it is read");
    (reason.code(), reason.to_string())
}

fn assert_refused(result: Result<Envelope, NotCounted>, code: &str, words: &str) {
    let (found, text) = why(result);
    assert!(found == code && text.contains(words), "{found}: {text} instead of {code}: {words}");
}

#[test]
fn scheme_row_092_jws_by_a_known_ca_with_the_right_subject_in_date() {
    let chain = p256_chain();
    let envelope = jws(&Jws::new(IMAGE, &chain)).unwrap();
    let policy = Policy::of(&[&chain[2]]);
    let accepted = policy.requirement().verify(image(), &[&envelope], at(NOW)).unwrap();
    assert_eq!(accepted.digest.sha256(), image().digest);
    assert_eq!(accepted.signers, ["CN=builder,O=Plant,ST=WA,C=US"]);
    assert_eq!((envelope.signer(), envelope.format()), ("CN=builder,O=Plant,ST=WA,C=US", EnvelopeFormat::Jws));
    assert_eq!(
        (envelope.manifest(), envelope.expires(), envelope.ends()),
        (Sha256::of(b"manifest"), None, 2_208_988_800)
    );
    // A signer counts once, and one that counts is enough.
    let stranger = jws(&Jws::new(IMAGE, &p256_chain())).unwrap();
    let accepted = policy.requirement().verify(image(), &[&stranger, &envelope, &envelope], at(NOW)).unwrap();
    assert_eq!(accepted.signers.len(), 1);
    let (code, words) = policy.refusal(&stranger, NOW);
    assert!(code == "untrusted-certificate" && words.contains("CN=builder,O=Plant,ST=WA,C=US"), "{words}");
    let rejection = policy.requirement().verify(image(), &[], at(NOW)).unwrap_err();
    assert_eq!(rejection.to_string(), "it has no Notation signature that counts");
}

#[test]
fn scheme_row_098_digest_media_type_and_size_are_all_compared() {
    let chain = p256_chain();
    let policy = Policy::of(&[&chain[2]]);
    let envelope = jws(&Jws::new(IMAGE, &chain)).unwrap();
    for (other, what) in [
        (SignedImage { digest: Sha256::of(b"other"), ..image() }, "the digest differs"),
        (SignedImage { media_type: "application/vnd.oci.image.index.v1+json", ..image() }, "the media type differs"),
        (SignedImage { size: image().size + 1, ..image() }, "the size differs"),
    ] {
        let reason = policy.requirement().signer_of(other, &envelope, at(NOW)).unwrap_err();
        assert!(reason.code() == "other-image" && reason.to_string().contains(what), "{reason}");
    }
    // The same, said by an envelope.
    type Edit = fn(&mut serde_json::Value);
    let cases: [(&str, Edit); 9] = [
        ("sha256:", |artifact| artifact["digest"] = "sha512:00".into()),
        ("sha256:", |artifact| artifact["digest"] = artifact["digest"].as_str().unwrap().to_uppercase().into()),
        ("sha256:", |artifact| artifact["digest"] = 1.into()),
        ("media type", |artifact| artifact["mediaType"] = 1.into()),
        ("size", |artifact| artifact["size"] = "14".into()),
        ("size", |artifact| artifact["size"] = (-14).into()),
        ("another spelling", |artifact| artifact["Size"] = 14.into()),
        ("metadata", |artifact| artifact["annotations"] = serde_json::json!({"a": 1})),
        ("targetArtifact", |artifact| *artifact = serde_json::Value::Null),
    ];
    for (words, edit) in cases {
        let changed = Jws::new(IMAGE, &chain).edit(|jws| edit(&mut jws.payload["targetArtifact"]));
        assert_refused(jws(&changed), "bad-signature", words);
        let changed = Cose::new(IMAGE, &chain).edit(|cose| edit(&mut cose.payload["targetArtifact"]));
        assert_refused(cose(&changed), "bad-signature", words);
    }
}

#[test]
fn metadata_that_the_policy_requires_must_be_signed() {
    let chain = p256_chain();
    let mut policy = Policy::of(&[&chain[2]]);
    policy.metadata.insert("build".to_owned(), "42".to_owned());
    let with = |value: &str| {
        let jws = Jws::new(IMAGE, &chain);
        jws.edit(|jws| jws.payload["targetArtifact"]["annotations"] = serde_json::json!({"a": "b", "build": value}))
    };
    policy.signer_of(&jws(&with("42")).unwrap(), NOW).unwrap();
    let (code, words) = policy.refusal(&jws(&with("41")).unwrap(), NOW);
    assert!(code == "metadata" && words.contains("build=\"41\"") && words.contains("\"42\""), "{words}");
    let (_, words) = policy.refusal(&jws(&Jws::new(IMAGE, &chain)).unwrap(), NOW);
    assert!(words.contains("notation sign --user-metadata build=42"), "{words}");
}

#[test]
fn an_envelope_has_a_cap() {
    let chain = p256_chain();
    let large = Jws::new(IMAGE, &chain).edit(|jws| jws.header["a"] = "a".repeat(MAX_ENVELOPE).into());
    assert_refused(jws(&large), "too-large", "524288 bytes");
    assert_refused(read(EnvelopeFormat::Cose, &vec![0; MAX_ENVELOPE + 1]), "too-large", "524288 bytes");
    let many = Jws::new(IMAGE, &chain).edit(|jws| jws.header["a"] = vec![0; 9000].into());
    assert_eq!(why(jws(&many)).0, "bad-signature");
}

/// A chain whose root has a different name and key, for tests of anchors.
fn self_signed(kind: Kind) -> Vec<Certificate> {
    vec![Spec::leaf("builder", kind).self_signed()]
}
