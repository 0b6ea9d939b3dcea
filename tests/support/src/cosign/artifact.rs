//! What a registry holds: images and the manifests of their signatures.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Key, digest};
use crate::signer::{sha256, sha256_hex};

/// The media type of a payload of the old format.
pub const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The media type of a bundle.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// An image's manifest or index.
#[derive(Clone)]
pub struct Image {
    /// Its bytes.
    pub manifest: Vec<u8>,
}

impl Image {
    /// An image with these bytes as manifest.
    pub fn new(manifest: &[u8]) -> Self {
        Self { manifest: manifest.to_vec() }
    }

    /// An OCI manifest without layers that is unlike that of every other name.
    pub fn named(name: &str) -> Self {
        let empty = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2});
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": empty, "layers": [],
                              "annotations": {"org.opencontainers.image.title": name}});
        Self { manifest: manifest.to_string().into_bytes() }
    }

    /// `sha256:<hex>`.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// The hexadecimal digits of its digest.
    pub fn hex(&self) -> String {
        sha256_hex(&self.manifest)
    }

    /// The bytes of its digest.
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.manifest)
    }

    /// The tag under which its signatures are: `sha256-<hex>` with `.sig` (the old format) or without (the list of referrers).
    pub fn tag(&self, suffix: &str) -> String {
        format!("sha256-{}{suffix}", self.hex())
    }

    fn descriptor(&self) -> Value {
        let media_type = serde_json::from_slice::<Value>(&self.manifest).ok();
        let media_type = media_type.and_then(|manifest| manifest["mediaType"].as_str().map(str::to_owned));
        json!({"mediaType": media_type.as_deref().unwrap_or(MANIFEST_TYPE), "digest": self.digest(),
               "size": self.manifest.len()})
    }
}

/// One signature of the old format.
#[derive(Clone)]
pub struct Layer {
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// The layer's media type.
    pub media_type: String,
    /// The layer's annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Layer {
    /// A payload, signed by this key.
    pub fn new(payload: Vec<u8>, key: &Key) -> Self {
        let signature = key.sign(&payload);
        Self::with_signature(payload, &signature)
    }

    /// A payload with any signature.
    pub fn with_signature(payload: Vec<u8>, signature: &[u8]) -> Self {
        let annotations = BTreeMap::from([(SIGNATURE.to_owned(), STANDARD.encode(signature))]);
        Self { payload, media_type: PAYLOAD_TYPE.to_owned(), annotations }
    }

    /// Sets an annotation: junk, or another spelling of the signature.
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "size": self.payload.len(), "digest": digest(&self.payload),
               "annotations": self.annotations})
    }
}

/// A manifest with signatures, and the blobs that belong to it.
#[derive(Clone)]
pub struct Artifact {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// The signatures' blobs, then the config.
    pub blobs: Vec<Vec<u8>>,
}

impl Artifact {
    /// The manifest of the old format, which belongs under the tag `sha256-<hex>.sig`.
    pub fn layers(layers: &[Layer]) -> Self {
        let config = json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids":
            layers.iter().map(|layer| digest(&layer.payload)).collect::<Vec<_>>()}});
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": config.len(), "digest": digest(&config)},
            "layers": layers.iter().map(Layer::descriptor).collect::<Vec<_>>()
        });
        let mut blobs: Vec<_> = layers.iter().map(|layer| layer.payload.clone()).collect();
        blobs.push(config);
        Self { manifest: manifest.to_string().into_bytes(), blobs }
    }

    /// The manifest of a bundle, which is a referrer of the image.
    pub fn bundle(image: &Image, bundle: Vec<u8>) -> Self {
        Self::bundle_as("https://sigstore.dev/cosign/sign/v1", image, bundle)
    }

    /// The same with another predicate type in its annotations, such as that of an attestation.
    pub fn bundle_as(predicate_type: &str, image: &Image, bundle: Vec<u8>) -> Self {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "artifactType": BUNDLE_TYPE,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": digest(b"{}")},
            "layers": [{"mediaType": BUNDLE_TYPE, "size": bundle.len(), "digest": digest(&bundle)}],
            "annotations": {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": predicate_type},
            "subject": image.descriptor()
        });
        Self { manifest: manifest.to_string().into_bytes(), blobs: vec![bundle, b"{}".to_vec()] }
    }

    /// Changes the manifest.
    pub fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).expect("a manifest");
        edit(&mut manifest);
        self.manifest = manifest.to_string().into_bytes();
        self
    }

    /// The digest of its manifest.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// Its entry in a list of referrers, as Distribution and Harbor write it.
    pub fn referrer(&self) -> Value {
        let manifest: Value = serde_json::from_slice(&self.manifest).expect("a manifest");
        json!({"mediaType": MANIFEST_TYPE, "size": self.manifest.len(), "digest": self.digest(),
               "artifactType": manifest["artifactType"], "annotations": manifest["annotations"]})
    }
}

/// A list of referrers.
pub fn referrers(artifacts: &[Artifact]) -> Vec<u8> {
    let manifests: Vec<_> = artifacts.iter().map(Artifact::referrer).collect();
    let list =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    list.to_string().into_bytes()
}
