//! Rows 11 to 31 and 44 to 72 of SCHEMES.md, as far as the scheme decides them.

use super::*;

const PAYLOADS: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

#[test]
fn scheme_row_011_an_empty_list_and_nothing_under_the_tags_is_not_signed() {
    let bench = Bench::new();
    let message = rejected(bench.verdict(), "not-signed");
    for part in [&bench.image.digest(), &bench.registry.url(), "has no cosign signature", "cosign sign --key"] {
        assert!(message.contains(part), "{message}");
    }
    let expected = ["GET manifests/v1", "GET referrers/sha256:…"];
    assert_eq!(bench.registry.round_trips()[..2], expected);
    assert_eq!(bench.registry.round_trips().len(), 4, "both tags: {:?}", bench.registry.round_trips());
}

#[test]
fn scheme_row_012_without_the_referrers_api_the_index_under_the_tag_counts() {
    for referrers in [
        Referrers::Absent(404),
        Referrers::Absent(400),
        Referrers::Absent(405),
        Referrers::Absent(406),
        Referrers::ContentType("text/html"),
    ] {
        let bench = Bench::new();
        bench.registry.serve_referrers(referrers.clone());
        rejected(bench.verdict(), "not-signed");
        bench.registry.attach_fallback(NAME, &bench.image, &[bundle(&bench.image, &bench.alice)]);
        let verified = bench.verdict().unwrap_or_else(|refusal| panic!("{referrers:?}: {refusal:?}"));
        assert_eq!(verified.digest.sha256().to_string(), bench.image.digest());
        assert_eq!((verified.signers, verified.freshness), (vec!["alice".to_owned()], Freshness::Fetched));
    }
}

#[test]
fn scheme_row_013_an_empty_list_of_referrers_does_not_hide_what_is_under_the_tags() {
    let bench = Bench::new();
    bench.registry.serve_referrers(Referrers::Empty);
    bench.registry.attach_fallback(NAME, &bench.image, &[bundle(&bench.image, &bench.alice)]);
    bench.verdict().unwrap();
    let bench = Bench::new();
    bench.registry.serve_referrers(Referrers::Empty);
    bench.registry.attach_tag(NAME, &bench.image, &Artifact::layers(&[layer(&bench.image, "x/y", &bench.alice)]));
    bench.verdict().unwrap();
}

#[test]
fn scheme_row_014_refused_referrers_are_unavailable() {
    for status in [401, 403] {
        let bench = Bench::new();
        bench.registry.attach_tag(NAME, &bench.image, &Artifact::layers(&[layer(&bench.image, "x/y", &bench.alice)]));
        bench.registry.misbehave("/referrers/", Fault::Status(status));
        unavailable(bench.verdict());
        assert_eq!(bench.registry.count(".sig"), 0, "no step down to the old format");
    }
}

#[test]
fn scheme_row_015_silent_or_failing_referrers_are_unavailable_and_never_not_signed() {
    for fault in [Fault::Status(500), Fault::Status(503), Fault::Reset, Fault::Stall] {
        let bench = Bench::new();
        bench.registry.attach_tag(NAME, &bench.image, &Artifact::layers(&[layer(&bench.image, "x/y", &bench.alice)]));
        bench.registry.misbehave("/referrers/", fault);
        let rule = bench.rule();
        let wait = Duration::from_millis(700);
        let message = unavailable(bench.ask(&Ask { wait, ..Ask::of(":v1", &rule) }));
        assert!(message.contains(&bench.registry.url()), "{message}");
        assert_eq!(bench.registry.count(".sig"), 0, "no step down to the old format");
    }
    let bench = Bench::new();
    bench.registry.go_away();
    unavailable(bench.verdict());
}

