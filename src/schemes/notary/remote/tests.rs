//! The meaning of a Notary server's responses, from a real server on a loopback port.

use std::sync::Arc;
use std::time::Duration;

use portreeve_test_support::trust_server::{Fault, TrustServer};

use super::*;
use crate::base::context::Deadline;
use crate::base::files::scratch::Scratch;
use crate::http::client::Http;
use crate::http::origin::Limits;
use crate::http::proxy::Proxies;
use crate::http::url::PlainHttp;
use crate::keychain::credentials::Credentials;
use crate::metrics::Metrics;
use crate::registry::client::Client;
use crate::registry::session::Scope;

const GUN: &str = "registry.local:9001/plant/plc";

struct Bench {
    server: TrustServer,
    client: Client,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new() -> Self {
        let server = TrustServer::start();
        server.put(GUN, "timestamp", "{}");
        let scratch = Scratch::new();
        let ca = scratch.write("ca.pem", server.ca_pem());
        let metrics = Arc::new(Metrics::new());
        let (limits, counted) = (Limits::NO_BULKHEAD, Arc::clone(&metrics));
        let http = Http::checked_every(
            Some(ca),
            PlainHttp::Refused,
            Proxies::default(),
            Duration::from_secs(60),
            limits,
            counted,
        );
        Self { server, client: Client::over(http.unwrap(), PlainHttp::Refused), metrics }
    }

    fn fetch_of(&self, gun: &str) -> Result<Vec<u8>, FetchError> {
        let url = ServerUrl::parse(&self.server.url(), PlainHttp::Refused).unwrap();
        let (gun, nobody) = (Gun::new(gun).unwrap(), Credentials::known(Vec::new()));
        let deadline = Deadline::after(Duration::from_secs(20));
        let session = Session::new(&self.client, server(&url), Scope::pull(gun.as_str()), &nobody, deadline);
        Remote::new(&url, &gun, session).fetch(&MetadataName::Timestamp, 64 << 10)
    }

    fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        self.fetch_of(GUN)
    }

    /// The words of an unavailability; anything else fails the test.
    fn words(&self) -> String {
        words(self.fetch())
    }
}

fn words(result: Result<Vec<u8>, FetchError>) -> String {
    match result {
        Err(FetchError::Unavailable(unavailable)) => unavailable.message,
        other => panic!("expected unavailable, not {other:?}"),
    }
}

#[test]
fn statuses_are_told_apart() {
    let bench = Bench::new();
    for (status, words) in
        [(500, "500 MADE_UP"), (503, "503"), (400, "400"), (429, "429"), (204, "204"), (301, "redirect"), (403, "403")]
    {
        bench.server.misbehave("", Fault::Status(status));
        let said = bench.words();
        assert!(said.contains(words), "{status}: {said}");
    }
}

#[test]
fn row_108_only_a_notary_server_says_that_there_is_no_trust_data() {
    let bench = Bench::new();
    for (body, code) in [
        ("<html><center>404 Not Found</center></html>", ""),
        ("404 page not found\n", ""),
        ("default backend - 404", ""),
        ("", ""),
        ("{}", ""),
        (r#"{"errors":[]}"#, ""),
        (r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}"#, " NAME_UNKNOWN"),
        (r#"{"errors":[{"code":"NOT_FOUND","message":"artifact METADATA_NOT_FOUND"}]}"#, " NOT_FOUND"),
        (r#"{"errors":[{"message":"METADATA_NOT_FOUND"}]}"#, ""),
        (r#"{"code":"METADATA_NOT_FOUND"}"#, ""),
    ] {
        bench.server.misbehave("", Fault::Page(404, body));
        let said = bench.words();
        let expected = format!("trust server {} answered 404{code} for timestamp.json, ", bench.server.url());
        assert!(said.starts_with(&expected) && said.contains("this is no Notary server"), "{body}: {said}");
    }
    let counted = |outcome: &str, count: usize| {
        let line = format!("portreeve_trust_requests_total{{peer=\"trust_server\",outcome=\"{outcome}\"}} {count}");
        let told = bench.metrics.render();
        assert!(told.lines().any(|found| found == line), "{line}: {told}");
    };
    counted("other_status", 10);
    counted("not_found", 0);
    // As notary-server 0.7.0 says it of a repository, a version and a path.
    for detail in ["", r#","detail":{}"#, r#","detail":null"#] {
        let body = format!(
            r#"{{"errors":[{{"code":"METADATA_NOT_FOUND","message":"You have requested metadata that does not exist."{detail}}}]}}"#
        );
        bench.server.misbehave("", Fault::Page(404, body.leak()));
        assert_eq!(bench.fetch(), Err(FetchError::NotFound));
    }
    counted("not_found", 3);
}

#[test]
fn a_redirect_is_not_followed() {
    let bench = Bench::new();
    bench.server.misbehave("", Fault::Redirect);
    let said = bench.words();
    assert!(said.contains("answered 302") && said.contains("not followed"), "{said}");
    assert_eq!(bench.server.requests().len(), 1);
}

#[test]
fn bodies_are_whole_or_nothing() {
    let bench = Bench::new();
    for fault in [Fault::ShortBody, Fault::ShortChunks, Fault::NoLength, Fault::Html, Fault::Gzip, Fault::Reset] {
        bench.server.misbehave("", fault);
        let said = bench.words();
        assert!(said.contains(&bench.server.url()), "{fault:?}: {said}");
    }
}

#[test]
fn the_number_401_in_a_name_means_nothing() {
    let bench = Bench::new();
    bench.server.put("registry.local/401/unauthorized", "timestamp", "{}");
    let fetch = || bench.fetch_of("registry.local/401/unauthorized");
    assert_eq!(fetch().unwrap(), b"{}");
    bench.server.misbehave("401", Fault::Status(500));
    let said = words(fetch());
    assert!(said.contains("answered 500"), "{said}");
}
