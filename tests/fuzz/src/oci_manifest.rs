//! Manifests and indices of images and of signatures, compared with a slow reading of the same tree. The input is a body, or
//! after a NUL the value of `Content-Type`, a line feed, and the body.

use portreeve_test_support::cosign::digest;
use portreeve_verify::oci::candidates::{bundle_layer, payload_layers};
use portreeve_verify::oci::{Image, MAX_CANDIDATES, OciError, SignatureManifest};

use crate::oci::{OCI_MANIFEST, Parts, artifact_type, descriptor, digest as digest_of, is_limit, media_type, parts};
use crate::strict_json::{self, Json};

pub fn check(data: &[u8]) {
    let (header, body) = split(data);
    let json = strict_json::read(body);
    let expected = json.as_ref().and_then(|json| media_type(json, header));
    let found = Image::read(body, header, None);
    if !found.as_ref().is_err_and(is_limit) {
        assert_eq!(found.as_ref().ok().map(|image| image.media_type.as_str()), expected, "{found:?}");
    }
    if let Ok(image) = &found {
        assert_eq!((image.digest.to_string(), image.size), (digest(body), body.len() as u64));
        // It is the same image under its own digest, and none under another.
        assert_eq!(Image::read(body, Some(&image.media_type), Some(image.digest)).as_ref(), Ok(image));
        let longer = [body, b" "].concat();
        assert!(matches!(Image::read(&longer, header, Some(image.digest)), Err(OciError::Digest { .. })));
        assert_eq!(Image::read(&longer, header, None).map(|image| image.media_type), Ok(image.media_type.clone()));
    }
    // Without any media type only an OCI manifest can be one of signatures.
    let expected = json.filter(|json| {
        expected == Some(OCI_MANIFEST)
            || found == Err(OciError::NoMediaType) && media_type(json, Some(OCI_MANIFEST)).is_some()
    });
    let expected = expected.and_then(|json| signatures(&json));
    match SignatureManifest::read(body, header, None) {
        Err(error) if is_limit(&error) => {}
        found => {
            assert_eq!(found.as_ref().ok().map(of), expected, "{found:?}");
            found.iter().for_each(layers);
        }
    }
}

/// The parts of a manifest of signatures: config, layers, subject, artifact type.
type Signatures = (Parts, Vec<Parts>, Option<String>, Option<String>);

fn of(manifest: &SignatureManifest) -> Signatures {
    let subject = manifest.subject.map(|subject| subject.to_string());
    let layers = manifest.layers.iter().map(parts).collect();
    (parts(&manifest.config), layers, subject, manifest.artifact_type.clone())
}

fn signatures(json: &Json) -> Option<Signatures> {
    let layers = json.get("layers")?.list()?.iter().map(descriptor).collect::<Option<_>>()?;
    let subject = match json.get("subject") {
        None | Some(Json::Null) => None,
        Some(subject) => {
            crate::oci::has_no_other_case(subject, &["digest"]).then_some(())?;
            Some(digest_of(subject)?)
        }
    };
    Some((descriptor(json.get("config")?)?, layers, subject, artifact_type(json)?))
}

/// What the layers are taken for.
fn layers(manifest: &SignatureManifest) {
    const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
    if let Some(subject) = manifest.subject {
        let is_bundle = manifest.layers.len() == 1
            && manifest.layers.iter().all(|layer| layer.media_type.starts_with(BUNDLE))
            && manifest.artifact_type.as_ref().is_some_and(|kind| kind.starts_with(BUNDLE));
        assert_eq!(bundle_layer(manifest, subject).is_ok(), is_bundle);
    }
    // The manifest is about itself in no way.
    assert!(bundle_layer(manifest, manifest.digest).is_err());
    let payload = |kind: &str| kind == "application/vnd.dev.cosign.simplesigning.v1+json";
    let count = manifest.layers.iter().filter(|layer| payload(&layer.media_type)).count();
    assert_eq!(payload_layers(manifest).ok().map(|layers| layers.len()), (count <= MAX_CANDIDATES).then_some(count));
}

fn split(data: &[u8]) -> (Option<&str>, &[u8]) {
    let Some((0, rest)) = data.split_first() else { return (None, data) };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (header, body) = rest.split_at(end);
    (std::str::from_utf8(header).ok(), body.get(1..).unwrap_or_default())
}