#[test]
fn scheme_row_016_a_second_page_of_referrers_counts() {
    let bench = Bench::new();
    bench.registry.page_referrers(2);
    for key in [Key::p256(), Key::p256(), Key::p256()] {
        bench.attach(&bench.image, &key);
    }
    bench.attach(&bench.image, &bench.alice);
    bench.verdict().unwrap();
    assert_eq!(bench.registry.count("/referrers/"), 2);
}

#[test]
fn scheme_row_017_a_page_on_another_host_is_refused() {
    let bench = Bench::signed(&Options { refresh_after: Duration::ZERO, ..Options::default() });
    let link = "<https://elsewhere.example/v2/plant/plc/referrers/x?n=2>; rel=\"next\"".to_owned();
    bench.registry.change("/referrers/", Change::Header("Link", link));
    let message = rejected(bench.verdict(), "bad-manifest");
    assert!(message.contains("elsewhere.example"), "{message}");
}

#[test]
fn scheme_row_018_the_manifest_decides_and_not_the_lists_artifact_type() {
    let bench = Bench::new();
    let artifact = bundle(&bench.image, &bench.alice);
    let mut referrer = artifact.referrer();
    referrer["artifactType"] = "application/vnd.oci.empty.v1+json".into();
    bench.registry.push_artifact(NAME, &artifact);
    bench.registry.list_referrer(NAME, &bench.image.digest(), referrer);
    bench.verdict().unwrap();
}

#[test]
fn scheme_row_019_a_listed_manifest_about_another_image_is_passed_over() {
    let bench = Bench::new();
    let other = bench.registry.push_image(NAME, "v2", "two");
    // It is signed for the first image, but its manifest is about the second one, or about none.
    let statement = Statement::new(&bench.image).bytes();
    let stray = Artifact::bundle(&other, Bundle::dsse(&statement, &bench.alice).bytes());
    bench.registry.attach(NAME, &bench.image, &stray);
    let message = rejected(bench.verdict(), "signature");
    assert!(message.contains(&stray.digest()) && message.contains(&other.digest()), "{message}");
    let homeless = bundle(&bench.image, &bench.alice).edit(|manifest| {
        manifest.as_object_mut().unwrap().remove("subject");
    });
    bench.registry.attach(NAME, &bench.image, &homeless);
    rejected(bench.verdict(), "signature");
    bench.attach(&bench.image, &bench.alice);
    let mut trace = Trace::default();
    bench.trace(&Ask::of(":v1", &bench.rule()), &mut trace).unwrap();
    let passed_over = trace.findings.iter().filter(|finding| finding.passed_over.is_some()).count();
    assert_eq!((trace.findings.len(), passed_over), (3, 2), "{:?}", trace.findings);
}

#[test]
fn scheme_row_020_three_hundred_foreign_referrers_do_not_hide_a_signature() {
    let bench = Bench::new();
    for number in 0..300 {
        let hex = format!("{number:064x}");
        let sbom = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{hex}"), "size": 700,
            "artifactType": "application/spdx+json", "annotations": { "org.opencontainers.image.title": "x".repeat(200) },
        });
        bench.registry.list_referrer(NAME, &bench.image.digest(), sbom);
    }
    let message = rejected(bench.verdict(), "not-signed");
    assert!(message.contains("300 referrers of other kinds"), "{message}");
    bench.attach(&bench.image, &bench.alice);
    bench.verdict().unwrap();
    assert_eq!(bench.registry.count("/blobs/"), 1);
}

#[test]
fn scheme_row_021_more_than_32_candidates_are_too_many() {
    let bench = Bench::new();
    for _ in 0..32 {
        bench.attach(&bench.image, &bench.bob);
    }
    rejected(bench.verdict(), "signature");
    bench.attach(&bench.image, &bench.alice);
    let message = rejected(bench.verdict(), "too-many-signatures");
    assert!(message.contains("more than 32 signatures"), "{message}");
    // Both formats are counted together.
    let bench = Bench::new();
    for _ in 0..31 {
        bench.attach(&bench.image, &bench.bob);
    }
    let layers = [&bench.bob, &bench.alice].map(|key| layer(&bench.image, "x/y", key));
    bench.registry.attach_tag(NAME, &bench.image, &Artifact::layers(&layers));
    rejected(bench.verdict(), "too-many-signatures");
}

