//! Each server that policies name: the real Notary server and the real registry, and servers with faults.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_test_support::cosign::Key;
use portreeve_test_support::trust_server::{SignIn, TrustServer};
use serde_json::json;

use super::*;
use crate::https::{HttpsServer, Reply};
use crate::notary::{RealNotary, needs_notary};
use crate::plant::{PASSWORD, USER};
use crate::producers::Producers;
use crate::registries::{self, RealRegistry};
use crate::review::{cosign_policy_for, in_namespace, policy_for};
use crate::token::TokenService;

/// A policy that asks this trust server about all images of a registry.
fn trusting(url: &str) -> Value {
    policy_for("registry.local:9001/plant/*", json!({ "enabled": true, "trustServer": url }))
}

/// RFC 6761: no name below `.invalid` has an address.
#[test]
fn a_host_name_that_cannot_be_looked_up_is_called_so() {
    let site = under(&Pki::new());
    site.policies(&[trusting("https://notary.invalid")]);
    let report = doctor(&site, &[], NOT_ASKED);
    let finding = report.has("unknown", "trust_server", "its host name could not be looked up");
    assert_eq!(finding["action"], "check the address, and that the name can be looked up here");
}

#[test]
fn real_servers_are_reached_and_signed_in_to() {
    needs_notary!();
    let pki = Pki::new();
    let Some(producers) = Producers::find(&pki) else { return };
    if !registries::available() {
        return;
    }
    let tokens = TokenService::start(&pki, USER, PASSWORD);
    let mut notary = RealNotary::with_tokens(&pki, &tokens);
    let registry = RealRegistry::without_referrers(&producers, Some(&tokens));
    let site = under(&pki);
    let signer = json!([{ "name": "release", "publicKey": Key::p256().public_pem() }]);
    let mut cosign = cosign_policy_for(&format!("{}/*", registry.host()), json!({ "signers": signer }));
    cosign["metadata"]["name"] = json!("line-1");
    site.policies(&[trusting(&notary.url()), cosign]);
    site.pull_secret("notary", "registry.local:9001", USER, PASSWORD);
    site.pull_secret("registry", &registry.host(), USER, PASSWORD);
    let report = doctor(&site, &[], WELL);
    report.is_well_but_for(&[]);
    let notary_url = notary.url();
    report.has("ok", "trust_server", &format!("{notary_url} reached, a Notary server (ClusterImagePolicy plant)"));
    report.has("ok", "trust_server", &format!("{notary_url} signed in for registry.local:9001/plant/"));
    report.has("ok", "trust_server", &format!("{notary_url} its certificate ends 4096-"));
    report.has("ok", "registry", &format!("{} reached", registry.url()));
    report.has("ok", "registry", &format!("signed in for {}/", registry.host()));
    report.has("ok", "token_service", "its certificate ends 4096-");
    report.has("ok", "clock", "agrees with 2 servers");
    assert!(!format!("{report:?}").contains(PASSWORD));

    // A wrong password, for one of the two.
    site.pull_secret("notary", "registry.local:9001", USER, "wrong");
    let report = doctor(&site, &[], WRONG);
    report.is_well_but_for(&["trust_server"]);
    let finding = report.has("wrong", "trust_server", "not signed in for registry.local:9001/plant/");
    assert!(text_of(finding).contains("notary/.dockerconfigjson"), "{finding}");
    report.has("ok", "trust_server", "reached");

    // No password at all: nobody can say whether all is public.
    std::fs::remove_dir_all(format!("{}/notary", site.config["credentials"]["mounted"].as_str().unwrap())).unwrap();
    let report = doctor(&site, &[], WELL);
    report.has(
        "note",
        "trust_server",
        "it wants a sign-in, and there are no credentials for registry.local:9001/plant",
    );

    // A registry where a trust server should be.
    site.policies(&[trusting(&registry.url())]);
    site.pull_secret("notary", "registry.local:9001", USER, PASSWORD);
    doctor(&site, &[], WRONG).has("wrong", "trust_server", "it is not a Notary server");

    // A server that is away.
    site.policies(&[trusting(&notary_url)]);
    notary.stop();
    let report = doctor(&site, &[], NOT_ASKED);
    report.is_well_but_for(&["trust_server"]);
    report.has("unknown", "trust_server", "could not be reached");
    let text = run(&mut site.command("doctor", &[]), "").expect(NOT_ASKED).stdout;
    assert!(text.contains(&format!("\nunknown  trust server {notary_url}: could not be reached")), "{text}");
    assert!(text.ends_with(" ok\n") && text.contains("\n1 unknown, "), "{text}");
}

