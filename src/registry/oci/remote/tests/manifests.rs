//! Manifests of images and of signatures.

use super::*;
use portreeve_test_support::cosign::{Artifact, Key, Layer, Payload};

const DOCKER_LIST: &str = media_type::DOCKER_LIST;
const DOCKER_MANIFEST: &str = media_type::DOCKER_MANIFEST;

#[test]
fn scheme_row_001_a_tag_is_resolved_once_and_its_bytes_are_hashed() {
    let bench = Bench::new();
    let pushed = bench.registry.push_image(NAME, "v1", "one");
    let FetchedImage { image, bytes } = bench.image(Wanted::Tag("v1")).unwrap();
    assert_eq!((image.digest, image.media_type.as_str()), (digest(&pushed), media_types::MANIFEST));
    assert_eq!((image.size, &bytes), (bytes.len() as u64, &pushed.manifest));
    assert_eq!(bench.registry.round_trips(), ["GET manifests/v1"]);
    let accept = bench.registry.requests()[0].accept.clone().unwrap();
    for media_type in [media_types::INDEX, media_types::MANIFEST, DOCKER_LIST, DOCKER_MANIFEST] {
        assert!(accept.contains(media_type), "{accept}");
    }
    let index = bench.registry.push_index(NAME, "all", &[(&pushed, "amd64")]);
    let fetched = bench.image(Wanted::Digest(digest(&index))).unwrap();
    assert_eq!((fetched.image.digest, fetched.image.media_type.as_str()), (digest(&index), media_types::INDEX));
}

#[test]
fn scheme_row_002_other_bytes_than_those_of_the_digest() {
    let bench = Bench::new();
    let asked = bench.registry.push_image(NAME, "v1", "one");
    let other = bench.registry.push_image(NAME, "v2", "two");
    // The header claims the right digest.
    bench.registry.change(&asked.digest(), Change::Bytes(other.manifest.clone()));
    let (kind, message) = told(bench.image(Wanted::Digest(digest(&asked))));
    assert_eq!(kind, "digest-mismatch", "{message}");
    for words in [&bench.registry.url(), NAME, &asked.digest(), &other.digest()] {
        assert!(message.contains(words), "{words}: {message}");
    }
    bench.registry.behave();
    bench.registry.change(&asked.digest(), Change::Header("Docker-Content-Digest", other.digest()));
    assert_told(bench.image(Wanted::Digest(digest(&asked))), "digest-mismatch", "Docker-Content-Digest");
}

#[test]
fn scheme_row_003_the_digest_header_may_be_missing() {
    let bench = Bench::new();
    let pushed = bench.registry.push_image(NAME, "v1", "one");
    bench.registry.change("", Change::NoHeader("Docker-Content-Digest"));
    assert_eq!(bench.image(Wanted::Tag("v1")).unwrap().image.digest, digest(&pushed));
    assert_eq!(bench.image(Wanted::Digest(digest(&pushed))).unwrap().image.digest, digest(&pushed));
}

#[test]
fn scheme_row_004_the_digest_header_contradicts_the_bytes_of_a_tag() {
    let bench = Bench::new();
    bench.registry.push_image(NAME, "v1", "one");
    for claimed in [
        Pushed::named("other").digest(),
        format!("sha512:{}", "0".repeat(128)),
        String::new(),
        "sha256:".to_owned(),
        "\u{e4}".to_owned(),
    ] {
        bench.registry.behave();
        bench.registry.change("", Change::Header("Docker-Content-Digest", claimed));
        assert_told(bench.image(Wanted::Tag("v1")), "digest-mismatch", "");
    }
}

#[test]
fn scheme_row_005_the_media_type_of_the_header_and_of_the_body_differ() {
    let bench = Bench::new();
    let pushed = bench.registry.push_image(NAME, "v1", "one");
    for other in [media_types::INDEX, DOCKER_MANIFEST, "application/json", "text/plain"] {
        bench.registry.behave();
        bench.registry.change("", Change::Header("Content-Type", other.to_owned()));
        for wanted in [Wanted::Tag("v1"), Wanted::Digest(digest(&pushed))] {
            let (kind, message) = told(bench.image(wanted));
            assert_eq!(kind, "bad-manifest", "{other}: {message}");
        }
    }
    bench.registry.behave();
    let with_parameter = format!("{}; charset=utf-8", media_types::MANIFEST);
    bench.registry.change("", Change::Header("Content-Type", with_parameter));
    bench.image(Wanted::Tag("v1")).unwrap();
}