#[test]
fn scheme_row_022_a_candidate_that_is_gone_or_damaged_is_passed_over_and_told() {
    for change in [None, Some(Change::Replace(b'a', b'b'))] {
        let bench = Bench::new();
        let bad = bench.attach(&bench.image, &bench.bob);
        bench.attach(&bench.image, &bench.alice);
        let blob = portreeve_test_support::cosign::digest(&bad.blobs[0]);
        match change {
            None => bench.registry.remove(NAME, &blob),
            Some(change) => bench.registry.change(&blob, change),
        }
        let mut trace = Trace::default();
        let verified = bench.trace(&Ask::of(":v1", &bench.rule()), &mut trace).unwrap();
        assert_eq!(verified.signers, ["alice"]);
        let passed_over: Vec<_> = trace.findings.iter().filter_map(|finding| finding.passed_over.as_ref()).collect();
        assert!(matches!(passed_over[..], [why] if why.contains(&blob)), "{:?}", trace.findings);
    }
}

#[test]
fn scheme_row_023_a_candidate_that_cannot_be_fetched_may_be_the_good_one() {
    let bench = Bench::signed(&Options { refresh_after: Duration::ZERO, ..Options::default() });
    bench.registry.misbehave("/blobs/", Fault::Status(500));
    let message = unavailable(bench.verdict());
    assert!(message.contains("500") && message.contains("could not be fetched"), "{message}");
    bench.registry.behave();
    // Where another one is enough, it does not matter.
    let other = bench.attach(&bench.image, &bench.bob);
    bench.registry.misbehave(&portreeve_test_support::cosign::digest(&other.blobs[0]), Fault::Status(500));
    bench.verdict().unwrap();
}

#[test]
fn scheme_row_024_a_blob_is_followed_to_its_storage_without_credentials() {
    let storage = Registry::start();
    let mut bench = Bench::new();
    bench.scratch.write("ca.pem", format!("{}{}", bench.registry.ca_pem(), storage.ca_pem()));
    bench.restart(&Options::default());
    bench.registry.require(SignIn::Bearer(TokenService::of("alice", "secret")));
    let password = Secret::new("secret");
    let credentials = [Credential { username: "alice".to_owned(), password, source: "a file".to_owned() }];
    let signature = bench.attach(&bench.image, &bench.alice);
    storage.push_blob(NAME, signature.blobs[0].clone());
    bench.registry.change("/blobs/", Change::Redirect(307, format!("{}{{}}", storage.url())));
    bench.ask(&Ask { credentials: &credentials, ..Ask::of(":v1", &bench.rule()) }).unwrap();
    let asked = storage.requests();
    assert!(asked.len() == 1 && asked[0].authorization.is_none(), "{asked:?}");
}

#[test]
fn scheme_row_025_a_manifest_is_not_followed_to_another_place() {
    let elsewhere = Registry::start();
    let mut bench = Bench::signed(&Options::default());
    bench.scratch.write("ca.pem", format!("{}{}", bench.registry.ca_pem(), elsewhere.ca_pem()));
    bench.restart(&Options::default());
    // All of it is there as well.
    elsewhere.push(NAME, "v1", &bench.image);
    elsewhere.attach(NAME, &bench.image, &bundle(&bench.image, &bench.alice));
    for part in ["/manifests/", "/referrers/"] {
        bench.registry.change(part, Change::Redirect(307, format!("{}{{}}", elsewhere.url())));
        unavailable(bench.verdict());
        bench.registry.behave();
    }
    assert_eq!(elsewhere.connections(), 0);
    bench.verdict().unwrap();
}

