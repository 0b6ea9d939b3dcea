//! Rows of SCHEMES.md that are decided by a manifest's or a list's bytes, and the properties of every input.

mod descriptor;
mod filter;
mod image;
mod notation;
mod properties;
mod referrers;
mod signature_manifest;
mod vectors;

use serde_json::{Value, json};

use super::*;
use crate::image::Sha256;
use media_type::{DOCKER_LIST, DOCKER_MANIFEST, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, SIGSTORE_BUNDLE};

/// Replaces a part of a manifest, or adds it.
type Edit = fn(&mut Value);

/// The four media types of images, each with a manifest or an index.
fn images() -> [(&'static str, Value); 4] {
    let entry = json!({"mediaType": OCI_MANIFEST, "digest": digest(b"amd64"), "size": 418,
                       "platform": {"architecture": "amd64", "os": "linux"}});
    let image = |media_type| {
        json!({"schemaVersion": 2, "mediaType": media_type,
               "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(b"config"), "size": 6},
               "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(b"layer"), "size": 5}]})
    };
    let index = |media_type| json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]});
    [
        (OCI_MANIFEST, image(OCI_MANIFEST)),
        (OCI_INDEX, index(OCI_INDEX)),
        (DOCKER_MANIFEST, image(DOCKER_MANIFEST)),
        (DOCKER_LIST, index(DOCKER_LIST)),
    ]
}

/// The manifest of a bundle about an image with the digest of `image`.
fn bundle() -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": SIGSTORE_BUNDLE,
           "config": {"mediaType": OCI_EMPTY, "digest": digest(b"{}"), "size": 2},
           "layers": [{"mediaType": SIGSTORE_BUNDLE, "digest": digest(b"bundle"), "size": 6, "annotations": {"a": "b"}}],
           "subject": {"mediaType": OCI_MANIFEST, "digest": digest(b"image"), "size": 5}})
}

fn digest(bytes: &[u8]) -> String {
    Sha256::of(bytes).to_string()
}

/// The error of a manifest as the signature of an image.
fn refused(manifest: &Value) -> OciError {
    SignatureManifest::read(manifest.to_string().as_bytes(), None, None).expect_err(&manifest.to_string())
}

/// The error's words.
fn words<T: std::fmt::Debug>(result: Result<T, OciError>) -> String {
    result.expect_err("it must be refused").to_string()
}