/// A server whose clock is ahead by so many hours, and that has no trust data.
fn ahead_by(pki: &Pki, hours: i64) -> HttpsServer {
    HttpsServer::start(pki, move |request| {
        let time = (Timestamp::now() + hours.hours()).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let (status, body) = match request.target.as_str() {
            "/v2/" => (200, json!({})),
            _ => (404, json!({ "errors": [{ "code": "METADATA_NOT_FOUND" }] })),
        };
        Reply { status, header: ("Date", time), body: body.to_string() }
    })
}

#[test]
fn a_wrong_clock_is_found_by_the_date_of_responses() {
    let pki = Pki::new();
    let site = under(&pki);
    let [right, wrong, also_wrong] = [0, 26, 26].map(|hours| ahead_by(&pki, hours));
    let asks = |servers: &[&HttpsServer]| {
        let documents: Vec<Value> = (1..)
            .zip(servers)
            .map(|(number, server)| {
                let url = server.url();
                let trust = json!({ "enabled": true, "trustServer": url });
                let mut policy = policy_for(&format!("registry.local:9001/line-{number}/*"), trust);
                policy["metadata"]["name"] = json!(format!("line-{number}"));
                policy
            })
            .collect();
        site.policies(&documents);
    };
    asks(&[&right]);
    // Nobody signs in where nobody asks for it.
    site.pull_secret("notary", "registry.local:9001", USER, PASSWORD);
    let report = doctor(&site, &[], WELL);
    report.has("ok", "clock", "agrees with 1 server");
    report.has("ok", "trust_server", "reached, a Notary server");
    assert!(!format!("{report:?}").contains("signed in"), "{report:?}");
    asks(&[&right, &wrong]);
    let report = doctor(&site, &[], WRONG);
    report.is_well_but_for(&["clock"]);
    report.has("wrong", "clock", &format!("{} it is 1 day ahead of this machine", wrong.url()));
    // Where all servers agree, it is this machine.
    asks(&[&wrong, &also_wrong]);
    doctor(&site, &[], WRONG).has("wrong", "clock", "this machine is 1 day behind 2 of 2 servers");
}

#[test]
fn the_certificate_of_a_server_ends_soon_or_has_ended() {
    for (days, status, state, words) in [(6, WELL, "soon", "ends "), (-2, WRONG, "wrong", "ended ")] {
        let mut site = sound();
        let [ca, chain, key] = ending_in(days, &["127.0.0.1"]);
        let server = TrustServer::start_with(&chain, &key, ca.clone());
        site.config["trust"]["ca"] = json!(site.file("ca.pem", &ca));
        site.policies(&[trusting(&server.url())]);
        let report = doctor(&site, &[], status);
        let finding = report.has(state, "trust_server", &format!("its certificate {words}"));
        assert!(finding["ends"].is_string() && finding["action"].is_string(), "{finding}");
    }
    // One of a CA that is not trusted here.
    let site = sound();
    let server = TrustServer::start();
    site.policies(&[trusting(&server.url())]);
    doctor(&site, &[], WRONG).has("wrong", "trust_server", "trust.ca adds the CA of a private server");
}

#[test]
fn what_is_no_notary_server_is_told() {
    let pki = Pki::new();
    let site = under(&pki);
    for (status, header, body, state, words) in [
        (200, ("Content-Type", "text/html"), "<html>", "wrong", "it sent a web page"),
        (302, ("Location", "https://elsewhere.local/"), "", "wrong", "a redirect"),
        (404, ("Content-Type", "text/plain"), "404 page not found", "wrong", "it is not a Notary server"),
        (503, ("Retry-After", "1"), "", "unknown", "answered 503"),
    ] {
        let server = HttpsServer::start(&pki, move |_| Reply {
            status,
            header: (header.0, header.1.to_owned()),
            body: body.to_owned(),
        });
        site.policies(&[trusting(&server.url())]);
        let expected = if state == "wrong" { WRONG } else { NOT_ASKED };
        doctor(&site, &[], expected).has(state, "trust_server", words);
    }
    // A server that speaks no TLS.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    site.policies(&[trusting(&url)]);
    doctor(&site, &[], WRONG).has("wrong", "trust_server", "TLS failed");
}