#[test]
fn scheme_row_027_an_image_by_sha512_cannot_be_verified() {
    let bench = Bench::signed(&Options::default());
    let message =
        rejected(bench.ask(&Ask::of(&format!("@sha512:{}", "ab".repeat(64)), &bench.rule())), "digest-not-signed");
    assert!(message.contains("sha256"), "{message}");
    assert!(bench.registry.requests().is_empty());
}

#[test]
fn scheme_row_044_the_signed_repository_may_be_another_one() {
    let bench = Bench::new();
    let signed = Artifact::layers(&[layer(&bench.image, "registry.example/other/plc", &bench.alice)]);
    bench.registry.attach_tag(NAME, &bench.image, &signed);
    bench.verdict().unwrap();
}

#[test]
fn scheme_row_138_a_copy_from_another_repository_is_refused_where_the_policy_says_same_repository() {
    let bench = Bench::new();
    let copied = Artifact::layers(&[layer(&bench.image, "registry.example/other/plc", &bench.alice)]);
    bench.registry.attach_tag(NAME, &bench.image, &copied);
    bench.verdict().unwrap();
    let same = Rule { same_repository: true, ..bench.rule() };
    let message = rejected(bench.ask(&Ask::of(":v1", &same)), "signature");
    assert!(message.contains("registry.example/other/plc") && message.contains(&bench.name()), "{message}");
    // A bundle does not say for which repository it is.
    bench.attach(&bench.image, &bench.alice);
    rejected(bench.ask(&Ask::of(":v1", &same)), "signature");
    let own = Artifact::layers(&[layer(&bench.image, &bench.name(), &bench.alice)]);
    bench.registry.attach_tag(NAME, &bench.image, &own);
    bench.ask(&Ask::of(":v1", &same)).unwrap();
}

#[test]
fn scheme_row_048_two_keys_are_both_required_and_one_key_twice_is_one() {
    let bench = Bench::new();
    let foreign: Vec<Key> = (0..5).map(|_| Key::p256()).collect();
    let mut layers: Vec<Layer> = foreign.iter().map(|key| layer(&bench.image, "x/y", key)).collect();
    let mut odd = layer(&bench.image, "x/y", &bench.alice);
    odd.media_type = "application/octet-stream".to_owned();
    bench.registry.attach_tag(NAME, &bench.image, &Artifact::layers(&[odd]));
    rejected(bench.verdict(), "not-signed");
    layers.push(layer(&bench.image, "x/y", &bench.alice));
    layers.push(layer(&bench.image, "x/y", &bench.alice));
    bench.registry.attach_tag(NAME, &bench.image, &Artifact::layers(&layers));
    bench.verdict().unwrap();
    let both = rule_of(&[("alice", &bench.alice), ("bob", &bench.bob)]);
    let message = rejected(bench.ask(&Ask::of(":v1", &both)), "signature");
    assert!(message.contains("bob"), "{message}");
    layers.push(layer(&bench.image, "x/y", &bench.bob));
    bench.registry.attach_tag(NAME, &bench.image, &Artifact::layers(&layers));
    assert_eq!(bench.ask(&Ask::of(":v1", &both)).unwrap().signers, ["alice", "bob"]);
}

#[test]
fn scheme_row_049_one_layer_33_times_is_too_many() {
    let bench = Bench::new();
    let one = layer(&bench.image, "x/y", &bench.alice);
    bench.registry.attach_tag(NAME, &bench.image, &Artifact::layers(&vec![one.clone(); 33]));
    rejected(bench.verdict(), "too-many-signatures");
    bench.registry.attach_tag(NAME, &bench.image, &Artifact::layers(&vec![one; 32]));
    bench.registry.forget_requests();
    bench.verdict().unwrap();
    assert_eq!(bench.registry.count("/blobs/"), 1, "one payload, fetched once");
}

