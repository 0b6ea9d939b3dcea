//! The client against a real TLS server on a loopback port, well-behaved and otherwise.

use std::time::{Duration, Instant};

use portreeve_test_support::certificates::Authority;
use portreeve_test_support::trust_server::{Fault, SignIn, TokenService, TrustServer as Server};

use super::*;
use crate::base::files::scratch::Scratch;
use crate::http::proxy::Proxies;

const GUN: &str = "registry.local:9001/plant/plc";
const STEM: &str = "timestamp";

struct Bench {
    server: Server,
    scratch: Scratch,
    client: Client,
}

impl Bench {
    fn new() -> Self {
        Self::of(Server::start())
    }

    fn of(server: Server) -> Self {
        server.put(GUN, STEM, "{\"signed\":1}");
        server.put(GUN, "root", "{\"signed\":2}");
        let scratch = Scratch::new();
        let ca = scratch.path().join("ca.pem");
        if !server.ca_pem().is_empty() {
            scratch.write("ca.pem", server.ca_pem());
        }
        let http = http(Some(ca), PlainHttp::Refused, Proxies::default());
        Self { server, scratch, client: Client::over(http, PlainHttp::Refused) }
    }

    fn fetch_with(&self, credentials: &[Credential], cap: usize, wait: Duration) -> Result<Vec<u8>, FetchError> {
        let server = ServerUrl::parse(&self.server.url(), PlainHttp::DangerouslyAllowed).unwrap();
        let gun = Gun::new(GUN).unwrap();
        let credentials = Candidates::known(credentials.to_vec());
        let mut source = self.client.source(&server, &gun, &credentials, Deadline::after(wait));
        source.fetch(&MetadataName::Timestamp, cap)
    }

    fn fetch(&self, credentials: &[Credential]) -> Result<Vec<u8>, FetchError> {
        self.fetch_with(credentials, 64 << 10, Duration::from_secs(20))
    }

    fn fetch_within(&self, wait: Duration) -> Result<Vec<u8>, FetchError> {
        self.fetch_with(&[], 64 << 10, wait)
    }

    /// The words of an unavailability; anything else fails the test.
    fn words(&self, credentials: &[Credential]) -> String {
        words(self.fetch(credentials))
    }
}

/// A client that looks at its CA bundle before each request.
fn http(ca: Option<PathBuf>, plain_http: PlainHttp, proxies: Proxies) -> Http {
    let metrics = Arc::new(Metrics::new());
    Http::checked_every(ca, plain_http, proxies, Duration::ZERO, Limits::NO_BULKHEAD, metrics).unwrap()
}

fn words(result: Result<Vec<u8>, FetchError>) -> String {
    match result {
        Err(FetchError::Unavailable(unavailable)) => unavailable.message,
        other => panic!("expected unavailable, not {other:?}"),
    }
}

fn credential(user: &str, password: &str) -> Credential {
    Credential { username: user.to_owned(), password: Secret::new(password), source: format!("secret of {user}") }
}