/// A server that gives a token for a repository only if it is there, as Harbor does, and none is. `docker login` works.
fn without_repositories(pki: &Pki, password: &str) -> HttpsServer {
    let user = format!("Basic {}", STANDARD.encode(format!("{USER}:{password}")));
    HttpsServer::start(pki, move |request| {
        let authorization = request.header("Authorization");
        let refused = Reply::json(401, json!({ "errors": [{ "code": "UNAUTHORIZED" }] }));
        match request.target.split_once('?').unwrap_or((&request.target, "")) {
            ("/token", query) if authorization == Some(&user) => {
                let token = if query.contains("scope=") { "nothing" } else { "login" };
                Reply::json(200, json!({ "token": token }))
            }
            ("/token", _) => refused,
            ("/v2/", _) if authorization == Some("Bearer login") => Reply::json(200, json!({})),
            _ => {
                let host = request.header("Host").unwrap();
                let challenge = format!("Bearer realm=\"https://{host}/token\",service=\"s\"");
                Reply { header: ("WWW-Authenticate", challenge), ..refused }
            }
        }
    })
}

#[test]
fn a_sign_in_is_told_apart_from_a_right() {
    let pki = Pki::new();
    let site = under(&pki);
    let server = without_repositories(&pki, PASSWORD);
    site.policies(&[trusting(&server.url())]);
    site.pull_secret("notary", "registry.local:9001", USER, PASSWORD);
    let report = doctor(&site, &[], WELL);
    report.has("ok", "trust_server", "signed in for registry.local:9001/plant/portreeve-doctor");
    site.pull_secret("notary", "registry.local:9001", USER, "wrong");
    doctor(&site, &[], WRONG).has("wrong", "trust_server", "not signed in for registry.local:9001/plant/");
    // A repository that a policy names must be readable.
    site.pull_secret("notary", "registry.local:9001", USER, PASSWORD);
    site.policies(&[policy_for(
        "registry.local:9001/plant/plc:v1",
        json!({ "enabled": true, "trustServer": server.url() }),
    )]);
    let report = doctor(&site, &[], WRONG);
    let finding = report.has("wrong", "trust_server", "not signed in for registry.local:9001/plant/plc");
    assert!(text_of(finding).contains("got a token, but was answered 401"), "{finding}");
}

#[test]
fn a_server_of_a_namespace_s_people_sees_no_mounted_credentials() {
    let server = TrustServer::start();
    server.require(SignIn::Basic(vec![(USER.to_owned(), PASSWORD.to_owned())]));
    let mut site = sound();
    site.config["trust"]["ca"] = json!(site.file("ca.pem", server.ca_pem()));
    site.pull_secret("notary", "registry.local:9001", USER, PASSWORD);
    let policy = in_namespace(trusting(&server.url()), "line-1");
    let file = site.file("own/line-1/plant.yaml", &policy.to_string());
    site.config["namespacePolicies"] = json!(file.parent().unwrap().parent().unwrap());
    let has_seen_one = || server.requests().iter().any(|request| request.authorization.is_some());
    let report = doctor(&site, &[], WELL);
    report.has("skipped", "trust_server", "no mounted credentials are sent to it");
    assert!(server.count("/plant/") > 0 && !has_seen_one(), "{:?}", server.requests());
    // The configuration names it as well.
    site.config["trust"]["servers"] = json!({ "registry.local:9001": server.url() });
    doctor(&site, &[], WELL).has("ok", "trust_server", "signed in for registry.local:9001/");
    assert!(has_seen_one());
}

#[test]
fn silent_servers_are_given_up_at_the_deadline() {
    let silent: Vec<TcpListener> = (0..20).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let mut site = sound();
    let urls = silent.iter().map(|listener| format!("https://{}", listener.local_addr().unwrap()));
    let servers: serde_json::Map<_, _> = (1..).zip(urls).map(|(n, url)| (format!("r{n}.local"), json!(url))).collect();
    site.config["trust"]["servers"] = Value::Object(servers);
    let report = doctor(&site, &["--timeout", "1s"], NOT_ASKED);
    let unknown = report.findings().filter(|found| found["check"] == "trust_server" && found["state"] == "unknown");
    assert_eq!(unknown.count(), 20, "{report:?}");
    report.has("unknown", "trust_server", "did not answer in time");
    report.has("skipped", "clock", "no server has told its time");
}

#[test]
fn a_registry_without_a_trust_server_and_directories_are_told() {
    let mut site = sound();
    site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
    doctor(&site, &[], WRONG).has("wrong", "trust_server", "none is known for it (ClusterImagePolicy plant)");
    let carried = site.file("carried/root.json", "{}").parent().unwrap().display().to_string();
    site.config["trust"]["servers"] = json!({ "registry.local:9001": format!("file://{carried}") });
    site.config["registries"] = json!({ "signatures": { "registry.local:9001/": "file:///nowhere/layout" } });
    let report = doctor(&site, &[], WRONG);
    report.has("ok", "directory", &format!("{carried} can be read"));
    report.has("wrong", "directory", "/nowhere/layout cannot be read");
}
