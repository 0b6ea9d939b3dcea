//! Requests that two parsers could read differently, and TLS that demands more than it should. Each ends its own
//! connection, and the request that is hidden in it is never processed.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::https::read_response;
use crate::notary::available;
use crate::plant::PLC;
use crate::process;
use crate::product::Serving;
use crate::review::{assert_allowed, pod_review};
use crate::stage::Stage;

/// The number of admissions that were answered.
fn admissions(serving: &Serving) -> u64 {
    ["allowed", "denied", "error"]
        .iter()
        .filter_map(|outcome| {
            serving.metric(&format!("portreeve_admissions_total{{endpoint=\"admit\",outcome=\"{outcome}\"}}"))
        })
        .sum()
}

#[test]
fn what_is_hidden_in_a_request_is_never_seen() {
    let stage = Stage::new();
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1")).to_string();
    let hidden = format!("POST /admit HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{review}", review.len());
    let length = hidden.len();
    // The head in place of the real one, and the statuses that may answer it. No status: it is not HTTP.
    let shapes: [(String, &[u16]); 24] = [
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), &[400]),
        (format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n"), &[400]),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), &[411]),
        ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".into(), &[411]),
        ("Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n".into(), &[411]),
        ("transfer-encoding:\tchunked\r\nTransfer-Encoding: identity\r\n\r\n".into(), &[411]),
        ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".into(), &[400]),
        (" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), &[400]),
        ("X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), &[400]),
        ("X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), &[400]),
        ("X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), &[400]),
        ("X\u{0}: y\r\nContent-Length: 0\r\n\r\n".into(), &[400]),
        (format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n"), &[400]),
        (format!("Content-Length: {length}\r\ncontent-length: 0\r\n\r\n"), &[400]),
        (format!("Content-Length: 0, {length}\r\n\r\n"), &[400]),
        ("Content-Length: +0\r\n\r\n".into(), &[400]),
        ("Content-Length: 0x0\r\n\r\n".into(), &[400]),
        ("Content-Length: 0 0\r\n\r\n".into(), &[400]),
        ("Content-Length: 0\u{b}\r\n\r\n".into(), &[400]),
        ("Content-Length:\r\n\r\n".into(), &[400]),
        ("Content-Length: 0\n\r\n".into(), &[400]),
        ("Content-Length: 0\r\n\n".into(), &[400]),
        ("Content-Length: 0\r\nHost: y\r\n\r\n".into(), &[400]),
        ("Content-Length: 0\r\nExpect: 100-continue, chunked\r\n\r\n".into(), &[417]),
    ];
    let lines = [
        ("GET /health/liveness\r\n", &[400][..]), // HTTP/0.9
        ("GET https://localhost/health/liveness HTTP/1.1\r\nHost: x\r\n\r\n", &[400]),
        ("GET //localhost\\@x/health/liveness HTTP/1.1\nHost: x\r\n\r\n", &[400]),
        ("GET /health/liveness HTTP/1.1 \r\nHost: x\r\n\r\n", &[400]),
        ("GET /health/ liveness HTTP/1.1\r\nHost: x\r\n\r\n", &[400, 505]),
        ("GET /health/liveness HTTP/1.2\r\nHost: x\r\n\r\n", &[400, 505]),
        ("GET /health/liveness HTTP/3\r\nHost: x\r\n\r\n", &[400, 505]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 505]),
        ("get /health/liveness HTTP/1.1\r\nHost: x\r\n\r\n", &[400]),
        ("\r\n\r\nGET /health/liveness HTTP/1.1\r\nHost: x\r\n\r\n", &[400]),
        ("GET /health/liveness HTTP/1.1\r\n\r\n", &[400]),
    ];
    let heads =
        shapes.into_iter().map(|(rest, statuses)| (format!("POST /admit HTTP/1.1\r\nHost: x\r\n{rest}"), statuses));
    let before = admissions(&serving);
    for (head, statuses) in heads.chain(lines.map(|(line, statuses)| (line.to_owned(), statuses))) {
        let mut stream = serving.connect().unwrap();
        // The connection may be closed before the end.
        let _ = stream.write_all(format!("{head}{hidden}").as_bytes()).and_then(|()| stream.flush());
        let answer = read_response(&mut stream).unwrap_or_else(|| panic!("no answer to {head:?}"));
        assert!(statuses.contains(&answer.status), "{} to {head:?}", answer.status);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest); // the connection may be reset
        assert!(rest.is_empty(), "{head:?} got a second answer: {}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(admissions(&serving), before, "a hidden request was answered");

    // Two requests in one write are two requests, also with HTTP/1.0 if it keeps the connection.
    let mut stream = serving.connect().unwrap();
    let kept = hidden.replace("HTTP/1.1\r\n", "HTTP/1.0\r\nConnection: keep-alive\r\n");
    stream.write_all(format!("{kept}{hidden}").as_bytes()).and_then(|()| stream.flush()).unwrap();
    for _ in 0..2 {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        assert_allowed(&serde_json::from_slice(&body).unwrap());
    }
    assert_eq!(admissions(&serving), before + 2);
}

#[test]
fn renegotiation_is_refused() {
    if !available() {
        return;
    }
    let stage = Stage::new();
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    // A line with `R` alone makes `openssl s_client` ask for a new handshake (TLS 1.2).
    let mut clients: Vec<_> = (0..8)
        .map(|_| {
            Command::new("/usr/bin/openssl")
                .args(["s_client", "-tls1_2", "-legacy_renegotiation", "-connect"])
                .arg(format!("127.0.0.1:{}", serving.port()))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    thread::sleep(Duration::from_millis(500));
    for client in &mut clients {
        let mut stdin = client.stdin.take().unwrap();
        thread::spawn(move || {
            for _ in 0..20 {
                if stdin.write_all(b"R\n").and_then(|()| stdin.flush()).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
            let _ = stdin.write_all(b"GET /health/liveness HTTP/1.1\nHost: x\n\n");
        });
    }
    for _ in 0..5 {
        assert_allowed(&serving.admit("/admit", &review));
    }
    for mut client in clients {
        let ended = process::wait(&mut client, Duration::from_secs(20));
        let _ = client.kill(); // it may have ended
        let output = client.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("RENEGOTIATING"), "{said}");
        assert!(ended.is_some(), "the connection is still there:\n{said}");
        assert!(!said.contains("alive\n"), "{said}");
    }
    assert_eq!(serving.metric("portreeve_panics_total"), Some(0));
}
