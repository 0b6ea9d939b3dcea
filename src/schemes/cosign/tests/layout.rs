//! Images and signatures in an OCI image layout: a registry on a stick.

use super::*;
use portreeve_test_support::cosign::digest;

/// A layout with these manifests, each with the name under which it is listed, and with these blobs.
fn write(bench: &Bench, manifests: &[(&[u8], Option<String>)], blobs: &[Vec<u8>]) -> String {
    let directory = bench.scratch.path().join("stick");
    std::fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
    let put = |bytes: &[u8]| {
        std::fs::write(directory.join("blobs").join(digest(bytes).replace(':', "/")), bytes).unwrap();
    };
    blobs.iter().for_each(|blob| put(blob));
    let entry = |(bytes, name): &(&[u8], Option<String>)| {
        put(bytes);
        let annotations = name.iter().map(|name| ("org.opencontainers.image.ref.name".to_owned(), name.clone().into()));
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(bytes), "size": bytes.len(),
            "annotations": annotations.collect::<serde_json::Map<_, _>>(),
        })
    };
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests.iter().map(entry).collect::<Vec<_>>(),
    });
    std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    format!("file://{}", directory.display())
}

#[test]
fn scheme_row_137_a_layout_has_images_by_digest_and_by_tag_and_no_others() {
    let mut bench = Bench::new();
    bench.registry.go_away();
    let signature = bundle(&bench.image, &bench.alice);
    let manifests = [(&*bench.image.manifest, Some(format!("{}:v1", bench.name()))), (&*signature.manifest, None)];
    let url = write(&bench, &manifests, &signature.blobs);
    let signatures = BTreeMap::from([(format!("{}/", bench.registry.host()), url.clone())]);
    let options = Options { refresh_after: Duration::ZERO, signatures, ..Options::default() };
    let (rule, by_digest) = (bench.rule(), bench.by_digest());
    for image in [":v1", by_digest.as_str()] {
        bench.restart(&options);
        let mut trace = Trace::default();
        let verified = bench.trace(&Ask::of(image, &rule), &mut trace).unwrap();
        assert_eq!(verified.digest.sha256().to_string(), bench.image.digest());
        assert_eq!(trace.subject.unwrap().server(), Some(url.as_str()));
    }
    let message = rejected(bench.ask(&Ask::of(":v2", &rule)), "not-found");
    assert!(message.contains(&url), "{message}");
    let other = rule_of(&[("bob", &bench.bob)]);
    rejected(bench.ask(&Ask::of(":v1", &other)), "signature");
    // A stick that is not there says nothing.
    std::fs::remove_dir_all(bench.scratch.path().join("stick")).unwrap();
    unavailable(bench.ask(&Ask::of(":v1", &rule)));
}
