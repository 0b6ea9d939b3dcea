//! Blobs, and where they are redirected to.

use super::*;

const BYTES: &[u8] = b"the payload of a signature";

impl Bench {
    /// The blob, after an image for which the registry has asked for a sign-in.
    fn signed_in_blob(&self, credentials: &[Credential]) -> Result<Vec<u8>, FetchError> {
        self.ask_with(credentials, Duration::from_secs(20), |repository| {
            repository.image(Wanted::Tag("v1"), MAX_MANIFEST).unwrap();
            repository.blob(&descriptor(BYTES), 64 << 10)
        })
    }
}

#[test]
fn a_blob_has_the_bytes_of_its_descriptor() {
    let bench = Bench::new();
    bench.registry.push_blob(NAME, BYTES);
    assert_eq!(bench.blob(BYTES).unwrap(), BYTES);
    assert_eq!(bench.registry.round_trips(), ["GET blobs/sha256:…"]);
}

#[test]
fn scheme_row_009_a_blob_over_the_cap_is_not_asked_for() {
    let bench = Bench::new();
    let large = vec![b'x'; (64 << 10) + 1];
    bench.registry.push_blob(NAME, large.clone());
    assert_told(bench.blob(&large), "too large", "the blob sha256:");
    let endless = Descriptor { size: u64::MAX, ..descriptor(BYTES) };
    assert_told(bench.ask(|repository| repository.blob(&endless, 64 << 10)), "too large", "the blob sha256:");
    assert_eq!(bench.registry.connections(), 0);
}

