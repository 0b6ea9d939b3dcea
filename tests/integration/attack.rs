//! Attacks on the running webhook: many connections, floods, garbage, files that change while they are read, SIGKILL.
//! During each of them the webhook answers well-behaved clients, keeps to its memory, and admits nothing that is not
//! signed.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read as _, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::json;

use crate::https::{TlsStream, connect_tls, read_response, send_review};
use crate::pki::Pki;
use crate::plant::PLC;
use crate::process::{self, wait_patiently, wait_until};
use crate::product::{Serving, Site, executable};
use crate::review::{assert_allowed, assert_denied, pod_review, policy_for};
use crate::stage::Stage;
use portreeve_test_support::trust_server::Fault;

/// The most memory in all tests but one, in KiB.
const MOST_MEMORY: u64 = 24 << 10;

/// The most memory while every connection waits for a trust server, in KiB. Each has a thread then, and stacks are
/// deeper in a debug build.
const MOST_MEMORY_WAITING: u64 = 28 << 10;

/// The number of slow clients, and the pause between two of them. At 112 a second all connections would be too young to
/// be closed, and the gateway could not tell a slow client from a good one.
const CROWD: usize = 1000;
const PACE: Duration = Duration::from_millis(8);

#[test]
fn admissions_go_on_among_a_thousand_slow_connections() {
    let stage = Stage::new();
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    assert_allowed(&serving.admit("/admit", &review));
    let mut kept = serving.connect().unwrap();
    let over = AtomicBool::new(false);
    let watch = MemoryWatch::start(&serving);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut crowd: VecDeque<Box<dyn Write>> = VecDeque::new();
            for number in 0..CROWD {
                thread::sleep(PACE);
                // A silent client, a silent client of the plain port, and two that send half a request and then single
                // bytes.
                let client: Box<dyn Write> = match number % 4 {
                    0 => Box::new(TcpStream::connect(("127.0.0.1", serving.port())).unwrap()),
                    1 => Box::new(TcpStream::connect(("127.0.0.1", serving.plain_port())).unwrap()),
                    _ => Box::new(serving.connect().unwrap()),
                };
                crowd.push_back(client);
                for (age, client) in crowd.iter_mut().rev().enumerate().take(40) {
                    let bytes: &[u8] = if age == 0 { b"POST /admit HTTP/1.1\r\nX: " } else { b"y" };
                    // The gateway may have closed it for a newer one.
                    if number % 4 > 1 {
                        let _ = client.write_all(bytes).and_then(|()| client.flush());
                    }
                }
                // More than the gateway accepts, fewer than this process may have descriptors.
                if crowd.len() > 400 {
                    crowd.pop_front();
                }
            }
            over.store(true, Ordering::SeqCst);
        });
        let mut answered = 0;
        while !over.load(Ordering::SeqCst) {
            let begin = Instant::now();
            // kube-apiserver uses a kept connection or a new one.
            send_review(&mut kept, "/admit?timeout=10s", &review).unwrap();
            assert_allowed(&read_response(&mut kept).expect("an answer").json());
            assert_allowed(&serving.admit("/admit?timeout=10s", &review));
            assert!(serving.is_ready());
            assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
            answered += 1;
            thread::sleep(Duration::from_millis(50));
        }
        assert!(answered > 0);
    });
    // Most of them are closed: for newcomers on a fast machine, else by a time limit. Some leave by themselves.
    let cut = || {
        ["connections", "handshake_time", "head_time", "request_time", "idle_time"]
            .map(|limit| {
                serving.metric(&format!("portreeve_limit_hits_total{{limit=\"{limit}\"}}")).unwrap_or_default()
            })
            .iter()
            .sum::<u64>()
    };
    assert!(cut() > 100, "{}", cut());
    watch.stayed_under(MOST_MEMORY);
}

/// The admissions of a burst, each on a connection of its own.
const BURST: usize = 1000;

#[test]
fn a_burst_of_a_thousand_admissions_is_answered_whole() {
    raise_descriptor_limit();
    let stage = Stage::new();
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    assert_allowed(&serving.admit("/admit", &review));
    let mut kept = serving.connect().unwrap();
    let watch = MemoryWatch::start(&serving);
    let (at_once, open, over) = (Barrier::new(BURST), AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        // A thousand handshakes do not hold up a client that is connected.
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let begin = Instant::now();
                send_review(&mut kept, "/admit?timeout=30s", &review).unwrap();
                assert_allowed(&read_response(&mut kept).expect("an answer").json());
                assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
            }
        });
        let ask = || {
            at_once.wait();
            let mut stream = serving.connect().expect("a connection");
            send_review(&mut stream, "/admit?timeout=30s", &review).expect("a request is taken");
            let response = read_response(&mut stream).expect("an answer");
            assert_allowed(&response.json());
            // No connection was closed for another one, and now they are all open.
            open.fetch_add(1, Ordering::SeqCst);
            wait_patiently("all connections to be open", || open.load(Ordering::SeqCst) == BURST);
            send_review(&mut stream, "/admit?timeout=30s", &review).expect("a second request is taken");
            assert_allowed(&read_response(&mut stream).expect("a second answer").json());
        };
        let clients: Vec<_> = (0..BURST)
            .map(|_| thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, ask).unwrap())
            .collect();
        let answered: Vec<_> = clients.into_iter().map(|client| client.join().is_ok()).collect();
        over.store(true, Ordering::SeqCst);
        assert_eq!(answered.iter().filter(|answered| **answered).count(), BURST);
    });
    for limit in ["connections", "queue", "queue_time", "handshake_time", "request_time", "answer_time"] {
        let hits = serving.metric(&format!("portreeve_limit_hits_total{{limit=\"{limit}\"}}")).unwrap_or_default();
        assert_eq!(hits, 0, "{limit}");
    }
    watch.stayed_under(MOST_MEMORY);
}