#[test]
fn scheme_row_006_a_manifest_that_is_an_image_and_an_index() {
    let bench = Bench::new();
    let both =
        json!({"schemaVersion": 2, "mediaType": media_types::MANIFEST, "config": {}, "layers": [], "manifests": []});
    let both = both.to_string();
    for media_type in [media_types::MANIFEST, media_types::INDEX] {
        let digest = bench.registry.push_manifest(NAME, media_type, both.clone());
        bench.registry.tag(NAME, "v1", &digest);
        assert_told(bench.image(Wanted::Tag("v1")), "bad-manifest", "");
    }
}

#[test]
fn scheme_row_007_dockers_manifests_and_lists_are_images() {
    let bench = Bench::new();
    for (media_type, rest) in
        [(DOCKER_MANIFEST, json!({"config": {}, "layers": []})), (DOCKER_LIST, json!({"manifests": []}))]
    {
        let mut manifest = json!({"schemaVersion": 2, "mediaType": media_type});
        manifest.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let digest = bench.registry.push_manifest(NAME, media_type, manifest.to_string());
        bench.registry.tag(NAME, "v1", &digest);
        let fetched = bench.image(Wanted::Tag("v1"));
        assert_eq!(fetched.unwrap().image.media_type, media_type);
    }
}

#[test]
fn scheme_row_008_schema_1_is_refused() {
    let bench = Bench::new();
    let old = json!({"schemaVersion": 1, "name": NAME, "tag": "v1", "fsLayers": [], "history": []}).to_string();
    for media_type in [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        media_types::MANIFEST,
    ] {
        let digest = bench.registry.push_manifest(NAME, media_type, old.clone());
        bench.registry.tag(NAME, "v1", &digest);
        assert_told(bench.image(Wanted::Tag("v1")), "bad-manifest", "");
    }
}

#[test]
fn signatures_are_read_by_tag_and_by_digest() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    let artifact = Artifact::layers(&[Layer::new(Payload::new(&image).bytes(), &Key::p256())]);
    bench.registry.attach_tag(NAME, &image, &artifact);
    let tag = image.tag(".sig");
    let by_tag = bench.signatures(Wanted::Tag(&tag)).unwrap();
    assert_eq!((&by_tag.bytes, by_tag.manifest.layers.len()), (&artifact.manifest, 1));
    let by_digest = bench.signatures(Wanted::Digest(by_tag.manifest.digest)).unwrap();
    assert_eq!(by_digest.bytes, by_tag.bytes);
    bench.registry.untag(NAME, &tag);
    assert_told(bench.signatures(Wanted::Tag(&tag)), "not found", &tag);
}

#[test]
fn scheme_row_054_signatures_are_never_an_index() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    let index = bench.registry.push_index(NAME, "all", &[(&image, "amd64")]);
    let tag = image.tag(".sig");
    bench.registry.tag(NAME, &tag, &index.digest());
    assert_told(bench.signatures(Wanted::Tag(&tag)), "bad-manifest", "");
}

#[test]
fn what_is_not_there_is_told_with_registry_and_repository() {
    let bench = Bench::new();
    assert_told(bench.image(Wanted::Tag("v1")), "not found", "(404 NAME_UNKNOWN)");
    bench.registry.push_image(NAME, "v1", "one");
    let (kind, message) = told(bench.image(Wanted::Tag("v2")));
    let expected = format!(
        "the registry {} does not have the manifest v2 of plant/plc (404 MANIFEST_UNKNOWN)",
        bench.registry.url()
    );
    assert_eq!((kind, message), ("not found", expected));
}