#[test]
fn scheme_row_054_a_signature_tag_with_an_index_or_a_huge_layer_is_refused_unread() {
    let bench = Bench::new();
    let index = bench.registry.push_index(NAME, "index", &[(&bench.image, "amd64")]);
    bench.registry.tag(NAME, &bench.image.tag(".sig"), &index.digest());
    let message = rejected(bench.verdict(), "signature");
    assert!(message.contains(".sig"), "{message}");
    let huge = Artifact::layers(&[layer(&bench.image, "x/y", &bench.alice)]).edit(|manifest| {
        manifest["layers"][0]["size"] = (1_u64 << 30).into();
    });
    assert!(String::from_utf8(huge.manifest.clone()).unwrap().contains(PAYLOADS));
    bench.registry.attach_tag(NAME, &bench.image, &huge);
    rejected(bench.verdict(), "signature");
    assert_eq!(bench.registry.count("/blobs/"), 0);
}

#[test]
fn scheme_row_055_a_signed_index_counts_for_the_index() {
    let bench = Bench::new();
    let index = bench.registry.push_index(NAME, "multi", &[(&bench.image, "arm64")]);
    bench.attach(&index, &bench.alice);
    let rule = bench.rule();
    let by_digest = format!("@{}", index.digest());
    for image in [":multi", by_digest.as_str()] {
        let verified = bench.ask(&Ask::of(image, &rule)).unwrap();
        assert_eq!(verified.digest.sha256().to_string(), index.digest());
    }
}

#[test]
fn scheme_row_056_a_signed_index_does_not_release_its_child() {
    let bench = Bench::new();
    let index = bench.registry.push_index(NAME, "multi", &[(&bench.image, "arm64")]);
    bench.attach(&index, &bench.alice);
    rejected(bench.ask(&Ask::of(&bench.by_digest(), &bench.rule())), "not-signed");
}

#[test]
fn scheme_row_059_an_attestation_alone_is_no_signature() {
    let spdx = "https://spdx.dev/Document";
    let bench = Bench::new();
    let statement = Statement::new(&bench.image).predicate_type(spdx).bytes();
    let sbom = Bundle::dsse(&statement, &bench.alice).bytes();
    bench.registry.attach(NAME, &bench.image, &Artifact::bundle_as(spdx, &bench.image, sbom.clone()));
    rejected(bench.verdict(), "not-signed");
    assert_eq!(bench.registry.count("/blobs/"), 0, "its annotation says so");
    // The same without the annotation is fetched, and passed over.
    let unmarked = Artifact::bundle(&bench.image, sbom).edit(|manifest| {
        manifest.as_object_mut().unwrap().remove("annotations");
    });
    bench.registry.attach(NAME, &bench.image, &unmarked);
    let message = rejected(bench.verdict(), "signature");
    assert!(message.contains("attestation"), "{message}");
}

#[test]
fn scheme_row_065_a_signature_over_the_manifest_counts_also_by_evidence() {
    let options = Options { cache: true, ..Options::default() };
    let mut bench = Bench::with(&options);
    let message = Bundle::message(&bench.image.manifest, &bench.alice).bytes();
    bench.registry.attach(NAME, &bench.image, &Artifact::bundle(&bench.image, message));
    bench.verdict().unwrap();
    bench.registry.go_away();
    let rule = bench.rule();
    let by_digest = bench.by_digest();
    assert_eq!(bench.ask(&Ask::of(&by_digest, &rule)).unwrap().freshness, Freshness::Cached);
    bench.restart(&options);
    assert_eq!(bench.ask(&Ask::of(&by_digest, &rule)).unwrap().freshness, Freshness::Cached);
}

#[test]
fn scheme_row_072_a_referrer_with_two_layers_is_passed_over() {
    let bench = Bench::new();
    let double = bundle(&bench.image, &bench.alice).edit(|manifest| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"].as_array_mut().unwrap().push(layer);
    });
    bench.registry.attach(NAME, &bench.image, &double);
    rejected(bench.verdict(), "signature");
    assert_eq!(bench.registry.count("/blobs/"), 0);
}
