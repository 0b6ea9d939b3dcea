//! Attacks on the running webhook: crowds, floods, garbage, files that change under it, and its own sudden death.
//! Through all of them it answers whoever asks decently, holds to its memory, and never says yes by mistake.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::https::{TlsStream, read_response};
use crate::pki::Pki;
use crate::plant::PLC;
use crate::process::{self, wait_until};
use crate::product::{Serving, Site, executable};
use crate::review::{assert_allowed, assert_denied, pod_review, policy_for};
use crate::stage::Stage;
use portreeve_test_support::trust_server::Fault;

/// What all of these tests stand under, in KiB.
const MOST_MEMORY: u64 = 24 << 10;

#[test]
fn admissions_go_on_among_slow_crowds() {
    let stage = Stage::new();
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    assert_allowed(&serving.admit("/admit", &review));
    // Silent from the first byte, silent after half a request, and the same where probes come in.
    let mut crowd = Vec::new();
    for number in 0..200 {
        let port = if number % 4 == 0 { serving.plain_port() } else { serving.port() };
        crowd.push(TcpStream::connect(("127.0.0.1", port)).unwrap());
    }
    let mut halves: Vec<TlsStream> = Vec::new();
    for _ in 0..60 {
        let mut half = serving.connect().unwrap();
        // It may be cut for a later one.
        let _ = half.write_all(b"POST /admit HTTP/1.1\r\nHost: x\r\n").and_then(|()| half.flush());
        halves.push(half);
    }
    for _ in 0..10 {
        assert_allowed(&serving.admit("/admit", &review));
        assert!(serving.is_ready());
    }
    drop((crowd, halves));
    assert_allowed(&serving.admit("/admit", &review));
}

#[test]
fn floods_of_garbage_are_over_when_they_are_over() {
    let stage = Stage::new();
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    let over = AtomicBool::new(false);
    let over = &over;
    let headers = format!("GET /health/liveness HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(3000));
    let bodies = ["", "{", "null", "\u{0}", "[[[[[[[[", "{\"request\":{\"object\":{}}}"].map(str::to_owned);
    // Three bytes a container here, fifty there: as many as fit.
    let crowded =
        pod_review("x").to_string().replace("\"containers\":[", &format!("\"containers\":[{}", "{},".repeat(2 << 20)));
    let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(60_000));
    let mut raw: Vec<Vec<u8>> = vec![
        vec![0; 100],
        vec![0xff; 5000],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [&[0x16, 3, 1, 0x40, 0][..], &[1; 0x4000]].concat(),
        [&[0x16, 3, 1, 0, 4][..], &[1, 0xff, 0xff, 0xff]].concat(),
        [&[0x15, 3, 3, 0, 2, 1, 0].repeat(500)[..], &[0x17, 3, 3, 0, 0]].concat(),
    ];
    raw.push(headers.clone().into_bytes());
    thread::scope(|scope| {
        for garbage in raw {
            let serving = &serving;
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    for port in [serving.port(), serving.plain_port()] {
                        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
                        let _ = stream.write_all(&garbage); // a reset may come first
                        let _ = stream.shutdown(Shutdown::Write);
                        let _ = stream.read(&mut [0; 512]);
                    }
                }
            });
        }
        for body in bodies.iter().chain([&deep, &crowded]) {
            assert_eq!(serving.post("/admit", body).status, 400, "{body:.20}");
        }
        for _ in 0..20 {
            assert_allowed(&serving.admit("/admit", &review));
        }
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(serving.post("/health/liveness", &headers).status, 405);
    assert!(!serving.log().contains("hit a bug"), "{}", serving.log());
    assert_allowed(&serving.admit("/admit", &review));
}

#[test]
fn policies_that_change_all_the_time_are_each_whole() {
    let stage = Stage::new();
    let serving = stage.site.serve();
    let signer = json!({ "name": "alice", "publicKey": stage.repo.signer_public_key_pem("alice") });
    let trust = json!({ "enabled": true, "signers": [signer] });
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Kubelet is never so fast; half a file is never seen, and a broken one changes nothing.
            for number in 0.. {
                match number % 3 {
                    0 => stage.site.policies(&[policy_for("registry.local:9001/*", trust.clone())]),
                    1 => stage.site.policy_text("kind: ["),
                    _ => stage.site.policies(&[policy_for("registry.local:9001/plant/*", trust.clone())]),
                };
                if over.load(Ordering::SeqCst) {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            assert_allowed(&serving.admit("/admit", &pod_review(&format!("{PLC}:v1"))));
            assert_denied(&serving.admit("/admit", &pod_review(&format!("{PLC}:unsigned"))), &["plant/plc:unsigned"]);
            assert_denied(&serving.admit("/admit", &pod_review("elsewhere.local/x:v1")), &["elsewhere.local/x"]);
        }
        over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn after_sudden_death_it_starts_on_the_same_ports() {
    let stage = Stage::new();
    let review = pod_review(&format!("{PLC}:v1"));
    let mut serving = stage.site.serve();
    for _ in 0..3 {
        // A request in hand, and the kernel left to tidy up.
        let mut stream = serving.connect().unwrap();
        stream.write_all(b"POST /admit HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n").unwrap();
        stream.flush().unwrap();
        assert_allowed(&serving.admit("/admit", &review));
        serving.kill();
        serving = stage.site.serve_again(&serving);
        assert_allowed(&serving.admit("/admit", &review));
    }
}

#[test]
fn sigterm_while_it_starts_ends_it() {
    let pki = Pki::new();
    let site = Site::new(&pki);
    // A certificate that is never there to be read: the start takes as long as the test wants.
    let pipe = site.file("pipe", "");
    fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut config = site.config.clone();
    config["tls"]["certificate"] = json!(pipe);
    let config = site.file("starting.yaml", &config.to_string());
    let mut child = executable().args(["serve", "--config"]).arg(config).spawn().unwrap();
    wait_until("SIGTERM to be caught", || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap();
        u64::from_str_radix(caught, 16).unwrap() & 1 << (15 - 1) != 0
    });
    process::signal(&child, "TERM");
    let ended = process::wait(&mut child, Duration::from_secs(20));
    if ended.is_none() {
        child.kill().unwrap();
    }
    assert_eq!(ended, Some(Some(0)));
}

#[test]
fn busy_connections_stay_within_their_memory() {
    let stage = Stage::new();
    let serving = stage.site.serve();
    // All of the TLS listener's connections, each with a question that nobody answers; and the others probing.
    stage.server.misbehave("plant/unseen", Fault::Stall);
    let mut busy: Vec<TlsStream> = (0..112).map(|_| serving.connect().unwrap()).collect();
    for (number, stream) in busy.iter_mut().enumerate() {
        let body = pod_review(&format!("registry.local:9001/plant/unseen-{number}:v1")).to_string();
        let head = format!("POST /admit?timeout=5s HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).and_then(|()| stream.flush()).unwrap();
    }
    let mut probes: Vec<TcpStream> =
        (0..15).map(|_| TcpStream::connect(("127.0.0.1", serving.plain_port())).unwrap()).collect();
    for probe in &mut probes {
        probe.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(read_response(probe).unwrap().status, 200);
    }
    let memory = memory(&serving);
    for stream in &mut busy {
        assert_denied(&read_response(stream).expect("an answer in time").json(), &["unseen"]);
    }
    // A debug build's code is paged in as well, which is none of the connections' doing.
    assert!(memory < MOST_MEMORY, "{memory} KiB of its own are resident");
}

/// Resident memory that is not backed by files, in KiB.
fn memory(serving: &Serving) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", serving.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