#[test]
fn scheme_row_010_a_blob_has_the_size_of_its_descriptor() {
    let bench = Bench::new();
    bench.registry.push_blob(NAME, BYTES);
    for size in [BYTES.len() as u64 - 1, BYTES.len() as u64 + 1, 0] {
        let wrong = Descriptor { size, ..descriptor(BYTES) };
        assert_told(bench.ask(|repository| repository.blob(&wrong, 64 << 10)), "bad-manifest", "bytes");
    }
    for fault in [Fault::Huge(100 << 20), Fault::HugeChunked(100 << 20)] {
        bench.registry.misbehave("/blobs/", fault);
        let began = Instant::now();
        assert_told(bench.blob(BYTES), "bad-manifest", "larger than the 26 bytes of its descriptor");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn scheme_row_022_a_blob_that_is_gone_or_has_other_bytes_is_told_apart() {
    let bench = Bench::new();
    let digest = bench.registry.push_blob(NAME, BYTES);
    bench.registry.change("/blobs/", Change::Replace(b'a', b'b'));
    assert_told(bench.blob(BYTES), "digest-mismatch", &digest);
    bench.registry.behave();
    bench.registry.remove(NAME, &digest);
    assert_told(bench.blob(BYTES), "not found", "404 BLOB_UNKNOWN");
}

#[test]
fn scheme_row_023_a_blob_that_cannot_be_fetched_is_unavailable() {
    let bench = Bench::new();
    bench.registry.push_blob(NAME, BYTES);
    for (fault, words) in [
        (Fault::Status(500), "500"),
        (Fault::Status(503), "503"),
        (Fault::Reset, "closed the connection"),
        (Fault::ShortChunks, ""),
        (Fault::Page(404, "gone"), "not how a registry says"),
    ] {
        bench.registry.behave();
        bench.registry.misbehave("/blobs/", fault);
        assert_told(bench.blob(BYTES), "unavailable", words);
    }
}

#[test]
fn scheme_row_024_a_storage_is_asked_without_credentials() {
    let alice = [credential("alice", "secret")];
    for gate in [
        Gate::Bearer(TokenService::of("alice", "secret")),
        Gate::Basic(vec![("alice".to_owned(), "secret".to_owned())]),
    ] {
        let bench = Bench::new();
        bench.registry.push_image(NAME, "v1", "one");
        bench.registry.push_blob(NAME, BYTES);
        bench.storage.push_blob(NAME, BYTES);
        bench.registry.require(gate);
        for status in [301, 302, 303, 307, 308] {
            bench.registry.behave();
            bench
                .registry
                .change("/blobs/", Change::Redirect(status, format!("{}{{}}?X-Signature=abc", bench.storage.url())));
            bench.storage.forget_requests();
            assert_eq!(bench.signed_in_blob(&alice).unwrap(), BYTES);
            let asked = bench.storage.requests();
            assert!(asked.len() == 1 && asked[0].target.ends_with("?X-Signature=abc"), "{asked:?}");
            assert_eq!(asked[0].authorization, None);
        }
        assert!(bench.registry.requests().iter().any(|request| request.authorization.is_some()));
    }
}

/// A registry may have its blobs at another path. Once the request has left the registry, a way back has no credentials.
#[test]
fn the_registry_itself_sees_its_credentials_after_a_redirect() {
    let bench = Bench::new();
    let digest = bench.registry.push_blob("blobs", BYTES);
    bench.registry.push_image(NAME, "v1", "one");
    bench.registry.require(Gate::Basic(vec![("alice".to_owned(), "secret".to_owned())]));
    let alice = [credential("alice", "secret")];
    let ask = || bench.signed_in_blob(&alice);
    let here = format!("/v2/blobs/blobs/{digest}");
    bench.registry.change(&format!("{NAME}/blobs/"), Change::Redirect(307, here.clone()));
    assert_eq!(ask().unwrap(), BYTES);
    bench.registry.behave();
    bench.registry.change(&format!("{NAME}/blobs/"), Change::Redirect(307, format!("{}/there", bench.storage.url())));
    bench.storage.change("/there", Change::Redirect(307, format!("{}{here}", bench.registry.url())));
    bench.registry.forget_requests();
    assert_told(ask(), "unavailable", "401");
    assert_eq!(bench.registry.requests().last().unwrap().authorization, None);
    assert!(bench.storage.requests().iter().all(|request| request.authorization.is_none()));
}

#[test]
fn scheme_row_025_only_three_redirects_to_https_are_followed() {
    let bench = Bench::new();
    bench.registry.push_blob(NAME, BYTES);
    bench.storage.push_blob(NAME, BYTES);
    let (storage, plain) = (bench.storage.url(), Registry::start_plain());
    plain.push_blob(NAME, BYTES);
    let to = |location: String| {
        bench.registry.behave();
        bench.registry.change(&format!("{NAME}/blobs/"), Change::Redirect(307, location));
        bench.blob(BYTES)
    };
    assert_told(to(format!("{}{{}}?Signature=hidden", plain.url())), "unavailable", "which is not followed");
    assert!(!told(to(format!("{}{{}}?Signature=hidden", plain.url()))).1.contains("hidden"));
    assert_eq!(plain.connections(), 0);
    // A loop ends.
    bench.registry.forget_requests();
    assert_told(to("{}".to_owned()), "unavailable", "more than 3 times");
    assert_eq!(bench.registry.requests().len(), 4);
    // Three are followed, a fourth is not.
    for (hops, fits) in [(2, true), (3, false)] {
        bench.storage.behave();
        for hop in 0..hops {
            let next = if hop + 1 == hops {
                format!("/v2/{NAME}/blobs/{}", Sha256::of(BYTES))
            } else {
                format!("/hop{}", hop + 1)
            };
            bench.storage.change(&format!("/hop{hop}"), Change::Redirect(302, next));
        }
        match to(format!("{storage}/hop0")) {
            Ok(bytes) => assert!(fits && bytes == BYTES, "{hops}"),
            failure => {
                assert!(!fits, "{hops}: {failure:?}");
                assert_told(failure, "unavailable", "more than 3 times");
            }
        }
    }
    bench.registry.behave();
    bench.registry.change("/blobs/", Change::Redirect(307, String::new()));
    bench.registry.change("/blobs/", Change::NoHeader("Location"));
    assert_told(bench.blob(BYTES), "unavailable", "without saying where to");
}

#[test]
fn plain_http_is_followed_where_the_registry_itself_is_plain() {
    let bench = Bench::plain();
    bench.storage.push_blob(NAME, BYTES);
    bench.registry.push_blob(NAME, BYTES);
    bench.registry.change("/blobs/", Change::Redirect(307, format!("{}{{}}", bench.storage.url())));
    assert_eq!(bench.blob(BYTES).unwrap(), BYTES);
}

#[test]
fn what_a_storage_does_wrong_is_told_with_its_name() {
    let bench = Bench::new();
    bench.registry.push_blob(NAME, BYTES);
    bench.storage.push_blob(NAME, BYTES);
    let storage = bench.storage.url();
    bench.registry.change("/blobs/", Change::Redirect(307, format!("{storage}{{}}?Signature=hidden")));
    for (fault, kind, words) in [
        (Fault::Status(500), "unavailable", format!("with a redirect to {storage}, which answered 500")),
        (Fault::Status(403), "unavailable", format!("with a redirect to {storage}, which answered 403")),
        (Fault::Unauthorized, "unavailable", format!("with a redirect to {storage}, which answered 401")),
        (Fault::Page(404, "<Error/>"), "not found", "404".to_owned()),
        (Fault::Reset, "unavailable", format!("{storage}, to which it redirects a blob: closed the connection")),
        (Fault::Html, "bad-manifest", String::new()),
        (Fault::Huge(100 << 20), "bad-manifest", "larger than the 26 bytes".to_owned()),
        (Fault::HugeChunked(100 << 20), "bad-manifest", "larger than the 26 bytes".to_owned()),
    ] {
        bench.storage.behave();
        bench.storage.misbehave("", fault);
        let (found, message) = told(bench.blob(BYTES));
        assert!(found == kind && message.contains(&words), "{fault:?}: {found}: {message}");
        assert!(message.contains(&bench.registry.url()) && !message.contains("hidden"), "{message}");
    }
}

/// A storage that is silent makes neither the registry nor its other repositories unavailable.
#[test]
fn a_silent_storage_leaves_the_registry_up() {
    let bench = Bench::new();
    bench.registry.push_image(NAME, "v1", "one");
    bench.registry.change("/blobs/", Change::Redirect(307, format!("{}{{}}", bench.storage.url())));
    bench.storage.misbehave("", Fault::Stall);
    let began = Instant::now();
    let blob =
        bench.ask_with(&[], Duration::from_millis(1500), |repository| repository.blob(&descriptor(BYTES), 64 << 10));
    let FetchError::Unavailable(unavailable) = blob.unwrap_err() else { panic!("expected unavailable") };
    assert_eq!(unavailable.cause, UnavailableCause::OutOfTime);
    assert!(unavailable.message.contains(&bench.storage.url()), "{}", unavailable.message);
    assert!(began.elapsed() < Duration::from_secs(3));
    let Place::Registry { url, .. } = bench.place() else { panic!("a registry") };
    assert!(bench.client.origin(&url).is_closed());
    bench.image(Wanted::Tag("v1")).unwrap();
}
