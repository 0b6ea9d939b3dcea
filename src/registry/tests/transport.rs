//! Sessions over TLS with servers that fail in every way below the level of a response.

use super::*;

#[test]
fn fetches_over_one_connection_and_says_who_it_is() {
    let bench = Bench::new();
    assert_eq!(bench.fetch(&[]).unwrap(), b"{\"signed\":1}");
    assert_eq!(bench.fetch(&[]).unwrap(), b"{\"signed\":1}");
    assert_eq!(bench.server.connections(), 1);
    let requests = bench.server.requests();
    assert_eq!(requests[0].target, format!("/v2/{REPOSITORY}/_trust/tuf/timestamp.json"));
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
    let other = Bench { server: TrustServer::start(), ..bench };
    let words = other.words(&[]);
    assert!(words.contains("certificate") && words.contains("trust.ca"), "{words}");
}

#[test]
fn a_certificate_for_another_host_is_told() {
    let authority = Authority::new();
    let (chain, key) = authority.server(&["notary.example"]);
    let bench = Bench::of(TrustServer::start_with(&chain, &key, authority.pem()));
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
    let bench = Bench::of(TrustServer::start_with(&certificate, &key.serialize_pem(), certificate.clone()));
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
    let bench = Bench::of(TrustServer::start_plain());
    bench.words(&[]);
    assert_eq!(bench.server.requests().len(), 0);
    let http = http(None, PlainHttp::DangerouslyAllowed, Proxies::default());
    let bench = Bench { client: Client::over(http, PlainHttp::DangerouslyAllowed), ..bench };
    bench.fetch(&[]).unwrap();
}

#[test]
fn bodies_over_the_cap_are_not_read() {
    let bench = Bench::new();
    for fault in [Fault::Huge(100 << 20), Fault::HugeChunked(100 << 20), Fault::HugeChunked((64 << 10) + 1)] {
        bench.server.misbehave("", fault);
        let started = Instant::now();
        assert_eq!(bench.fetch(&[]), Err(SessionError::TooLarge { cap: 64 << 10 }), "{fault:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    bench.server.behave();
    bench.server.put(REPOSITORY, FILE, vec![b' '; 1000]);
    let wait = Duration::from_secs(20);
    assert_eq!(bench.fetch_with(&[], 1000, wait).unwrap().len(), 1000);
    assert_eq!(bench.fetch_with(&[], 999, wait), Err(SessionError::TooLarge { cap: 999 }));
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
    let started = Instant::now();
    let nobody = Credentials::known(Vec::new());
    let said = words(get(&bench.client, &server, &nobody, 100, Deadline::after(Duration::from_millis(400))));
    assert!(said.contains("in time"), "{said}");
    assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
    drop(listener);
    let said = words(get(&bench.client, &server, &nobody, 100, Deadline::after(Duration::from_secs(5))));
    assert!(said.contains("refused"), "{said}");
}

#[test]
fn a_dripped_handshake_cannot_outlive_the_deadline() {
    // A handshake record of 16 KiB whose bytes come one by one.
    let url = format!("https://{}", dripping(vec![22, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xf0], 0));
    let bench = Bench::new();
    let server = ServerUrl::parse(&url, PlainHttp::Refused).unwrap();
    let started = Instant::now();
    let nobody = Credentials::known(Vec::new());
    let said = words(get(&bench.client, &server, &nobody, 100, Deadline::after(Duration::from_millis(900))));
    assert!(said.contains("in time"), "{said}");
    assert!(started.elapsed() < Duration::from_millis(2000), "{:?}", started.elapsed());
}
