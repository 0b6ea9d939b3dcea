//! Trust servers that are slow, broken or lying: what they say is told apart as "rejected" (the data says no) and
//! "unavailable" (nobody could say), and the answer leaves in time.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::https::{HttpsServer, Reply, https};
use crate::notary::needs_notary;
use crate::pki::Pki;
use crate::plant::{PLC, Plant};
use crate::process::run;
use crate::product::Site;
use crate::review::{assert_denied, pod, pod_review, policy, policy_for};

const REJECTED: i32 = 1;
const UNAVAILABLE: i32 = 3;

/// Words that only an answer about an unreachable server has.
const DID_NOT_ANSWER: &str = "the trust server did not answer";

/// Reviews a signed image of a site, from the command line: it ends with this status, and in the words that go with
/// it. Where either is
/// right, the words must agree with the status all the same.
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
    let pki = Pki::new();
    let loop_for_ever = || {
        let challenge = r#"Bearer realm="https://localhost:1/token",service="x",scope="repository:x:pull""#;
        Reply::Whole(401, vec![("Www-Authenticate".into(), challenge.into())], Vec::new())
    };
    // What is no metadata at all was said by somebody, but hardly by a Notary server: both verdicts are right.
    let either = [REJECTED, UNAVAILABLE];
    let cases: [(&str, Reply, &[i32]); 7] = [
        ("401 for ever", loop_for_ever(), &[UNAVAILABLE]),
        ("401 without a challenge", Reply::json(401, &json!({})), &[UNAVAILABLE]),
        ("500", Reply::typed(500, "text/plain", "oops"), &[UNAVAILABLE]),
        ("503", Reply::typed(503, "text/plain", "later"), &[UNAVAILABLE]),
        ("100 MB", Reply::Flood(100 << 20), &[REJECTED]),
        ("HTML", Reply::typed(200, "text/html", "<html><body>It works!</body></html>"), &either),
        ("an empty 200", Reply::typed(200, "application/json", ""), &either),
    ];
    for (what, reply, statuses) in cases {
        let server = HttpsServer::start(&pki, move |_| reply.clone());
        let site = Site::with_server(&pki, &server.url());
        site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
        assert_verdict(&site, statuses, what);
        assert!(server.requests() <= 8, "{what}: asked {} times", server.requests());
    }
}

#[test]
fn slow_servers_use_up_only_their_own_time() {
    let pki = Pki::new();
    let slow = [("silence", Reply::Silence), ("a byte a second", Reply::Drip)]
        .map(|(what, reply)| (what, HttpsServer::start(&pki, move |_| reply.clone())));
    for (what, server) in &slow {
        let site = Site::with_server(&pki, &server.url());
        site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
        let serving = site.serve();
        let begin = Instant::now();
        let answer = serving.admit("/admit?timeout=2s", &pod_review(&format!("{PLC}:v1")));
        assert!(begin.elapsed() < Duration::from_secs(2), "{what}: {:?}", begin.elapsed());
        assert_denied(&answer, &[DID_NOT_ANSWER]);
    }
}

/// Relays a real Notary server, with the bytes of some files changed on the way. Counts the lies.
pub(crate) fn relay(plant: &Arc<Plant>, lie: fn(&str, String) -> String) -> (HttpsServer, Arc<AtomicUsize>) {
    let (behind, lies) = (Arc::clone(plant), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&lies);
    let server = HttpsServer::start(&plant.pki, move |request| {
        let response = https(&behind.pki, behind.notary.port(), &request.method, &request.target, b"");
        let body = lie(&request.target, response.body.clone());
        count.fetch_add(usize::from(body != response.body), Ordering::SeqCst);
        Reply::typed(response.status, "application/json", body)
    });
    (server, lies)
}

#[test]
fn a_server_that_lies_is_rejected() {
    needs_notary!();
    let plant = Plant::visit();
    type Lie = fn(&str, String) -> String;
    let cases: [(&str, Lie); 5] = [
        ("another digest", |target, body| {
            // The bytes no longer have the hash that the snapshot gives.
            if target.contains("targets") { body.replacen("\"length\":1234", "\"length\":1235", 1) } else { body }
        }),
        ("a timestamp from nobody", |target, body| {
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
        let (server, lies) = relay(&plant, lie);
        let site = Site::with_server(&plant.pki, &server.url());
        site.policies(&[policy(&[&plant.alice])]);
        assert_verdict(&site, &[REJECTED], what);
        assert!(lies.load(Ordering::SeqCst) > 0, "{what}: nothing was changed");
    }
    // The relay itself is sound: what it leaves alone is believed.
    let (server, lies) = relay(&plant, |_, body| body);
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
    let server = HttpsServer::start(&plant.pki, move |request| {
        Reply::Whole(307, vec![("Location".into(), format!("{real}{}", request.target))], Vec::new())
    });
    let site = Site::with_server(&plant.pki, &server.url());
    site.policies(&[policy(&[&plant.alice])]);
    assert_verdict(&site, &[UNAVAILABLE], "a redirect to the right answer");
}

#[test]
fn credentials_go_only_to_https_realms() {
    let pki = Pki::new();
    let plain = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    plain.set_nonblocking(true).unwrap();
    let challenge = format!(r#"Bearer realm="http://{}/token",service="x""#, plain.local_addr().unwrap());
    let server = HttpsServer::start(&pki, move |_| {
        Reply::Whole(401, vec![("Www-Authenticate".into(), challenge.clone())], Vec::new())
    });
    let site = Site::with_server(&pki, &server.url());
    site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
    site.pull_secret("harbor", "registry.local:9001", "robot", "secret");
    assert_verdict(&site, &[UNAVAILABLE], "a realm in the clear");
    assert!(server.requests() > 0);
    assert!(plain.accept().is_err(), "somebody connected");
}

#[test]
fn proxies_come_from_the_environment() {
    needs_notary!();
    let plant = Plant::visit();
    // A name that only the proxy can resolve; and this machine itself, for which no proxy is asked.
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

/// An HTTP proxy that opens tunnels: its URL, and the first line of each request it got.
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
