//! Slow, broken and lying trust servers. Each is either "rejected" (the data says no) or "unavailable" (there is no
//! answer), and the response leaves in time.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use portreeve_test_support::signer as tuf;
use portreeve_test_support::trust_server::{Fault, SignIn, TokenService};
use serde_json::json;

use crate::https::{HttpsServer, Reply, send_review};
use crate::notary::needs_notary;
use crate::plant::{PLC, Plant};
use crate::process::{run, wait_until};
use crate::product::Site;
use crate::review::{DID_NOT_ANSWER, assert_allowed, assert_denied, pod, pod_review, policy, policy_for};
use crate::stage::Stage;

const REJECTED: i32 = 1;
const UNAVAILABLE: i32 = 3;

/// Reviews a signed image on the command line. The exit status is one of these, and the message agrees with it.
#[track_caller]
fn assert_verdict(site: &Site, statuses: &[i32], what: &str) {
    let file = site.file("pod.json", &pod(&format!("{PLC}:v1")).to_string());
    let begin = Instant::now();
    let (ended, answers) = site.answers(&file);
    assert!(ended.is_some_and(|status| statuses.contains(&status)), "{what}: {ended:?} {answers:#?}");
    assert_denied(&answers[0], &["plant/plc:v1"]);
    let said = answers[0].to_string().contains(DID_NOT_ANSWER);
    assert_eq!(said, ended == Some(UNAVAILABLE), "{what}: {answers:#?}");
    assert!(begin.elapsed() < Duration::from_secs(15), "{what} took {:?}", begin.elapsed());
}

#[test]
fn broken_servers_are_unavailable_and_floods_rejected() {
    let stage = Stage::new();
    // A body that is no metadata may come from Notary or not: both verdicts are right.
    let either: &[i32] = &[REJECTED, UNAVAILABLE];
    let cases: [(Fault, &[i32]); 13] = [
        (Fault::Reset, &[UNAVAILABLE]),
        (Fault::ShortBody, either), // its Content-Length is more than the snapshot lists
        (Fault::ShortChunks, &[UNAVAILABLE]),
        (Fault::Redirect, &[UNAVAILABLE]),
        (Fault::Status(429), &[UNAVAILABLE]),
        (Fault::Status(500), &[UNAVAILABLE]),
        (Fault::Status(503), &[UNAVAILABLE]),
        (Fault::Unauthorized, &[UNAVAILABLE]),
        (Fault::Huge(100 << 20), &[REJECTED]),
        (Fault::HugeChunked(100 << 20), &[REJECTED]),
        (Fault::Html, either),
        (Fault::Body(""), either),
        (Fault::Body("{}"), &[REJECTED]),
    ];
    for (fault, statuses) in cases {
        for part in ["", "/timestamp.json", "/targets/alice."] {
            let what = format!("{fault:?} at {part:?}");
            stage.server.misbehave(part, fault);
            stage.server.forget_requests();
            assert_verdict(&stage.site, statuses, &what);
            let trips = stage.server.round_trips();
            assert!(trips.len() <= 20, "{what}: {trips:?}");
            stage.server.behave();
        }
    }
    let file = stage.site.file("pod.json", &pod(&format!("{PLC}:v1")).to_string());
    stage.site.review(&[], &file).expect(0);
}

#[test]
fn metadata_that_has_expired_is_rejected() {
    let stage = Stage::new();
    for role in ["root", "timestamp", "snapshot", "targets", "targets/releases", "targets/alice"] {
        let past = Timestamp::now() - SignedDuration::from_hours(1);
        let expired = stage.repo.update(|signer| signer.expires(role, past));
        stage.server.publish(&expired);
        assert_verdict(&stage.site, &[REJECTED], role);
    }
}

#[test]
fn slow_servers_use_up_only_their_own_time() {
    let stage = Stage::new();
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    for fault in [Fault::Stall, Fault::Drip, Fault::DripHead] {
        stage.server.misbehave("", fault);
        let begin = Instant::now();
        let answer = serving.admit("/admit?timeout=4s", &review);
        assert!(begin.elapsed() < Duration::from_secs(4), "{fault:?}: {:?}", begin.elapsed());
        assert_denied(&answer, &[DID_NOT_ANSWER]);
        stage.server.behave();
    }
    wait_until("a server that has come back to be believed", || {
        serving.admit("/admit?timeout=5s", &review)["response"]["allowed"] == true
    });
}