#[test]
fn fetches_over_one_connection_and_says_who_it_is() {
    let bench = Bench::new();
    assert_eq!(bench.fetch(&[]).unwrap(), b"{\"signed\":1}");
    assert_eq!(bench.fetch(&[]).unwrap(), b"{\"signed\":1}");
    assert_eq!(bench.server.connections(), 1);
    let requests = bench.server.requests();
    assert_eq!(requests[0].target, format!("/v2/{GUN}/_trust/tuf/timestamp.json"));
    assert_eq!(requests[0].user_agent.as_deref(), Some(concat!("portreeve/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(requests[0].authorization, None);
}

#[test]
fn asks_again_where_an_idle_connection_was_closed() {
    let bench = Bench::new();
    for _ in 0..5 {
        bench.fetch(&[]).unwrap();
        bench.server.drop_connections();
    }
}

/// The server may close a connection in the moment it is reused, which looks like this.
#[test]
fn asks_once_more_where_a_connection_breaks() {
    let bench = Bench::new();
    bench.server.misbehave("", Fault::Reset);
    bench.words(&[]);
    assert_eq!(bench.server.requests().len(), 2);
}

#[test]
fn an_unknown_ca_is_told() {
    let bench = Bench::new();
    let other = Bench { server: Server::start(), ..bench };
    let words = other.words(&[]);
    assert!(words.contains("certificate") && words.contains("trust.ca"), "{words}");
}

#[test]
fn a_certificate_for_another_host_is_told() {
    let authority = Authority::new();
    let (chain, key) = authority.server(&["notary.example"]);
    let bench = Bench::of(Server::start_with(&chain, &key, authority.pem()));
    let words = bench.words(&[]);
    assert!(words.contains("it is for notary.example and not for 127.0.0.1"), "{words}");
}

/// As `openssl req -x509` makes them.
#[test]
fn a_self_signed_certificate_is_accepted_from_the_bundle() {
    let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let bench = Bench::of(Server::start_with(&certificate, &key.serialize_pem(), certificate.clone()));
    bench.fetch(&[]).unwrap();
    bench.scratch.write("ca.pem", Authority::new().pem());
    bench.server.drop_connections();
    let said = bench.words(&[]);
    assert!(said.contains("certificate"), "{said}");
}

#[test]
fn a_changed_ca_bundle_counts_and_a_bad_one_does_not() {
    let bench = Bench::new();
    bench.fetch(&[]).unwrap();
    bench.scratch.write("ca.pem", "nothing in it");
    bench.server.drop_connections();
    bench.fetch(&[]).unwrap();
    bench.scratch.write("ca.pem", Authority::new().pem());
    bench.server.drop_connections();
    assert!(bench.words(&[]).contains("certificate"));
    bench.scratch.write("ca.pem", bench.server.ca_pem());
    bench.fetch(&[]).unwrap();
}

#[test]
fn plain_http_is_refused_unless_switched_on() {
    let bench = Bench::of(Server::start_plain());
    bench.words(&[]);
    assert_eq!(bench.server.requests().len(), 0);
    let http = http(None, PlainHttp::DangerouslyAllowed, Proxies::default());
    let bench = Bench { client: Client::over(http, PlainHttp::DangerouslyAllowed), ..bench };
    bench.fetch(&[]).unwrap();
}

#[test]
fn statuses_are_told_apart() {
    let bench = Bench::new();
    for (status, words) in
        [(500, "500 MADE_UP"), (503, "503"), (400, "400"), (429, "429"), (204, "204"), (301, "redirect"), (403, "403")]
    {
        bench.server.misbehave("", Fault::Status(status));
        let said = bench.words(&[]);
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
        let said = bench.words(&[]);
        let expected = format!("trust server {} answered 404{code} for timestamp.json, ", bench.server.url());
        assert!(said.starts_with(&expected) && said.contains("this is no Notary server"), "{body}: {said}");
    }
    let counted = |outcome: &str, count: usize| {
        let line = format!("portreeve_trust_requests_total{{peer=\"trust_server\",outcome=\"{outcome}\"}} {count}");
        let told = bench.client.http.metrics().render();
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
        assert_eq!(bench.fetch(&[]), Err(FetchError::NotFound));
    }
    counted("not_found", 3);
}

#[test]
fn a_redirect_is_not_followed() {
    let bench = Bench::new();
    bench.server.misbehave("", Fault::Redirect);
    let said = bench.words(&[]);
    assert!(said.contains("answered 302") && said.contains("not followed"), "{said}");
    assert_eq!(bench.server.requests().len(), 1);
}

#[test]
fn bodies_are_whole_or_nothing() {
    let bench = Bench::new();
    for fault in [Fault::ShortBody, Fault::ShortChunks, Fault::NoLength, Fault::Html, Fault::Gzip, Fault::Reset] {
        bench.server.misbehave("", fault);
        let said = bench.words(&[]);
        assert!(said.contains(&bench.server.url()), "{fault:?}: {said}");
    }
}

#[test]
fn bodies_over_the_cap_are_not_read() {
    let bench = Bench::new();
    for fault in [Fault::Huge(100 << 20), Fault::HugeChunked(100 << 20), Fault::HugeChunked((64 << 10) + 1)] {
        bench.server.misbehave("", fault);
        let started = Instant::now();
        assert_eq!(bench.fetch(&[]), Err(FetchError::TooLarge { cap: 64 << 10 }), "{fault:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    bench.server.behave();
    bench.server.put(GUN, STEM, vec![b' '; 1000]);
    let wait = Duration::from_secs(20);
    assert_eq!(bench.fetch_with(&[], 1000, wait).unwrap().len(), 1000);
    assert_eq!(bench.fetch_with(&[], 999, wait), Err(FetchError::TooLarge { cap: 999 }));
}

#[test]
fn nothing_outlives_the_deadline() {
    let bench = Bench::new();
    let token = SignIn::Bearer(TokenService { anonymous: true, ..TokenService::default() });
    let wait = Duration::from_millis(1500);
    for (part, fault) in [
        ("timestamp", Fault::Stall),
        ("timestamp", Fault::Drip),
        ("timestamp", Fault::DripHead),
        ("timestamp", Fault::Delay(Duration::from_secs(4))),
        ("/token", Fault::Stall),
        ("/token", Fault::Drip),
    ] {
        bench.server.behave();
        bench.server.require(if part == "/token" { token.clone() } else { SignIn::No });
        bench.server.misbehave(part, fault);
        let started = Instant::now();
        let said = words(bench.fetch_within(wait));
        let took = started.elapsed();
        assert!(said.contains("in time"), "{fault:?}: {said}");
        assert!(
            took >= wait - Duration::from_millis(50) && took < wait + Duration::from_millis(2000),
            "{fault:?} {took:?}"
        );
    }
}

#[test]
fn a_silent_port_cannot_hold_the_handshake() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = Bench::new();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = ServerUrl::parse(&url, PlainHttp::Refused).unwrap();
    let gun = Gun::new(GUN).unwrap();
    let started = Instant::now();
    let nobody = Candidates::known(Vec::new());
    let mut source = bench.client.source(&server, &gun, &nobody, Deadline::after(Duration::from_millis(400)));
    let said = words(source.fetch(&MetadataName::Timestamp, 100));
    assert!(said.contains("in time"), "{said}");
    assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
    drop(listener);
    let mut source = bench.client.source(&server, &gun, &nobody, Deadline::after(Duration::from_secs(5)));
    let said = words(source.fetch(&MetadataName::Timestamp, 100));
    assert!(said.contains("refused"), "{said}");
}

#[test]
fn a_token_is_fetched_once_and_used_until_it_is_refused() {
    let bench = Bench::new();
    bench.server.require(SignIn::Bearer(TokenService::of("alice", "s3cret:x")));
    let alice = [credential("alice", "s3cret:x")];
    bench.fetch(&alice).unwrap();
    assert_eq!(bench.server.round_trips(), ["GET timestamp", "GET /token", "GET timestamp"]);
    let target = bench.server.requests()[1].target.clone();
    assert!(target.contains("scope=repository%3Aregistry.local%3A9001%2Fplant%2Fplc%3Apull&"), "{target}");
    assert!(!target.contains("push") && target.contains("service=notary"), "{target}");

    bench.server.forget_requests();
    bench.fetch(&alice).unwrap();
    assert_eq!(bench.server.round_trips(), ["GET timestamp"]);

    bench.server.forget_requests();
    bench.server.revoke_tokens();
    bench.fetch(&alice).unwrap();
    assert_eq!(bench.server.round_trips(), ["GET timestamp", "GET /token", "GET timestamp"]);
}

#[test]
fn token_services_of_every_kind_are_understood() {
    let of_alice = || TokenService::of("alice", "secret");
    let table = [
        ("access_token", TokenService { field: "access_token", ..of_alice() }, vec![credential("alice", "secret")]),
        (
            "an empty token before it",
            TokenService { field: r#"token":"","access_token"#, ..of_alice() },
            vec![credential("alice", "secret")],
        ),
        ("POST only", TokenService { get: false, ..of_alice() }, vec![credential("alice", "secret")]),
        ("no lifetime", TokenService { expires_in: None, ..of_alice() }, vec![credential("alice", "secret")]),
        ("negative lifetime", TokenService { expires_in: Some(-5), ..of_alice() }, vec![credential("alice", "secret")]),
        ("endless", TokenService { expires_in: Some(i64::MAX), ..of_alice() }, vec![credential("alice", "secret")]),
        ("anonymous", TokenService { anonymous: true, ..of_alice() }, vec![]),
        ("second works", of_alice(), vec![credential("bob", "x"), credential("alice", "secret")]),
        (
            "first is powerless",
            TokenService {
                users: vec![("bob".into(), "x".into()), ("alice".into(), "secret".into())],
                powerless: vec!["bob".into()],
                ..TokenService::default()
            },
            vec![credential("bob", "x"), credential("alice", "secret")],
        ),
        ("identity token", TokenService::of(TOKEN_USER, "t0k"), vec![credential(TOKEN_USER, "t0k")]),
        (
            "other schemes first",
            TokenService { before_challenge: "Negotiate, Basic realm=\"Bearer realm=x\", ", ..of_alice() },
            vec![credential("alice", "secret")],
        ),
        ("zero lifetime", TokenService { expires_in: Some(0), ..of_alice() }, vec![credential("alice", "secret")]),
    ];
    for (what, service, credentials) in table {
        let bench = Bench::new();
        bench.server.require(SignIn::Bearer(service));
        assert!(bench.fetch(&credentials).is_ok(), "{what}: {:?}", bench.fetch(&credentials));
    }
}

#[test]
fn anonymous_tokens_are_kept_too_and_never_used_for_others() {
    let bench = Bench::new();
    bench.server.require(SignIn::Bearer(TokenService { anonymous: true, ..TokenService::of("alice", "secret") }));
    bench.fetch(&[]).unwrap();
    bench.fetch(&[]).unwrap();
    assert_eq!(bench.server.count("/token"), 1);
    bench.fetch(&[credential("alice", "secret")]).unwrap();
    assert_eq!(bench.server.count("/token"), 2);
}

#[test]
fn basic_is_answered_with_each_candidate() {
    let bench = Bench::new();
    bench.server.require(SignIn::Basic(vec![("alice".into(), "a:b".into())]));
    bench.fetch(&[credential("bob", "x"), credential("alice", "a:b")]).unwrap();
    let said = bench.words(&[]);
    assert!(said.contains("anonymously") && said.contains("user name and a password"), "{said}");
}

#[test]
fn every_candidate_and_its_answer_is_told_but_no_secret() {
    let bench = Bench::new();
    bench.server.require(SignIn::Bearer(TokenService {
        users: vec![("bob".into(), "hunter2".into())],
        powerless: vec!["bob".into()],
        ..TokenService::default()
    }));
    let said = bench.words(&[credential("alice", "hunter1"), credential("bob", "hunter2")]);
    assert!(said.contains("secret of alice: token service") && said.contains("answered 401 UNAUTHORIZED"), "{said}");
    assert!(said.contains("secret of bob got a token, but was answered 401"), "{said}");
    assert!(!said.contains("hunter") && !said.contains("token-"), "{said}");
    let said = bench.words(&[]);
    assert!(said.contains("anonymously (no credentials"), "{said}");
    // A token that opened nothing is not kept: rights may have been given since.
    bench.server.forget_requests();
    bench.words(&[credential("bob", "hunter2")]);
    assert_eq!(bench.server.round_trips(), ["GET timestamp", "GET /token", "GET timestamp"]);
}

#[test]
fn refusing_for_ever_ends() {
    let bench = Bench::new();
    bench.server.require(SignIn::Bearer(TokenService { anonymous: true, ..TokenService::of("alice", "secret") }));
    let both = [credential("alice", "secret"), credential("bob", "x")];
    bench.fetch(&both[..1]).unwrap();
    bench.server.misbehave("timestamp", Fault::Unauthorized);
    bench.server.forget_requests();
    let said = bench.words(&both);
    assert!(said.contains("let nobody in"), "{said}");
    assert!(bench.server.requests().len() <= 6, "{:?}", bench.server.round_trips());
}

#[test]
fn credentials_go_to_https_realms_only() {
    let plain = Server::start_plain();
    let bench = Bench::new();
    bench.server.require(SignIn::Bearer(TokenService {
        realm: Some(format!("{}/token", plain.url())),
        ..TokenService::of("alice", "secret")
    }));
    let said = bench.words(&[credential("alice", "secret")]);
    assert!(said.contains("plain http") && said.contains("no credentials are sent"), "{said}");
    assert_eq!(plain.connections(), 0);
}

#[test]
fn a_token_service_may_not_send_us_elsewhere_or_flood_us() {
    let bench = Bench::new();
    bench.server.require(SignIn::Bearer(TokenService::of("alice", "secret")));
    for (fault, words) in [
        (Fault::Redirect, "302"),
        (Fault::Huge(100 << 20), "more than"),
        (Fault::HugeChunked(100 << 20), "more than"),
        (Fault::Html, "not a token"),
        (Fault::Body("{}"), "without a token"),
        (Fault::Body("{\"token\":\"\"}"), "without a token"),
        (Fault::Body("{\"token\":\"a b\"}"), "cannot be used"),
        (Fault::Body("{\"token\":\"a\\r\\nHost: evil\"}"), "cannot be used"),
        (Fault::Body("[]"), "not a token"),
        (Fault::Status(500), "500"),
        (Fault::Unauthorized, "401"),
        (Fault::Reset, "closed"),
    ] {
        bench.server.misbehave("/token", fault);
        let said = bench.words(&[credential("alice", "secret")]);
        assert!(said.contains(words), "{fault:?}: {said}");
    }
}

#[test]
fn a_token_fits_into_a_head_or_is_not_used() {
    let bench = Bench::new();
    bench.server.require(SignIn::Bearer(TokenService::of("alice", "secret")));
    for (length, words) in [(16 << 10, "got a token, but was answered 401"), ((16 << 10) + 1, "cannot be used")] {
        let body = format!("{{\"token\":\"{}\"}}", "x".repeat(length));
        bench.server.misbehave("/token", Fault::Body(body.leak()));
        let said = bench.words(&[credential("alice", "secret")]);
        assert!(said.contains(words), "{length}: {said}");
    }
}

/// It would be taken for a password, by a server that was never meant to see it.
#[test]
fn an_identity_token_is_not_sent_as_a_password() {
    let bench = Bench::new();
    bench.server.require(SignIn::Basic(vec![(TOKEN_USER.to_owned(), "t0k".to_owned())]));
    let said = bench.words(&[credential(TOKEN_USER, "t0k")]);
    assert!(said.contains("an identity token, but the server wants"), "{said}");
    assert!(bench.server.requests().iter().all(|request| request.authorization.is_none()));
}

#[test]
fn the_number_401_in_a_name_means_nothing() {
    let bench = Bench::new();
    bench.server.put("registry.local/401/unauthorized", "timestamp", "{}");
    let server = ServerUrl::parse(&bench.server.url(), PlainHttp::Refused).unwrap();
    let gun = Gun::new("registry.local/401/unauthorized").unwrap();
    let nobody = Candidates::known(Vec::new());
    let mut source = bench.client.source(&server, &gun, &nobody, Deadline::after(Duration::from_secs(20)));
    assert_eq!(source.fetch(&MetadataName::Timestamp, 100).unwrap(), b"{}");
    bench.server.misbehave("401", Fault::Status(500));
    let said = words(source.fetch(&MetadataName::Timestamp, 100));
    assert!(said.contains("answered 500"), "{said}");
}

/// A proxy that tunnels every CONNECT to one address, whatever was asked for, and tells what was asked for.
fn tunnel(to: std::net::SocketAddr) -> (String, std::sync::mpsc::Receiver<String>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:pa%20ss@{}", listener.local_addr().unwrap());
    let (tell, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            near.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        tell.send(String::from_utf8(head).unwrap()).unwrap();
        near.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
        let mut far = std::net::TcpStream::connect(to).unwrap();
        let (mut near_too, mut far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut near_too, &mut far_too));
        let _ = std::io::copy(&mut far, &mut near);
    });
    (url, asked)
}

#[test]
fn goes_through_the_proxy_with_tls_to_the_end() {
    let authority = Authority::new();
    let (chain, key) = authority.server(&["notary.example"]);
    let server = Server::start_with(&chain, &key, authority.pem());
    server.put(GUN, STEM, "{}");
    let (url, asked) = tunnel(server.address());
    let variable = |name: &str| (name == "HTTPS_PROXY").then(|| url.clone());
    let proxies = Proxies::from_variables(variable).unwrap();
    let scratch = Scratch::new();
    let ca = scratch.write("ca.pem", server.ca_pem());
    let http = http(Some(ca), PlainHttp::Refused, proxies);
    let client = Client::over(http, PlainHttp::Refused);
    let (server, gun) =
        (ServerUrl::parse("https://notary.example:4443", PlainHttp::Refused).unwrap(), Gun::new(GUN).unwrap());
    let nobody = Candidates::known(Vec::new());
    let mut source = client.source(&server, &gun, &nobody, Deadline::after(Duration::from_secs(20)));
    assert_eq!(source.fetch(&MetadataName::Timestamp, 100).unwrap(), b"{}");
    let asked = asked.recv().unwrap();
    assert!(asked.starts_with("CONNECT notary.example:4443 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("Proxy-Authorization: Basic dXNlcjpwYSBzcw=="), "{asked}");
}

/// What is said of `https://notary.example` through this proxy.
fn through(proxy: &str, wait: Duration) -> String {
    let proxies = Proxies::from_variables(|name| (name == "HTTPS_PROXY").then(|| proxy.to_owned())).unwrap();
    let http = http(None, PlainHttp::Refused, proxies);
    let client = Client::over(http, PlainHttp::Refused);
    let server = ServerUrl::parse("https://notary.example", PlainHttp::Refused).unwrap();
    let (gun, nobody) = (Gun::new(GUN).unwrap(), Candidates::known(Vec::new()));
    let mut source = client.source(&server, &gun, &nobody, Deadline::after(wait));
    words(source.fetch(&MetadataName::Timestamp, 100))
}

/// A proxy that answers every connection with these bytes, and how it is written.
fn answering(bytes: &'static [u8]) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut near, _)) = listener.accept() {
            let mut head = [0; 4096];
            let _ = near.read(&mut head);
            let _ = near.write_all(bytes);
        }
    });
    url
}

#[test]
fn what_a_proxy_does_wrong_is_blamed_on_the_proxy() {
    let long = || Duration::from_secs(20);
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let with_password = format!("http://user:secret@{dead}");
    let closed = "closed the connection before it answered";
    for (proxy, expected) in [
        (with_password, "could not be reached: "),
        ("http://proxy.invalid:3128".to_owned(), "could not be reached: "),
        (
            answering(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"),
            "wants a user name and a password, or others than it got (407): HTTPS_PROXY takes http://user:password@",
        ),
        (
            answering(b"HTTP/1.0 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!"),
            "does not allow connections to notary.example:443 (403): allow them there, or put the host into NO_PROXY",
        ),
        (
            answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"),
            "could not connect to notary.example:443 (it answered 503)",
        ),
        (
            answering(b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n"),
            "would not connect to notary.example:443 (it answered 301)",
        ),
        (answering(b""), closed),
        (answering(b"HTTP/1.1 200 O"), closed),
        (answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "did not answer as a proxy does"),
        (answering(b"HTTP/1.1 abc\r\n\r\n"), "did not answer as a proxy does"),
        (answering(&[b'x'; 100_000]), "did not answer as a proxy does"),
    ] {
        let said = through(&proxy, long());
        let bare = proxy.rsplit_once(['@', '/']).unwrap().1;
        let expected = format!("trust server https://notary.example: the proxy {bare} (HTTPS_PROXY) {expected}");
        assert!(said.starts_with(&expected), "{expected}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    // A proxy that is spoken to by TLS.
    let authority = Authority::new();
    let (chain, key) = authority.server(&["localhost"]);
    let proxy = Server::start_with(&chain, &key, authority.pem());
    let url = format!("https://{}", proxy.address());
    let said = through(&url, long());
    assert!(
        said.contains("has a certificate that was not accepted: it is not under a CA that is known here"),
        "{said}"
    );
    // What goes wrong behind it is not the proxy's.
    let said = through(&answering(b"HTTP/1.1 200 Connected\r\n\r\n"), long());
    assert!(!said.contains("proxy"), "{said}");
}

#[test]
fn a_silent_proxy_cannot_outlive_the_deadline() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let started = Instant::now();
    let said = through(&url, Duration::from_millis(900));
    assert!(said.contains("(HTTPS_PROXY) did not answer in time"), "{said}");
    assert!(started.elapsed() < Duration::from_millis(2000), "{:?}", started.elapsed());
}

/// A TCP server that begins TLS records and then drips them, and a proxy that drips the head of its answer.
fn dripping(first: Vec<u8>, then: u8) -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut near, _)) = listener.accept() {
            let mut hello = [0; 4096];
            let _ = near.read(&mut hello);
            let _ = near.write_all(&first);
            while near.write_all(&[then]).is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    });
    address
}

#[test]
fn a_dripped_handshake_cannot_outlive_the_deadline() {
    // A handshake record of 16 KiB whose bytes come one by one.
    let url = format!("https://{}", dripping(vec![22, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xf0], 0));
    let bench = Bench::new();
    let (server, gun) = (ServerUrl::parse(&url, PlainHttp::Refused).unwrap(), Gun::new(GUN).unwrap());
    let started = Instant::now();
    let nobody = Candidates::known(Vec::new());
    let mut source = bench.client.source(&server, &gun, &nobody, Deadline::after(Duration::from_millis(900)));
    let said = words(source.fetch(&MetadataName::Timestamp, 100));
    assert!(said.contains("in time"), "{said}");
    assert!(started.elapsed() < Duration::from_millis(2000), "{:?}", started.elapsed());
}

#[test]
fn a_dripping_proxy_cannot_outlive_the_deadline() {
    let url = format!("http://{}", dripping(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), b'x'));
    let started = Instant::now();
    let said = through(&url, Duration::from_millis(900));
    assert!(started.elapsed() < Duration::from_millis(2000), "{:?}", started.elapsed());
    assert!(said.contains("in time"), "{said}");
}

/// The trust server names the token service, so it could add a scope of its own to ours, and have itself sent a token
/// that is good for more than reading.
#[test]
fn a_realm_cannot_widen_the_scope() {
    let bench = Bench::new();
    bench.server.require(SignIn::Bearer(TokenService {
        realm: Some(format!("{}/token?scope=repository%3Ax%3Apush", bench.server.url())),
        ..TokenService::of("alice", "s3cret:x")
    }));
    let said = bench.words(&[credential("alice", "s3cret:x")]);
    assert_eq!(bench.server.count("/token"), 0, "{said}");
    assert!(said.contains("scope"), "{said}");
}
