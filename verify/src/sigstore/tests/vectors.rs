//! Samples that real producers signed, if they are beside the checkout: each image with each key.
#![expect(
    clippy::disallowed_methods,
    reason = "the samples are not part of the repository, so a running test reads them"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::SigstoreKeyError;
use super::*;
use crate::oci::candidates::bundle_candidates;
use crate::oci::{read_referrers, referrers_tag, signatures_tag};

/// `shared/vectors` beside the checkout or beside one of the directories that it is in.
pub(super) fn vectors() -> Option<PathBuf> {
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = above.find_map(|directory| Some(directory.join("shared/vectors")).filter(|vectors| vectors.is_dir()));
    if found.is_none() {
        println!("skipped: there is no shared/vectors beside the checkout");
    }
    found
}

/// A registry on disk.
struct Registry(PathBuf);

impl Registry {
    fn file(&self, folder: &str, digest: Sha256, suffix: &str) -> Option<Vec<u8>> {
        fs::read(self.0.join(folder).join(format!("sha256-{}{suffix}", digest.hex()))).ok()
    }

    fn manifest(&self, digest: Sha256) -> Vec<u8> {
        let manifest = self.file("manifests", digest, ".json").expect("a manifest");
        assert_eq!(Sha256::of(&manifest), digest);
        manifest
    }

    fn tag(&self, tag: &str) -> Option<Sha256> {
        let tags: Value = serde_json::from_slice(&fs::read(self.0.join("tags-to-digests.json")).unwrap()).unwrap();
        Sha256::from_hex(tags[tag].as_str()?.strip_prefix("sha256:")?)
    }

