//! Credentials and tokens: one token for all requests, and nothing for another host.

use super::*;
use crate::http::url::form;
use std::collections::BTreeMap;

fn ask_all(repository: &dyn Repository, image: Sha256, blob: &Descriptor) {
    repository.image(Wanted::Tag("v1"), MAX_MANIFEST).unwrap();
    repository.referrers(image, MAX_REFERRERS).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| repository.blob(blob, 64 << 10).unwrap());
        }
    });
}

#[test]
fn one_token_serves_all_requests_of_an_image() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    bench.registry.push_blob(NAME, *b"x");
    bench.registry.require(Gate::Bearer(TokenService::of("alice", "secret")));
    let alice = [credential("alice", "secret")];
    let wait = Duration::from_secs(20);
    bench.ask_with(&alice, wait, |repository| ask_all(repository, digest(&image), &descriptor(b"x")));
    assert_eq!(bench.registry.count("/token"), 1);
    let scope = form(&[("scope", &format!("repository:{NAME}:pull"))]);
    assert_eq!(bench.registry.count(&scope), 1, "{:?}", bench.registry.requests());
    // 401, token, manifest, referrers, four blobs.
    assert_eq!(bench.registry.requests().len(), 8);
    // The next request begins with the token, and a token that is refused is fetched once more.
    bench.registry.forget_requests();
    bench.registry.revoke_tokens();
    bench.ask_with(&alice, wait, |repository| ask_all(repository, digest(&image), &descriptor(b"x")));
    assert_eq!((bench.registry.count("/token"), bench.registry.requests().len()), (1, 8));
}

#[test]
fn a_token_is_fetched_once_for_requests_that_begin_together() {
    let bench = Bench::new();
    bench.registry.push_image(NAME, "v1", "one");
    bench.registry.require(Gate::Bearer(TokenService::of("alice", "secret")));
    bench.registry.misbehave("/token", Fault::Delay(Duration::from_millis(300)));
    let alice = [credential("alice", "secret")];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                bench.ask_with(&alice, Duration::from_secs(20), |repository| {
                    repository.image(Wanted::Tag("v1"), MAX_MANIFEST).unwrap();
                });
            });
        }
    });
    assert_eq!(bench.registry.count("/token"), 1);
}

/// The requests that waited for a token ask for themselves, at the same time, and each until its own deadline.
#[test]
fn a_token_service_that_fails_is_asked_by_each_request() {
    let bench = Bench::new();
    bench.registry.push_image(NAME, "v1", "one");
    bench.registry.require(Gate::Bearer(TokenService::of("alice", "secret")));
    bench.registry.misbehave("/token", Fault::Stall);
    let alice = [credential("alice", "secret")];
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let image = bench.ask_with(&alice, Duration::from_millis(2500), |repository| {
                    repository.image(Wanted::Tag("v1"), MAX_MANIFEST)
                });
                assert_told(image, "unavailable", "the token service");
            });
        }
    });
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(bench.registry.count("/token") >= 4);
}

#[test]
fn a_credential_that_is_refused_is_not_tried_again_by_the_next_request() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    bench.registry.push_blob(NAME, *b"x");
    bench.registry.require(Gate::Bearer(TokenService {
        users: vec![("bob".into(), "x".into()), ("alice".into(), "secret".into())],
        powerless: vec!["bob".into()],
        ..TokenService::default()
    }));
    let both = [credential("bob", "x"), credential("alice", "secret")];
    bench.ask_with(&both, Duration::from_secs(20), |repository| {
        ask_all(repository, digest(&image), &descriptor(b"x"));
    });
    // 401, bob's token, 401, alice's token, manifest, referrers, four blobs.
    assert_eq!(bench.registry.requests().len(), 10, "{:?}", bench.registry.round_trips());
}

#[test]
fn scheme_row_026_no_credentials_go_to_a_realm_of_plain_http() {
    let bench = Bench::new();
    bench.registry.push_image(NAME, "v1", "one");
    let plain = Registry::start_plain();
    bench.registry.require(Gate::Bearer(TokenService {
        realm: Some(format!("{}/token", plain.url())),
        ..TokenService::of("alice", "secret")
    }));
    let alice = [credential("alice", "secret")];
    let image =
        bench.ask_with(&alice, Duration::from_secs(20), |repository| repository.image(Wanted::Tag("v1"), MAX_MANIFEST));
    assert_told(image, "unavailable", "plain http");
    assert_eq!(plain.connections(), 0);
}

#[test]
fn scheme_row_031_an_official_image_is_read_at_docker_hubs_endpoint() {
    let bench = Bench::new();
    let pushed = bench.registry.push_image("library/nginx", "latest", "one");
    bench.registry.require(Gate::Bearer(TokenService { anonymous: true, ..TokenService::default() }));
    let endpoints = BTreeMap::from([("docker.io".to_owned(), bench.registry.url())]);
    let registries = Registries::new(endpoints, BTreeMap::new(), PlainHttp::Refused).unwrap();
    let place = registries.image_place(&Reference::parse("nginx").unwrap());
    let (nobody, progress) = (Credentials::known(Vec::new()), Progress::default());
    let deadline = Deadline::after(Duration::from_secs(20));
    let repository = open(&bench.client, &place, &nobody, deadline, None, &progress);
    assert_eq!(repository.image(Wanted::Tag("latest"), MAX_MANIFEST).unwrap().image.digest, digest(&pushed));
    let scope = form(&[("scope", "repository:library/nginx:pull")]);
    assert_eq!(bench.registry.count(&scope), 1, "{:?}", bench.registry.requests());
}