/// Only a registry says that there is nothing. "Not signed" must not follow from the page of an ingress.
#[test]
fn a_foreign_404_is_no_answer() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    let tag = image.tag(".sig");
    for page in ["<html>404 Not Found</html>", "", "{}", "404 page not found"] {
        bench.registry.behave();
        bench.registry.misbehave("", Fault::Page(404, page));
        assert_told(bench.image(Wanted::Tag("v1")), "unavailable", "which is not how a registry says");
        assert_told(bench.signatures(Wanted::Tag(&tag)), "unavailable", "which is not how a registry says");
        let list = bench.ask(|repository| repository.tagged_referrers(digest(&image), MAX_REFERRERS));
        assert_told(list, "unavailable", "which is not how a registry says");
        // After an image of the registry it is the registry's answer, through a proxy that has error pages of its own.
        bench.registry.behave();
        bench.registry.misbehave(".sig", Fault::Page(404, page));
        let after = bench.ask(|repository| {
            repository.image(Wanted::Tag("v1"), MAX_MANIFEST).unwrap();
            repository.signatures(Wanted::Tag(&tag), MAX_SIGNATURE_MANIFEST)
        });
        assert_told(after, "not found", &tag);
    }
    bench.registry.behave();
    bench.registry.change("", Change::Header("Docker-Distribution-Api-Version", "registry/2.0".to_owned()));
    bench.registry.change("", Change::Bytes(Vec::new()));
    assert_told(bench.image(Wanted::Tag("v2")), "not found", "(404)");
}

#[test]
fn what_no_registry_says_is_unavailable() {
    let bench = Bench::new();
    bench.registry.push_image(NAME, "v1", "one");
    for (fault, words) in [
        (Fault::Html, "answered a web page"),
        (Fault::Status(500), "answered 500 MADE_UP, when asked for the manifest v1 of plant/plc"),
        (Fault::Status(503), "503"),
        (Fault::Status(400), "400"),
        (Fault::Status(429), "429 MADE_UP (it limits how often it is asked"),
        (Fault::Status(418), "418"),
        (Fault::Reset, "closed the connection"),
        (Fault::ShortBody, "closed the connection"),
        (Fault::ShortChunks, ""),
        (Fault::NoLength, "without a length"),
        (Fault::Gzip, "compressed"),
    ] {
        bench.registry.behave();
        bench.registry.misbehave("/manifests/", fault);
        let (kind, message) = told(bench.image(Wanted::Tag("v1")));
        assert!(kind == "unavailable" && message.contains(words), "{fault:?}: {kind}: {message}");
        assert!(message.starts_with(&format!("the registry {}", bench.registry.url())), "{message}");
    }
}

#[test]
fn scheme_row_025_a_redirected_manifest_is_not_followed() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    bench.storage.push_image(NAME, "v1", "one");
    for status in [301, 302, 303, 307, 308] {
        bench.registry.behave();
        bench.registry.change("", Change::Redirect(status, format!("{}{{}}?Signature=hidden", bench.storage.url())));
        for wanted in [Wanted::Tag("v1"), Wanted::Digest(digest(&image))] {
            let (kind, message) = told(bench.image(wanted));
            let redirect = format!("{status}, a redirect to \"{}/v2/{NAME}/manifests/", bench.storage.url());
            assert!(kind == "unavailable" && message.contains(&redirect) && !message.contains("hidden"), "{message}");
            assert!(message.contains("name it in registries.endpoints"), "{message}");
        }
        let (kind, _) = told(bench.signatures(Wanted::Tag("v1")));
        assert_eq!(kind, "unavailable");
    }
    assert_eq!(bench.storage.connections(), 0);
}

#[test]
fn scheme_row_027_a_digest_of_another_algorithm_is_refused() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    let other = Artifact::layers(&[]).edit(|manifest| {
        manifest["layers"] = json!([{"mediaType": "x/y", "size": 1, "digest": format!("sha512:{}", "0".repeat(128))}]);
    });
    bench.registry.attach_tag(NAME, &image, &other);
    assert_told(bench.signatures(Wanted::Tag(&image.tag(".sig"))), "bad-manifest", "sha512");
}
