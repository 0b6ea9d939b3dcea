//! Lists of referrers: the referrers API, its pages, and the list under a tag.

use super::*;
use portreeve_test_support::cosign::Artifact;

/// Attaches this many bundles that differ from each other.
fn attach(bench: &Bench, image: &Pushed, count: usize) -> Vec<Artifact> {
    let artifacts: Vec<_> = (0..count).map(|n| Artifact::bundle(image, format!("bundle {n}").into_bytes())).collect();
    for artifact in &artifacts {
        bench.registry.attach(NAME, image, artifact);
    }
    artifacts
}

fn digests(list: &[Descriptor]) -> Vec<String> {
    list.iter().map(|descriptor| descriptor.digest.to_string()).collect()
}

#[test]
fn scheme_row_011_an_empty_list_is_an_answer() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    assert_eq!(bench.referrers(digest(&image)).unwrap(), Some(Vec::new()));
    let list = bench.ask(|repository| repository.tagged_referrers(digest(&image), MAX_REFERRERS));
    assert_eq!(list.unwrap(), Vec::new());
}

#[test]
fn scheme_row_012_registries_without_the_api_have_a_list_under_a_tag() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    let bundle = Artifact::bundle(&image, b"bundle".to_vec());
    bench.registry.attach_fallback(NAME, &image, std::slice::from_ref(&bundle));
    let absent = [404, 400, 405, 406, 303].map(Referrers::Absent).into_iter();
    let others = ["text/html", "application/json", media_types::MANIFEST, ""].map(Referrers::ContentType);
    for how in absent.chain(others) {
        bench.registry.serve_referrers(how.clone());
        assert_eq!(bench.referrers(digest(&image)).unwrap(), None, "{how:?}");
    }
    let list = bench.ask(|repository| repository.tagged_referrers(digest(&image), MAX_REFERRERS)).unwrap();
    assert_eq!(digests(&list), [bundle.digest()]);
}

#[test]
fn scheme_row_014_a_refused_list_is_unavailable() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    bench.registry.require(Gate::Bearer(TokenService { anonymous: true, ..TokenService::of("alice", "secret") }));
    for fault in [Fault::Unauthorized, Fault::Status(401), Fault::Status(403)] {
        bench.registry.behave();
        bench.registry.misbehave("/referrers/", fault);
        let referrers = bench.ask_with(&[credential("alice", "secret")], Duration::from_secs(20), |repository| {
            repository.image(Wanted::Tag("v1"), MAX_MANIFEST).unwrap();
            repository.referrers(digest(&image), MAX_REFERRERS)
        });
        let (kind, message) = told(referrers);
        assert!(kind == "unavailable" && !message.contains("s3cret"), "{fault:?}: {kind}: {message}");
    }
}

#[test]
fn scheme_row_015_a_registry_that_fails_is_unavailable_and_not_without_signatures() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    bench.registry.attach_fallback(NAME, &image, &[]);
    for fault in [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(429),
        Fault::Status(301),
        Fault::Status(307),
        Fault::Reset,
        Fault::ShortBody,
        Fault::NoLength,
        Fault::Stall,
    ] {
        bench.registry.behave();
        bench.registry.misbehave("/referrers/", fault);
        bench.registry.misbehave("/manifests/sha256-", fault);
        let wait = Duration::from_millis(if fault == Fault::Stall { 300 } else { 20_000 });
        let list = bench.ask_with(&[], wait, |repository| repository.referrers(digest(&image), MAX_REFERRERS));
        assert_told(list, "unavailable", &bench.registry.url());
        let list = bench.ask_with(&[], wait, |repository| repository.tagged_referrers(digest(&image), MAX_REFERRERS));
        assert_told(list, "unavailable", &bench.registry.url());
    }
    bench.registry.go_away();
    assert_told(bench.referrers(digest(&image)), "unavailable", "refused");
}

#[test]
fn scheme_row_016_pages_are_followed() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    let attached: Vec<_> = attach(&bench, &image, 7).iter().map(Artifact::digest).collect();
    for (size, pages) in [(7, 1), (4, 2), (2, 4)] {
        bench.registry.page_referrers(size);
        bench.registry.forget_requests();
        assert_eq!(digests(&bench.referrers(digest(&image)).unwrap().unwrap()), attached);
        assert_eq!(bench.registry.count("/referrers/"), pages);
    }
    bench.registry.page_referrers(1);
    bench.registry.forget_requests();
    assert_told(bench.referrers(digest(&image)), "too-many-signatures", "more than 4 pages");
    assert_eq!(bench.registry.count("/referrers/"), 4);
}

