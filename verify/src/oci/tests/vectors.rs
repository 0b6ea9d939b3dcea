//! What registries answered about images that cosign signed: samples beside the checkout. The tests say that they skip where the
//! samples are not there.

#![expect(clippy::disallowed_methods, reason = "tests read the samples; the crate itself opens no file")]

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// The folder of samples, if there is one beside the checkout.
fn samples(name: &str) -> Option<PathBuf> {
    let ancestors = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = ancestors.map(|parent| parent.join("shared/vectors").join(name)).find(|folder| folder.is_dir());
    if found.is_none() {
        println!("skipped: shared/vectors/{name} is not beside the checkout");
    }
    found
}

/// The files of a folder with their names, in order; none if it is not there.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

/// The digest in a file's name, `sha256-<hex>.json` or without its end.
fn named(file: &str) -> Sha256 {
    Sha256::from_hex(file.trim_start_matches("sha256-").trim_end_matches(".json")).expect(file)
}

/// The tag of an image's signatures, and the manifest that it names.
fn signature_tags(repository: &Path) -> Vec<(Sha256, Sha256)> {
    let Ok(tags) = fs::read(repository.join("tags-to-digests.json")) else { return Vec::new() };
    let tags: std::collections::BTreeMap<String, String> = serde_json::from_slice(&tags).unwrap();
    let manifest = |digest: &str| Sha256::from_hex(digest.trim_start_matches("sha256:")).unwrap();
    let signatures = tags.iter().filter_map(|(tag, digest)| {
        let image = Sha256::from_hex(tag.strip_prefix("sha256-")?.strip_suffix(".sig")?)?;
        assert_eq!(*tag, signatures_tag(image));
        Some((image, manifest(digest)))
    });
    signatures.collect()
}

fn read_repository(repository: &Path, blobs_are_complete: bool) -> (usize, usize) {
    let manifests = files(&repository.join("manifests"));
    let blobs = files(&repository.join("blobs"));
    let manifest = |digest: Sha256| {
        let bytes = manifests.iter().find(|(name, _)| named(name) == digest).map(|(_, bytes)| bytes);
        bytes.unwrap_or_else(|| panic!("{digest} in {}", repository.display()))
    };
    let blob = |descriptor: &Descriptor| {
        let blob = blobs.iter().find(|(name, _)| named(name) == descriptor.digest).map(|(_, bytes)| bytes);
        assert!(blob.is_some() || !blobs_are_complete, "{descriptor:?}");
        if let Some(bytes) = blob {
            assert_eq!(descriptor.check(bytes), Ok(()));
        }
    };
    for (name, bytes) in &manifests {
        let image = Image::read(bytes, None, Some(named(name))).unwrap();
        assert_eq!(Image::read(bytes, Some(&image.media_type), None).as_ref(), Ok(&image));
        assert_eq!(SignatureManifest::read(bytes, None, None).is_ok(), image.media_type == OCI_MANIFEST, "{name}");
    }
    let (mut bundles, mut layers) = (0, 0);
    for (name, bytes) in files(&repository.join("referrers")) {
        let list = read_referrers(&bytes).unwrap();
        for candidate in candidates::bundle_candidates(&list).unwrap() {
            let bytes = manifest(candidate.digest);
            assert_eq!(candidate.check(bytes), Ok(()));
            let manifest = SignatureManifest::read(bytes, Some(OCI_MANIFEST), Some(candidate.digest)).unwrap();
            blob(candidates::bundle_layer(&manifest, named(&name)).unwrap());
            bundles += 1;
        }
    }
    for (_, digest) in signature_tags(repository) {
        let manifest = SignatureManifest::read(manifest(digest), Some(OCI_MANIFEST), Some(digest)).unwrap();
        for layer in candidates::payload_layers(&manifest).unwrap() {
            blob(layer);
            assert!(layer.annotations.contains_key("dev.cosignproject.cosign/signature"));
            layers += 1;
        }
    }
    (bundles, layers)
}

#[test]
fn samples_of_registries_are_read() {
    let Some(folder) = samples("cosign") else { return };
    for (repository, bundles, layers) in [
        ("referrers-api/single", 6, 6),
        ("referrers-api/multi", 1, 3),
        ("referrers-api/multib", 1, 0),
        ("referrers-api/onlyatt", 0, 0),
        ("referrers-api/tsb", 1, 0),
        ("referrers-api/rekor2", 1, 0),
        ("referrers-api/cert", 1, 0),
    ] {
        assert_eq!(read_repository(&folder.join(repository), true), (bundles, layers), "{repository}");
    }
    // Without the referrers API: the list is under a tag.
    let repository = folder.join("fallback-tag/single");
    let manifests = files(&repository.join("manifests"));
    let (mut lists, mut candidates) = (0, 0);
    for (name, bytes) in &manifests {
        let image = Image::read(bytes, None, Some(named(name))).unwrap();
        if image.media_type == OCI_INDEX {
            lists += 1;
            candidates += candidates::bundle_candidates(&read_referrers(bytes).unwrap()).unwrap().len();
        }
    }
    assert!(lists > 0 && candidates > 0, "{lists} lists, {candidates} candidates");
    read_repository(&repository, true);
}

#[test]
fn crafted_samples_are_well_formed_manifests() {
    let Some(folder) = samples("cosign-crafted") else { return };
    let mut cases = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let repository = entry.unwrap().path();
        if repository.is_dir() {
            // What is wrong is in the payload or the annotations, which the verifier of signatures reads.
            assert_eq!(read_repository(&repository, true), (0, 1), "{}", repository.display());
            cases += 1;
        }
    }
    assert!(cases >= 10, "{cases}");
}
