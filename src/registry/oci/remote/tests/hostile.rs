//! Registries that stall, flood and never end: each request ends by its deadline, and reads no more than its cap.

use std::sync::Arc;

use super::*;
use crate::http::client::Http;
use crate::http::origin::{Limits, Times};
use crate::metrics::Metrics;
use portreeve_test_support::cosign::Artifact;

type Ask = fn(&dyn Repository, Sha256) -> Result<(), FetchError>;

const ASKS: [(&str, Ask); 5] = [
    ("/manifests/v1", |repository, _| repository.image(Wanted::Tag("v1"), MAX_MANIFEST).map(drop)),
    ("/manifests/sha256:", |repository, image| repository.image(Wanted::Digest(image), MAX_MANIFEST).map(drop)),
    ("/referrers/", |repository, image| repository.referrers(image, MAX_REFERRERS).map(drop)),
    ("/manifests/sha256-", |repository, image| repository.tagged_referrers(image, MAX_REFERRERS).map(drop)),
    (".sig", |repository, image| {
        let tag = format!("sha256-{}.sig", image.hex());
        repository.signatures(Wanted::Tag(&tag), MAX_SIGNATURE_MANIFEST).map(drop)
    }),
];

#[test]
fn scheme_row_009_no_more_than_the_cap_is_read() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    for (part, ask) in ASKS {
        for fault in [Fault::Huge(100 << 20), Fault::HugeChunked(100 << 20), Fault::Huge(u64::MAX >> 1)] {
            bench.registry.behave();
            bench.registry.misbehave(part, fault);
            // Something else than a list is no list, whatever its size.
            bench.registry.change(part, Change::Header("Content-Type", media_types::INDEX.to_owned()));
            let began = Instant::now();
            assert_told(bench.ask(|repository| ask(repository, digest(&image))), "too large", "it is larger than");
            assert!(began.elapsed() < Duration::from_secs(5), "{part} {fault:?}");
        }
    }
    // The caller's own cap counts, if it is the smaller one.
    bench.registry.behave();
    let length = image.manifest.len();
    bench.ask(|repository| repository.image(Wanted::Tag("v1"), length)).unwrap();
    assert_told(
        bench.ask(|repository| repository.image(Wanted::Tag("v1"), length - 1)),
        "too large",
        "the manifest v1",
    );
    let cap = usize::MAX;
    bench.registry.misbehave("", Fault::Huge((4 << 20) + 1));
    assert_told(bench.ask(|repository| repository.image(Wanted::Tag("v1"), cap)), "too large", "4194304");
    bench.registry.misbehave("", Fault::Huge((256 << 10) + 1));
    assert_told(bench.ask(|repository| repository.signatures(Wanted::Tag("v1"), cap)), "too large", "262144");
}

#[test]
fn scheme_row_015_nothing_outlives_the_deadline() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    bench.registry.attach_fallback(NAME, &image, &[]);
    bench.registry.attach_tag(NAME, &image, &Artifact::layers(&[]));
    let wait = Duration::from_millis(600);
    for (part, ask) in ASKS {
        for fault in [Fault::Stall, Fault::Drip, Fault::DripHead] {
            bench.registry.behave();
            bench.registry.misbehave(part, fault);
            let began = Instant::now();
            let result = bench.ask_with(&[], wait, |repository| ask(repository, digest(&image)));
            let Err(FetchError::Unavailable(unavailable)) = result else { panic!("{part} {fault:?}: {result:?}") };
            assert_eq!(unavailable.cause, UnavailableCause::OutOfTime, "{}", unavailable.message);
            assert!(began.elapsed() < wait + Duration::from_secs(2), "{part} {fault:?}");
        }
    }
}

#[test]
fn ten_thousand_referrers_are_refused_by_their_bytes() {
    let bench = Bench::new();
    let image = bench.registry.push_image(NAME, "v1", "one");
    for n in 0..10_000 {
        let other = Pushed::named(&format!("{n}"));
        let filler = "x".repeat(300);
        bench.registry.list_referrer(
            NAME,
            &image.digest(),
            json!({"mediaType": media_types::MANIFEST, "digest": other.digest(), "size": 7, "annotations": {"a": filler}}),
        );
    }
    let began = Instant::now();
    assert_told(bench.referrers(digest(&image)), "too large", "4194304");
    bench.registry.page_referrers(2_600);
    assert_told(bench.referrers(digest(&image)), "too large", "");
    assert!(began.elapsed() < Duration::from_secs(20));
}

/// The registry is probed at `/v2/`. Requests for any of its repositories fail at once while it does not answer there.
#[test]
fn scheme_row_015_a_registry_that_is_down_is_not_waited_for() {
    let bench = Bench::new();
    let ca = bench.scratch.write("ca.pem", bench.registry.ca_pem());
    let (short, long) = (Duration::from_millis(100), Duration::from_secs(60));
    let times =
        Times { half_open_after: short, probe: 2 * short, first_pause: long, longest_pause: long, ..Times::DEFAULT };
    let limits = Limits { times, ..Limits::NO_BULKHEAD };
    let metrics = Arc::new(Metrics::new());
    let plain_http = PlainHttp::Refused;
    let http = Http::checked_every(Some(ca), plain_http, Proxies::default(), short, limits, metrics).unwrap();
    let bench = Bench { client: Client::over(http, plain_http), ..bench };
    bench.registry.push_image(NAME, "v1", "one");
    bench.registry.misbehave("", Fault::Stall);
    let ask = |wait| bench.ask_with(&[], wait, |repository| repository.image(Wanted::Tag("v1"), MAX_MANIFEST));
    assert_told(ask(3 * short), "unavailable", "in time");
    let began = Instant::now();
    while !told(ask(3 * short)).1.contains("is not asked again before it responds to a probe") {
        assert!(began.elapsed() < Duration::from_secs(10), "the circuit stays closed");
    }
    assert!(bench.registry.requests().iter().any(|request| request.target == "/v2/"), "the probe");
    bench.registry.forget_requests();
    let began = Instant::now();
    assert_told(ask(long), "unavailable", "is not asked again before it responds to a probe");
    assert!(began.elapsed() < Duration::from_secs(2) && bench.registry.requests().is_empty());
}