#[test]
fn all_pages_together_have_one_cap() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    attach(&bench, &image, 4);
    bench.registry.page_referrers(2);
    let list = |cap: usize| bench.ask(|repository| repository.referrers(digest(&image), cap));
    let all = bench.registry.exchanges().len();
    list(MAX_REFERRERS).unwrap();
    assert_eq!(bench.registry.exchanges().len(), all + 2);
    let one_page = 1500;
    assert_told(list(one_page), "too large", "the list of referrers of sha256:");
}

#[test]
fn scheme_row_017_the_next_page_is_at_the_same_path_of_the_same_registry() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    attach(&bench, &image, 1);
    let path = format!("/v2/{NAME}/referrers/{}", image.digest());
    let (url, elsewhere) = (bench.registry.url(), bench.storage.url());
    let plain = url.replace("https://", "http://");
    let link = |target: &str| {
        bench.registry.behave();
        bench.registry.change("/referrers/", Change::Header("Link", format!("<{target}>; rel=\"next\"")));
        bench.referrers(digest(&image))
    };
    for target in [
        format!("{elsewhere}{path}?from=1"),
        format!("{plain}{path}?from=1"),
        format!("//{}{path}?from=1", bench.storage.host()),
        format!("https://u@{}{path}?from=1", bench.registry.host()),
        format!("/v2/other/referrers/{}?from=1", image.digest()),
        format!("/v2/{NAME}/manifests/v1?from=1"),
        format!("/v2/{NAME}/referrers/{}?from=1", Pushed::named("other").digest()),
        path.clone(),
        "x?from=1".to_owned(),
        String::new(),
    ] {
        assert_told(link(&target), "bad-manifest", "which is not followed");
    }
    assert_eq!(bench.storage.connections(), 0);
    // The page that never ends is left after the fourth.
    for target in [
        format!("{url}{path}?from=0"),
        format!("{path}?from=0"),
        format!("{}?from=0", path.replace(':', "%3A")),
        "?from=0".to_owned(),
    ] {
        assert_told(link(&target), "too-many-signatures", "more than 4 pages");
    }
    bench.registry.behave();
    bench.registry.change("/referrers/", Change::Header("Link", "nonsense".to_owned()));
    assert_told(bench.referrers(digest(&image)), "bad-manifest", "cannot be read");
}

#[test]
fn a_page_that_fails_is_not_the_end_of_the_list() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    attach(&bench, &image, 4);
    bench.registry.page_referrers(2);
    bench.registry.misbehave("/referrers/", Fault::FailAfter(1));
    assert_told(bench.referrers(digest(&image)), "unavailable", "500");
}

#[test]
fn scheme_row_020_three_hundred_referrers_are_one_list() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    let attached = attach(&bench, &image, 301);
    assert_eq!(bench.referrers(digest(&image)).unwrap().unwrap().len(), attached.len());
}

#[test]
fn a_list_that_is_none_is_rejected() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    for body in ["{}", "[]", "{\"manifests\":7}", "{\"manifests\":[],\"manifests\":[]}", "<html>"] {
        bench.registry.behave();
        bench.registry.change("/referrers/", Change::Bytes(body.into()));
        let (kind, message) = told(bench.referrers(digest(&image)));
        assert!(kind == "bad-manifest" || body == "{}", "{body}: {kind}: {message}");
    }
    // Under the tag of the list is an image.
    let other = bench.registry.push_image(NAME, "v2", "two");
    bench.registry.tag(NAME, &image.tag(""), &other.digest());
    let list = bench.ask(|repository| repository.tagged_referrers(digest(&image), MAX_REFERRERS));
    assert_told(list, "bad-manifest", &image.tag(""));
    // A list whose headers contradict it.
    bench.registry.attach_fallback(NAME, &image, &[]);
    for (header, value, kind) in [
        ("Docker-Content-Digest", other.digest(), "digest-mismatch"),
        ("Content-Type", media_types::MANIFEST.to_owned(), "bad-manifest"),
    ] {
        bench.registry.behave();
        bench.registry.change("/manifests/", Change::Header(header, value));
        let list = bench.ask(|repository| repository.tagged_referrers(digest(&image), MAX_REFERRERS));
        assert_told(list, kind, &image.tag(""));
    }
}
