//! Nobody is held up by somebody else: a trust server that is slow, silent or lying costs only those images time that
//! need it. Each test prints its figures.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::plant::PLC;
use crate::product::Serving;
use crate::review::{assert_allowed, pod_review, policy_for};
use crate::stage::Stage;
use portreeve_test_support::signer::Signer;
use portreeve_test_support::trust_server::{Fault, TrustServer};

/// How long each of some unrelated images takes while others wait for a trust server: one whose policy asks for
/// nothing, and one of another server. Returns the slowest of each, and how many were not admitted.
fn unrelated(serving: &Serving) -> (Duration, Duration, usize) {
    let ask = |image: &str| {
        let (mut slowest, mut lost) = (Duration::ZERO, 0);
        for _ in 0..8 {
            let begin = Instant::now();
            let answer = serving.admit("/admit?timeout=10s", &pod_review(image));
            slowest = slowest.max(begin.elapsed());
            lost += usize::from(answer["response"]["allowed"] != true);
            thread::sleep(Duration::from_millis(50));
        }
        (slowest, lost)
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| ask("registry.local:9001/plant/plc:v1"));
        let (nothing, lost) = ask("unchecked.local/x:v1");
        let (other, also_lost) = other.join().unwrap();
        (nothing, other, lost + also_lost)
    })
}

/// Another trust server with a number of signed repositories, known to the site as that of `host`.
fn add_server(stage: &mut Stage, host: &str, repositories: usize) -> TrustServer {
    let server = TrustServer::start();
    for number in 0..repositories {
        let gun = format!("{host}/plant/x{number}");
        server.publish(&Signer::new(&gun).release("v1", [7; 32], 1234, &[]).publish());
    }
    stage.site.config["trust"]["servers"][host] = json!(server.url());
    let mut bundle = fs::read_to_string(stage.site.config["trust"]["ca"].as_str().unwrap()).unwrap();
    bundle.push_str(server.ca_pem());
    stage.site.config["trust"]["ca"] = json!(stage.site.file("all-cas.pem", &bundle));
    server
}

#[test]
fn an_image_that_does_not_need_a_server_does_not_wait_for_it() {
    let mut stage = Stage::new();
    let slow = [add_server(&mut stage, "slow.local", 24), add_server(&mut stage, "slower.local", 24)];
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    stage.site.config["trust"]["servers"]["silent.local"] = json!(format!("https://{}", silent.local_addr().unwrap()));
    // The neighbour's image needs its server each time.
    stage.site.config["trust"]["refreshAfter"] = json!("0s");
    let checked = json!({ "trust": { "enabled": true } });
    let mut policy = policy_for("registry.local:9001/*", json!({ "enabled": true }));
    policy["spec"]["repositories"] = json!([
        { "name": "registry.local:9001/*", "policy": checked },
        { "name": "slow.local/*", "policy": checked },
        { "name": "slower.local/*", "policy": checked },
        { "name": "silent.local/*", "policy": checked },
        { "name": "unchecked.local/*", "policy": {} },
    ]);
    stage.site.policies(&[policy]);
    let delay = Fault::Delay(Duration::from_millis(1500));
    let cases: [(&str, &[&str], Option<Fault>); 5] = [
        ("24 images of a server that answers after 1.5 s", &["slow.local"], Some(delay)),
        ("24 images each of two such servers", &["slow.local", "slower.local"], Some(delay)),
        ("24 images of a server that lies", &["slow.local"], Some(Fault::Body("{\"signed\":{},\"signatures\":[]}"))),
        ("24 images of a server that never answers", &["silent.local"], None),
        ("24 images each of a slow one and a silent one", &["slow.local", "silent.local"], Some(delay)),
    ];
    let mut late = Vec::new();
    for (what, hosts, fault) in cases {
        for server in &slow {
            server.behave();
            fault.into_iter().for_each(|fault| server.misbehave("_trust", fault));
        }
        let serving = stage.site.serve();
        assert_allowed(&serving.admit("/admit", &pod_review(&format!("{PLC}:v1"))));
        let mut crowd = Vec::new();
        for host in hosts {
            for number in 0..24 {
                let body = pod_review(&format!("{host}/plant/x{number}:v1")).to_string();
                let mut stream = serving.connect().unwrap();
                let head =
                    format!("POST /admit?timeout=10s HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).and_then(|()| stream.flush()).unwrap();
                crowd.push(stream);
            }
        }
        thread::sleep(Duration::from_millis(200));
        let (nothing, other, lost) = unrelated(&serving);
        eprintln!(
            "{what}: an image that needs no server waits {nothing:?} at most, one of another server {other:?}; {lost} lost"
        );
        // The tests' own machine may be busy; without care this was nine seconds.
        if lost > 0 || nothing.max(other) > Duration::from_millis(700) {
            late.push(what);
        }
        drop(crowd);
    }
    assert!(late.is_empty(), "{late:?}");
}

#[test]
fn a_rollout_of_one_repository_is_admitted_whole_though_its_server_is_slow() {
    let mut stage = Stage::new();
    let server = add_server(&mut stage, "slow.local", 1);
    stage.site.policies(&[policy_for("slow.local/*", json!({ "enabled": true }))]);
    server.misbehave("_trust", Fault::Delay(Duration::from_millis(300)));
    let serving = stage.site.serve();
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| assert_allowed(&serving.admit("/admit?timeout=10s", &pod_review("slow.local/plant/x0:v1"))));
        }
    });
    eprintln!("60 pods of one repository were admitted within {:?}", begin.elapsed());
}