/// Each client of a burst takes a descriptor of this process.
fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
}

#[test]
fn floods_of_garbage_are_over_when_they_are_over() {
    let stage = Stage::new();
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    let over = AtomicBool::new(false);
    let over = &over;
    let headers = format!("GET /health/liveness HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(3000));
    let bodies = [
        "",
        "{",
        "null",
        "\u{0}",
        "[[[[[[[[",
        "{\"request\":{\"object\":{}}}",
        "\u{feff}{}",
        "NaN",
        "a=b&c=d",
        "---\nkind: AdmissionReview\n",
        "\u{1f}\u{8b}\u{8}",
        "{\"kind\":\"AdmissionReview\",\"kind\":\"AdmissionReview\"}",
    ]
    .map(str::to_owned);
    // Each `{},` is three bytes on the wire and about fifty in memory.
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
        for _ in 0..2 {
            // Handshakes without a request: each costs the webhook a signature.
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let _ = serving.connect().and_then(|mut stream| stream.flush());
                }
            });
        }
        for garbage in raw {
            let serving = &serving;
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    for port in [serving.port(), serving.plain_port()] {
                        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
                        let _ = stream.write_all(&garbage); // the webhook may have closed the connection
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
            // Far more often than kubelet. A half-written file is never read, and a file with a mistake changes
            // nothing.
            for number in 0.. {
                match number % 3 {
                    0 => stage.site.policies(&[policy_for("registry.local:9001/*", trust.clone())]),
                    1 => stage.site.policy_text("kind: ["),
                    _ => stage.site.policies(&[policy_for("registry.local:9001/plant/*", trust.clone())]),
                };
                if over.load(Ordering::SeqCst) {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
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
fn after_sudden_death_under_load_it_starts_on_the_same_ports_and_remembers() {
    let mut stage = Stage::new();
    stage.site.config["trust"]["refreshAfter"] = json!("0s");
    stage.site.config["trust"]["whenUnavailable"] = json!("useCached");
    stage.site.config["trust"]["maxStale"] = json!("24h");
    let (review, unsigned) = (pod_review(&format!("{PLC}:v1")), pod_review(&format!("{PLC}:unsigned")));
    let mut serving = stage.site.serve();
    let (port, over, answers) = (serving.port(), AtomicBool::new(false), AtomicUsize::new(0));
    let pki = Arc::clone(serving.pki());
    thread::scope(|scope| {
        for number in 0..4 {
            let (review, allowed) = if number % 2 == 0 { (&review, true) } else { (&unsigned, false) };
            let (pki, over, answers) = (&pki, &over, &answers);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    // A killed webhook answers nothing. Every response that does come is right.
                    let Ok(mut stream) = connect_tls(pki, port) else { continue };
                    if send_review(&mut stream, "/admit", review).is_err() {
                        continue;
                    }
                    let Some(answer) = read_response(&mut stream) else { continue };
                    assert_eq!(answer.json()["response"]["allowed"], allowed, "{answer:?}");
                    answers.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..4 {
            let before = answers.load(Ordering::SeqCst);
            wait_until("some answers", || answers.load(Ordering::SeqCst) >= before + 8);
            serving.kill();
            serving = stage.site.serve_again(&serving);
        }
        over.store(true, Ordering::SeqCst);
    });
    // The trust data that it verified is stored a moment after the answer, and complete whenever SIGKILL comes.
    let cache = fs::read_dir(stage.site.config["trust"]["cache"].as_str().unwrap()).unwrap();
    let indexes: Vec<_> = cache.map(|entry| entry.unwrap().path().join("state.json")).collect();
    wait_until("the trust data to be stored", || indexes.iter().all(|index| index.exists()));
    serving.kill();
    stage.server.stop();
    serving = stage.site.serve_again(&serving);
    assert_allowed(&serving.admit("/admit", &review));
    assert_denied(&serving.admit("/admit", &unsigned), &["plant/plc:unsigned"]);
}

#[test]
fn sigterm_while_it_starts_ends_it() {
    let pki = Pki::new();
    let site = Site::new(&pki);
    // So many policies that reading them takes longer than sending the signal.
    let trust = json!({ "enabled": true, "trustServer": "https://notary.local" });
    let mut policy = policy_for("registry.local:9001/*", trust.clone());
    let teams =
        (0..8_000).map(|team| json!({ "name": format!("registry.local:9001/{team}/*"), "policy": { "trust": trust } }));
    policy["spec"]["repositories"] = teams.collect();
    site.policies(&[policy]);
    let mut config = site.config.clone();
    for listener in ["listen", "metricsListen"] {
        config[listener] = json!(format!("127.0.0.1:{}", process::free_port()));
    }
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
    // Every connection of the TLS listener waits for a trust server that does not answer. The plain listener answers
    // probes.
    stage.server.misbehave("plant/unseen", Fault::Stall);
    let mut busy: Vec<TlsStream> = (0..112).map(|_| serving.connect().unwrap()).collect();
    for (number, stream) in busy.iter_mut().enumerate() {
        let review = pod_review(&format!("registry.local:9001/plant/unseen-{number}:v1"));
        send_review(stream, "/admit?timeout=5s", &review).unwrap();
    }
    let mut probes: Vec<TcpStream> =
        (0..15).map(|_| TcpStream::connect(("127.0.0.1", serving.plain_port())).unwrap()).collect();
    for probe in &mut probes {
        probe.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(read_response(probe).unwrap().status, 200);
    }
    let memory = memory(serving.id());
    for stream in &mut busy {
        assert_denied(&read_response(stream).expect("an answer in time").json(), &["unseen"]);
    }
    // The code of a debug build is resident too, and is not counted.
    eprintln!("{memory} KiB, {} threads", fs::read_dir(format!("/proc/{}/task", serving.id())).unwrap().count());
    assert!(memory < MOST_MEMORY_WAITING, "{memory} KiB of its own are resident");
}

/// The memory limit of the pod (`manifests/base/deployment.yaml`), in KiB.
const POD_MEMORY: u64 = 128 << 10;

#[test]
fn what_would_cost_us_far_more_than_its_sender_is_refused() {
    const LARGE: usize = (8 << 20) - 1000;
    let stage = Stage::new();
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    assert_allowed(&serving.admit("/admit", &review));
    let text = review.to_string();
    let pods = |object: &str, with: String| text.replacen(object, &with, 1);
    // A string in place of an object is quoted in the error, and each of these characters is escaped to six.
    let quoted = pods("\"spec\":{", format!("\"spec\":\"{}\",\"x\":{{", "\u{7f}".repeat(LARGE)));
    // The response repeats the uid.
    let echoed = pods("\"uid\":\"", format!("\"uid\":\"{}", "u".repeat(LARGE)));
    // One megabyte of text becomes a map of ten.
    let annotations: String = (0..99_000).map(|number| format!("\"{number}\":\"\",")).collect();
    let mapped = pods("\"metadata\":{", format!("\"metadata\":{{\"annotations\":{{{annotations}\"z\":\"\"}},"));
    // Aliases repeat a value a few thousand times in each of a thousand keys.
    let aliases = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c]\n";
    let mut bomb = review.clone();
    bomb["request"]["kind"] = json!({ "group": "", "version": "v1", "kind": "ConfigMap" });
    bomb["request"]["name"] = json!("portreeve-policies");
    let keys: BTreeMap<String, &str> = (0..1000).map(|number| (format!("p{number}.yaml"), aliases)).collect();
    bomb["request"]["object"] = json!({ "data": keys });
    let cases = [
        ("/admit", quoted, &[400, 503][..]),
        ("/admit", echoed, &[400, 503]),
        ("/admit", mapped, &[200]),
        ("/validate-policy", bomb.to_string(), &[200]),
    ];
    let watch = MemoryWatch::start(&serving);
    for (path, body, statuses) in &cases {
        thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    let seen = serving.post(path, body);
                    assert!(statuses.contains(&seen.status), "{path} {:.60}: {seen:?}", body);
                });
            }
            // Other clients are answered meanwhile.
            let begin = Instant::now();
            assert_allowed(&serving.admit("/admit?timeout=10s", &review));
            assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        });
    }
    watch.stayed_under(POD_MEMORY);
    assert_eq!(serving.metric("portreeve_panics_total"), Some(0));
}

/// Resident memory that is not backed by files, in KiB.
fn memory(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0 kB");
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Samples the anonymous memory of a webhook. The kernel's own maximum (`VmHWM`) includes the code, which is most of it
/// in a debug build.
struct MemoryWatch {
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl MemoryWatch {
    fn start(serving: &Serving) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (stop, id) = (Arc::clone(&over), serving.id());
        let thread = thread::spawn(move || {
            let mut most = 0;
            while !stop.load(Ordering::SeqCst) {
                most = most.max(memory(id));
                thread::sleep(Duration::from_millis(2));
            }
            most
        });
        Self { over, thread }
    }

    #[track_caller]
    fn stayed_under(self, limit: u64) {
        self.over.store(true, Ordering::SeqCst);
        let most = self.thread.join().unwrap();
        eprintln!("{most} KiB of its own at most");
        assert!((1..limit).contains(&most), "{most} KiB of its own were resident");
    }
}
