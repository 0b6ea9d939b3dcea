//! Signing in: token services, Basic, and what is reported of each credential.

use super::*;
use crate::keychain::docker_config::TOKEN_USER;

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
    assert!(said.contains("refused every sign-in"), "{said}");
    assert!(bench.server.requests().len() <= 6, "{:?}", bench.server.round_trips());
}

#[test]
fn credentials_go_to_https_realms_only() {
    let plain = TrustServer::start_plain();
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