#[test]
fn slow_token_services_use_up_only_their_own_time() {
    let stage = Stage::new();
    stage.server.require(SignIn::Bearer(TokenService::of("robot", "secret")));
    stage.site.pull_secret("harbor", "registry.local:9001", "robot", "secret");
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    // It stalls, drips, never ends, states a wrong length, or redirects to itself.
    for fault in [Fault::Stall, Fault::Drip, Fault::DripHead, Fault::Huge(1 << 30), Fault::ShortBody, Fault::Redirect] {
        stage.server.misbehave("/token", fault);
        let begin = Instant::now();
        let answer = serving.admit("/admit?timeout=4s", &review);
        assert!(begin.elapsed() < Duration::from_secs(4), "{fault:?}: {:?}", begin.elapsed());
        assert_denied(&answer, &[DID_NOT_ANSWER]);
        assert!(!answer.to_string().contains("secret\""), "{answer}");
        stage.server.behave();
    }
    wait_until("a service that has come back to be believed", || {
        serving.admit("/admit?timeout=5s", &review)["response"]["allowed"] == true
    });
}

#[test]
fn what_comes_behind_an_answer_is_not_the_next_one() {
    let mut stage = Stage::new();
    stage.site.config["trust"]["refreshAfter"] = json!("0s");
    let serving = stage.site.serve();
    let (review, unsigned) = (pod_review(&format!("{PLC}:v1")), pod_review(&format!("{PLC}:unsigned")));
    stage.server.misbehave("", Fault::LongBody);
    for _ in 0..3 {
        // "{}" is no metadata. Read as the next response, it would reject the image.
        assert_allowed(&serving.admit("/admit?timeout=10s", &review));
        assert_denied(&serving.admit("/admit?timeout=10s", &unsigned), &["plant/plc:unsigned"]);
    }
}

#[test]
fn a_slow_repository_does_not_hold_up_another() {
    let stage = Stage::new();
    let slow = "registry.local:9001/plant/slow";
    stage.server.publish(&tuf::Signer::new(slow).publish());
    stage.server.misbehave(slow, Fault::Stall);
    let serving = stage.site.serve();
    thread::scope(|scope| {
        for _ in 0..4 {
            let answer = || serving.admit("/admit?timeout=4s", &pod_review(&format!("{slow}:v1")));
            scope.spawn(move || assert_denied(&answer(), &[DID_NOT_ANSWER]));
        }
        thread::sleep(Duration::from_millis(500)); // all of them wait now
        let begin = Instant::now();
        assert_allowed(&serving.admit("/admit?timeout=4s", &pod_review(&format!("{PLC}:v1"))));
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    });
}

/// There are eight workers, a server that accepts connections and never answers, and a server that works.
#[test]
fn a_server_that_stalls_does_not_hold_all_workers() {
    let mut stage = Stage::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    stage.site.config["trust"]["servers"]["stalling.local"] = json!(url);
    stage.site.policies(&[policy_for("*", json!({ "enabled": true }))]);
    let serving = stage.site.serve();
    // Three times as many requests as workers. Their responses are not read.
    let others: Vec<_> = (0..24)
        .map(|number| {
            let mut stream = serving.connect().unwrap();
            let review = pod_review(&format!("stalling.local/x{number}:v1"));
            send_review(&mut stream, "/admit?timeout=20s", &review).unwrap();
            stream
        })
        .collect();
    for _ in 0..10 {
        assert_allowed(&serving.admit("/admit?timeout=20s", &pod_review(&format!("{PLC}:v1"))));
    }
    // At most half as many requests as there are workers wait for the silent server. The others are refused.
    let metric = |name: &str| serving.metric(name).unwrap_or(0);
    let denied = metric("portreeve_admissions_total{endpoint=\"admit\",outcome=\"denied\"}");
    assert!(denied <= 20, "{denied}");
    wait_until("the other requests to be refused", || {
        metric("portreeve_trust_server_not_asked_total{why=\"crowded\"}")
            + metric("portreeve_trust_server_not_asked_total{why=\"down\"}")
            >= 20
    });
    drop(others);
}