    /// The image of the tag v1, then those that it lists if it is an index.
    fn images(&self) -> Vec<Image> {
        let image = Image::new(&self.manifest(self.tag("v1").unwrap()));
        let index: Value = serde_json::from_slice(&image.manifest).unwrap();
        let children = index["manifests"].as_array().cloned().unwrap_or_default();
        let children = children.iter().map(|child| child["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap());
        let children: Vec<_> = children.map(|hex| Image::new(&self.manifest(Sha256::from_hex(hex).unwrap()))).collect();
        [vec![image], children].concat()
    }

    /// Bundles, then signatures of the old format.
    fn signatures(&self, image: &Image) -> [Vec<Result<Signature, NotCounted>>; 2] {
        let digest = Sha256::new(image.sha256());
        let (mut bundles, mut layers) = (Vec::new(), Vec::new());
        let fallback = || self.tag(&referrers_tag(digest)).map(|list| self.manifest(list));
        let list = self.file("referrers", digest, ".json").or_else(fallback);
        let list = list.map(|list| read_referrers(&list).unwrap()).unwrap_or_default();
        for descriptor in bundle_candidates(&list).unwrap() {
            let manifest =
                SignatureManifest::read(&self.manifest(descriptor.digest), None, Some(descriptor.digest)).unwrap();
            let blob = self.file("blobs", bundle_layer(&manifest, digest).unwrap().digest, "").unwrap();
            bundles.push(Signature::from_bundle(&manifest, blob));
        }
        if let Some(tagged) = self.tag(&signatures_tag(digest)) {
            let manifest = SignatureManifest::read(&self.manifest(tagged), None, Some(tagged)).unwrap();
            for layer in payload_layers(&manifest).unwrap() {
                let blob = self.file("blobs", layer.digest, "").unwrap();
                layers.push(Signature::from_layer(&manifest, layer, blob.into()));
            }
        }
        [bundles, layers]
    }
}

/// Registries, and which keys have signed each image in a bundle and in the old format. `cosign` signed with build=42 in
/// `single`.
const SIGNED: [(&str, &[[&[&str]; 2]]); 8] = [
    ("cosign/referrers-api/single", &[[ALL, ALL]]),
    ("cosign/referrers-api/multi", &[[COSIGN, COSIGN], [&[], COSIGN], [&[], COSIGN]]),
    ("cosign/referrers-api/multib", &[[COSIGN, &[]], [&[], &[]], [&[], &[]]]),
    ("cosign/referrers-api/onlyatt", &[[&[], &[]]]),
    ("cosign/referrers-api/tsb", &[[COSIGN, &[]]]),
    ("cosign/referrers-api/rekor2", &[[COSIGN, &[]]]),
    ("cosign/referrers-api/cert", &[[&[], &[]]]),
    ("cosign/fallback-tag/single", &[[COSIGN, &[]]]),
];
const COSIGN: &[&str] = &["cosign"];
/// The Ed25519 key signed as well, by Ed25519ph, and the key on P-521 cannot be loaded.
const ALL: &[&str] = &["cosign", "i_p384", "i_rsa2048", "i_rsa3072"];

fn keys(vectors: &Path) -> Vec<Signer> {
    let mut keys = Vec::new();
    for name in ["cosign", "i_p256", "i_p384", "i_p521", "i_rsa2048", "i_rsa3072", "i_ed25519"] {
        let pem = fs::read_to_string(vectors.join(format!("cosign/keys/{name}.pub"))).unwrap();
        match SigstoreKey::from_pem(&pem) {
            Ok(key) => keys.push(Signer::with_key(name.to_owned(), key)),
            Err(error) => {
                assert_eq!((name, error), ("i_p521", SigstoreKeyError::Unsupported { kind: "an ECDSA key on P-521" }))
            }
        }
    }
    assert_eq!(keys.len(), 6);
    keys
}

fn sound(signatures: &[Result<Signature, NotCounted>]) -> Vec<&Signature> {
    signatures.iter().filter_map(|signature| signature.as_ref().ok()).collect()
}

#[test]
fn scheme_row_032_057_images_that_cosign_signed() {
    let Some(vectors) = vectors() else { return };
    let keys = keys(&vectors);
    for (folder, expected) in SIGNED {
        let registry = Registry(vectors.join(folder));
        let images = registry.images();
        assert_eq!(images.len(), expected.len(), "{folder}");
        for (image, expected) in images.iter().zip(expected) {
            for (signatures, expected) in registry.signatures(image).iter().zip(expected) {
                for key in &keys {
                    let signers = std::slice::from_ref(key);
                    let verdict = verify(by(signers), image, &sound(signatures));
                    assert_eq!(
                        verdict.is_ok(),
                        expected.contains(&key.name.as_str()),
                        "{folder} {} {verdict:?}",
                        key.name
                    );
                }
                let required = annotations(&[("build", "42")]);
                let requirement = Requirement { annotations: &required, threshold: Some(1), ..by(&keys) };
                let verdict = verify(requirement, image, &sound(signatures));
                assert_eq!(verdict.is_ok(), *expected == ALL, "{folder} {verdict:?}");
                assert!(verdict.is_err() || verdict.unwrap().signers == COSIGN);
            }
        }
    }
}

#[test]
fn scheme_row_059_068_what_is_there_and_does_not_count_is_told() {
    let Some(vectors) = vectors() else { return };
    for (folder, code) in [("onlyatt", "attestation"), ("cert", "bad-signature")] {
        let registry = Registry(vectors.join("cosign/referrers-api").join(folder));
        let image = &registry.images()[0];
        let list = read_referrers(&registry.file("referrers", Sha256::new(image.sha256()), ".json").unwrap()).unwrap();
        let manifest = registry.manifest(list[0].digest);
        let manifest = SignatureManifest::read(&manifest, None, None).unwrap();
        let layer = bundle_layer(&manifest, Sha256::new(image.sha256())).unwrap();
        let bundle = Signature::from_bundle(&manifest, registry.file("blobs", layer.digest, "").unwrap());
        assert_eq!(why(bundle).0, code, "{folder}");
    }
}

#[test]
fn scheme_row_037_cosign_3_signs_with_ed25519_by_ed25519ph() {
    let Some(vectors) = vectors() else { return };
    let keys = keys(&vectors);
    let registry = Registry(vectors.join("cosign/referrers-api/single"));
    let image = &registry.images()[0];
    let [bundles, _] = registry.signatures(image);
    let ed25519 = keys.iter().find(|key| key.name == "i_ed25519").unwrap();
    let text = verify(by(std::slice::from_ref(ed25519)), image, &sound(&bundles)).unwrap_err().to_string();
    assert!(text.contains("it names the Ed25519 key of i_ed25519 and does not verify"), "{text}");
}

/// Cases of the old format, each really signed, and what comes out: accepted, or the word for the reason.
const CRAFTED: [(&str, &str); 10] = [
    ("ok", "accepted"),
    ("other-docker-reference", "accepted"),
    ("junk-bundle-annotation", "accepted"),
    ("junk-certificate-annotation", "accepted"),
    ("digest-uppercase-hex", "bad-signature"),
    ("duplicate-digest-key-last-right", "bad-signature"),
    ("no-type", "bad-signature"),
    ("trailing-json", "bad-signature"),
    ("wrong-digest", "other-image"),
    ("p1363-signature", "other-key"),
];

#[test]
fn scheme_row_038_to_050_crafted_signatures() {
    let Some(vectors) = vectors() else { return };
    let pem = fs::read_to_string(vectors.join("cosign/keys/p256.pub")).unwrap();
    let signers = [Signer::with_key("p256".to_owned(), SigstoreKey::from_pem(&pem).unwrap())];
    for case in fs::read_dir(vectors.join("cosign-crafted")).unwrap() {
        let case = case.unwrap().path();
        let name = case.file_name().unwrap().to_str().unwrap();
        let Some((_, expected)) = CRAFTED.iter().find(|(known, _)| *known == name) else {
            assert!(!case.is_dir(), "a case without an expectation: {name}");
            continue;
        };
        let registry = Registry(case.clone());
        let image = &registry.images()[0];
        let [_, layers] = registry.signatures(image);
        assert_eq!(layers.len(), 1, "{name}");
        for signature in &layers {
            let outcome = match signature {
                Ok(signature) => {
                    by(&signers).signers_of(about(image), signature).map_or_else(|why| why.code(), |_| "accepted")
                }
                Err(why) => why.code(),
            };
            assert_eq!(outcome, *expected, "{name}");
        }
        assert_eq!(verify(by(&signers), image, &sound(&layers)).is_ok(), *expected == "accepted", "{name}");
        if name == "other-docker-reference" {
            let requirement = Requirement { repository: Some("127.0.0.1:5053/plant/single"), ..by(&signers) };
            assert!(verify(requirement, image, &sound(&layers)).is_err());
        }
    }
}

/// Bundles over the bytes of a file, which stand for an image's manifest here.
#[test]
fn scheme_row_065_068_conformance_cases_with_a_key() {
    let Some(vectors) = vectors() else { return };
    let cases = vectors.join("sigstore-conformance");
    let artifact = Image::new(&fs::read(cases.join("a.txt")).unwrap());
    let manifest = Artifact::bundle(&artifact, Vec::new()).manifest;
    let manifest = SignatureManifest::read(&manifest, None, None).unwrap();
    let pem = fs::read_to_string(cases.join("managed-key-happy-path/key.pub")).unwrap();
    let signers = [Signer::with_key("managed".to_owned(), SigstoreKey::from_pem(&pem).unwrap())];
    let mut accepted = Vec::new();
    for case in fs::read_dir(&cases).unwrap().map(|case| case.unwrap().path()).filter(|case| case.is_dir()) {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let Ok(bundle) = fs::read(case.join("bundle.sigstore.json")) else { continue };
        let signature = Signature::from_bundle(&manifest, bundle);
        match fs::read_to_string(case.join("key.pub")) {
            Ok(pem) => {
                let key = SigstoreKey::from_pem(&pem);
                let own = key.is_ok_and(|key| {
                    let signers = [Signer::with_key(name.clone(), key)];
                    verify(by(&signers), &artifact, &[signature.as_ref().unwrap()]).is_ok()
                });
                assert_eq!(own, !name.ends_with("_fail"), "{name}");
            }
            Err(_) => assert!(signature.as_ref().map_or(true, Signature::is_keyless), "{name} has a certificate"),
        }
        if signature.is_ok_and(|signature| verify(by(&signers), &artifact, &[&signature]).is_ok()) {
            accepted.push(name);
        }
    }
    accepted.sort();
    // By the same key; the wrong one of the third case is only in its file.
    assert_eq!(accepted, ["managed-key-and-trusted-root", "managed-key-happy-path", "managed-key-wrong-key_fail"]);
}

/// Does the signature of this folder count under this trusted root, where a log is required?
pub(super) fn plant(vectors: &Path, folder: &str, root: &str, counts: bool) {
    let registry = Registry(vectors.join("cosign/referrers-api").join(folder));
    let root = fs::read(vectors.join("cosign/keys").join(root)).unwrap();
    let root = std::sync::Arc::new(super::super::TrustedRoot::read(&root).unwrap());
    let pem = fs::read_to_string(vectors.join("cosign/keys/cosign.pub")).unwrap();
    let signers = [Signer::with_key("cosign".to_owned(), SigstoreKey::from_pem(&pem).unwrap())];
    let requirement = Requirement { trusted_root: Some(&root), log_required: true, ..by(&signers) };
    let image = &registry.images()[0];
    let [bundles, _] = registry.signatures(image);
    let verdict = verify(requirement, image, &sound(&bundles));
    assert_eq!(verdict.is_ok(), counts, "{folder} {verdict:?}");
}