#[test]
fn a_server_that_lies_is_rejected() {
    needs_notary!();
    let plant = Plant::visit();
    type Lie = fn(&str, String) -> String;
    let cases: [(&str, Lie); 5] = [
        ("another digest", |target, body| {
            // The bytes do not have the hash that the snapshot lists.
            if target.contains("targets") { body.replacen("\"length\":1234", "\"length\":1235", 1) } else { body }
        }),
        ("a timestamp with another version, not signed again", |target, body| {
            if target.ends_with("/timestamp.json") { body.replacen("\"version\":", "\"version\":1", 1) } else { body }
        }),
        ("an expired timestamp, not signed again", |target, body| {
            if target.ends_with("/timestamp.json") {
                body.replacen("\"expires\":\"20", "\"expires\":\"19", 1)
            } else {
                body
            }
        }),
        ("a second `signed` before the real one", |target, body| {
            if target.ends_with("/timestamp.json") {
                body.replacen("{\"signed\":", "{\"signed\":{},\"signed\":", 1)
            } else {
                body
            }
        }),
        ("a root without signatures", |target, body| {
            if target.contains("root") { body.replace("\"sig\":\"", "\"sig\":\"AAAA") } else { body }
        }),
    ];
    for (what, lie) in cases {
        let (server, lies) = plant.relay(lie);
        let site = Site::with_server(&plant.pki, &server.url());
        site.policies(&[policy(&[&plant.alice])]);
        assert_verdict(&site, &[REJECTED], what);
        assert!(lies.load(Ordering::SeqCst) > 0, "{what}: nothing was changed");
    }
    // The relay itself changes nothing: without a lie the image is verified.
    let (server, lies) = plant.relay(|_, body| body);
    let site = Site::with_server(&plant.pki, &server.url());
    site.policies(&[policy(&[&plant.alice])]);
    let file = site.file("pod.json", &pod(&format!("{PLC}:v1")).to_string());
    site.review(&[], &file).expect(0);
    assert_eq!(lies.load(Ordering::SeqCst), 0);
}

#[test]
fn redirects_are_not_followed() {
    needs_notary!();
    let plant = Plant::visit();
    let real = plant.notary.url();
    let server = HttpsServer::start(&plant.pki, move |request| Reply {
        status: 307,
        header: ("Location", format!("{real}{}", request.target)),
        body: String::new(),
    });
    let site = Site::with_server(&plant.pki, &server.url());
    site.policies(&[policy(&[&plant.alice])]);
    assert_verdict(&site, &[UNAVAILABLE], "a redirect to the right answer");
}

#[test]
fn credentials_go_only_to_https_realms() {
    let stage = Stage::new();
    let plain = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    plain.set_nonblocking(true).unwrap();
    let realm = Some(format!("http://{}/token", plain.local_addr().unwrap()));
    stage.server.require(SignIn::Bearer(TokenService { realm, ..TokenService::of("robot", "secret") }));
    stage.site.pull_secret("harbor", "registry.local:9001", "robot", "secret");
    assert_verdict(&stage.site, &[UNAVAILABLE], "a realm in the clear");
    assert!(!stage.server.requests().is_empty());
    assert!(plain.accept().is_err(), "a client connected");
}

#[test]
fn proxies_come_from_the_environment() {
    needs_notary!();
    let plant = Plant::visit();
    // A name that only the proxy resolves, and this machine, for which no proxy is used.
    let elsewhere = format!("https://notary.test:{}", plant.notary.port());
    let tunnel = format!("CONNECT notary.test:{} ", plant.notary.port());
    for (server, proxied) in [(elsewhere, true), (plant.notary.url(), false)] {
        let site = Site::with_server(&plant.pki, &server);
        site.policies(&[policy(&[&plant.alice])]);
        let (proxy, tunnels) = proxy();
        let file = site.file("pod.json", &pod(&format!("{PLC}:v1")).to_string());
        run(site.command("review", &[]).arg(file).env("HTTPS_PROXY", proxy), "").expect(0);
        let tunnels = tunnels.lock().unwrap();
        assert_eq!(tunnels.is_empty(), !proxied, "{tunnels:?}");
        assert!(tunnels.iter().all(|line| line.starts_with(&tunnel)), "{tunnels:?}");
    }
}

/// An HTTP proxy with CONNECT: its URL, and the first line of each request.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&lines);
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(client.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
            let target = line.split(' ').nth(1).unwrap_or_default().replace("notary.test", "127.0.0.1");
            log.lock().unwrap().push(line);
            let Ok(mut server) = TcpStream::connect(target) else { continue };
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            thread::spawn(move || {
                let _ = io::copy(&mut server, &mut client);
                let _ = client.shutdown(Shutdown::Write);
            });
        }
    });
    (url, lines)
}
