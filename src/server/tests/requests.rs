//! The requests of correct clients.

use super::*;

#[test]
fn many_requests_on_one_connection() {
    let site = Site::start(|_| {});
    let mut client = site.tls();
    for (path, name) in [("/admit", "Admit"), ("/validate?timeout=5s", "Validate"), ("/admit?timeout=1s", "Admit")] {
        let seen = client.ask(post(path, "{}"));
        assert_eq!(seen.status, 200);
        assert!(seen.body.starts_with(&format!("{name} 2 ")), "{seen:?}");
        assert!(seen.head.contains("Content-Type: application/json\r\n"), "{seen:?}");
        assert!(seen.head.contains("Connection: keep-alive\r\n"), "{seen:?}");
        // Neither the relay's secret nor tiny_http's own headers reach the client.
        assert!(!seen.head.to_ascii_lowercase().contains("portreeve") && !seen.head.contains("tiny"), "{seen:?}");
    }
    assert_eq!(client.stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(site.counts(r#"portreeve_connections{listener="tls"} 1"#));
}

#[test]
fn large_bodies_arrive_whole() {
    let site = Site::start(|_| {});
    let mut client = site.tls();
    for size in [0, 1, 1023, 1024, 1025, 16_384, 65_537, 3_000_000] {
        let seen = client.ask(post("/admit", &"x".repeat(size)));
        assert!(seen.status == 200 && seen.body.starts_with(&format!("Admit {size} ")), "{size}: {}", seen.head);
        assert!(seen.body.len() >= size, "the answer is as large");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let site = Site::start(|_| {});
    let mut client = site.tls();
    client.send(format!("{}{}{}", post("/admit", "one"), get("/health/liveness"), post("/validate", "three")));
    assert!(client.answer().body.ends_with(" one"));
    assert_eq!(client.answer().body, "alive\n");
    assert!(client.answer().body.ends_with(" three"));
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let site = Site::start(|_| {});
    let mut client = site.tls();
    for byte in post("/admit", "{}").bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_client_may_close_its_sending_side() {
    let site = Site::start(|_| {});
    let mut client = site.plain();
    client.send(get("/health/liveness"));
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.answer().status, 200);
    assert!(client.is_closed());
    // With TLS there are two layers to close, and a client may close only one.
    for is_polite in [true, false] {
        let mut client = site.tls();
        client.send(post("/admit", "{}"));
        if is_polite {
            client.stream.conn.send_close_notify();
            client.stream.flush().unwrap();
        }
        client.stream.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.answer().status, 200);
        assert!(client.is_closed());
    }
}

#[test]
fn http_1_0_and_connection_close_end_the_connection() {
    let site = Site::start(|_| {});
    for request in [
        "GET /health/liveness HTTP/1.0\r\n\r\n",
        "GET /health/liveness HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let mut client = site.tls();
        let seen = client.ask(request);
        assert!(seen.status == 200 && seen.head.contains("Connection: close\r\n"), "{seen:?}");
        assert!(client.is_closed());
    }
    let mut client = site.plain();
    for _ in 0..2 {
        assert_eq!(client.ask("GET /health/liveness HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").status, 200);
    }
}

#[test]
fn head_is_get_without_the_body() {
    let site = Site::start(|_| {});
    let mut client = site.tls();
    client.send("HEAD /health/liveness HTTP/1.1\r\nHost: x\r\n\r\n");
    let seen = client.read_answer(false);
    assert!(seen.status == 200 && seen.head.contains("Content-Length: 6\r\n"), "{seen:?}");
    assert_eq!(client.ask(get("/health/liveness")).body, "alive\n", "the connection goes on where it should");
}

#[test]
fn expect_continue_is_answered_before_the_body() {
    let site = Site::start(|limits| limits.request_bytes = 100);
    let mut client = site.tls();
    let head =
        |length| format!("POST /admit HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n");
    assert_eq!(client.ask(head(2)).status, 100);
    assert_eq!(client.ask("{}").status, 200);
    assert_eq!(client.ask(head(101)).status, 413, "the body is not even asked for");
}

#[test]
fn paths_methods_and_types() {
    let site = Site::start(|_| {});
    const TLS: [(&str, u16, &str); 9] = [
        ("GET /admit HTTP/1.1\r\nHost: x\r\n\r\n", 405, "Allow: POST\r\n"),
        ("POST /health/readiness HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, "Allow: GET, HEAD\r\n"),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 404, ""),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404, ""),
        ("POST /admit/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404, ""),
        ("POST /admit HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 200, ""),
        (
            "POST /admit HTTP/1.1\r\nHost: x\r\nContent-Type: Application/JSON; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}",
            200,
            "",
        ),
        ("POST /admit HTTP/1.1\r\nHost: x\r\nContent-Type: application/yaml\r\nContent-Length: 2\r\n\r\n{}", 415, ""),
        ("POST /admit HTTP/1.1\r\nHost: x\r\nContent-Type: application/jsonp\r\nContent-Length: 2\r\n\r\n{}", 415, ""),
    ];
    let mut client = site.tls();
    for (request, status, header) in TLS {
        let seen = client.ask(request);
        assert_eq!(seen.status, status, "{request:?}");
        assert!(seen.head.contains(header), "{seen:?}");
        assert!(!seen.body.is_empty());
    }
    let mut client = site.plain();
    for (request, status) in [(post("/admit", "{}"), 404), (post("/metrics", ""), 405), (get("/health/readiness"), 200)]
    {
        assert_eq!(client.ask(&request).status, status, "{request:?}");
    }
    let seen = client.ask(get("/metrics"));
    assert!(seen.head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{seen:?}");
    assert!(seen.body.contains("\nportreeve_workers "));
}

#[test]
fn the_client_s_timeout_becomes_the_deadline() {
    let site = Site::start(|limits| limits.admission_time = Duration::from_secs(7));
    let mut client = site.tls();
    let left = |seen: Seen| seen.body.split(' ').nth(2).unwrap().parse::<u64>().unwrap();
    // Upper bounds are exact. Lower bounds leave room for a busy machine.
    const CASES: [(&str, u64, u64); 4] = [
        ("/admit?timeout=4s", 1_000, 3_600),
        ("/admit?timeout=1h", 20_000, 29_500),
        ("/admit", 4_000, 7_000),
        ("/admit?timeout=nonsense", 4_000, 7_000),
    ];
    for (path, least, most) in CASES {
        let left = left(client.ask(post(path, "{}")));
        assert!((least..=most).contains(&left), "{path}: {left} ms");
    }
    // The time that the request takes to arrive counts.
    let request = post("/admit?timeout=4s", "{}");
    let (some, rest) = request.split_at(20);
    client.send(some);
    thread::sleep(Duration::from_millis(700));
    let left = left(client.ask(rest));
    assert!(left <= 2_900, "{left} ms");
}

#[test]
fn reviews_of_policies_wait_for_each_other_and_for_nobody_else() {
    let site = Site::start(|limits| limits.workers = 1);
    let mut reviews: Vec<_> = (0..3).map(|_| site.tls()).collect();
    for client in &mut reviews {
        client.send(post("/validate-policy", "gate"));
    }
    site.arrived.recv_timeout(PATIENCE).unwrap();
    for _ in 0..3 {
        assert_eq!(site.tls().ask(post("/admit", "{}")).status, 200);
    }
    // Admissions delay no review either.
    for _ in &reviews {
        site.open_gate.send(()).unwrap();
    }
    for client in &mut reviews {
        assert_eq!(client.answer().status, 200);
    }
    let mut working = site.tls();
    working.send(post("/validate", "gate"));
    for _ in 0..3 {
        site.arrived.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(site.tls().ask(post("/validate-policy", "{}")).status, 200);
    site.open_gate.send(()).unwrap();
    assert_eq!(working.answer().status, 200);
}

#[test]
fn who_has_given_up_takes_no_worker_s_time() {
    let site = Site::start(|limits| limits.workers = 1);
    let mut working = site.tls();
    working.send(post("/admit", "gate"));
    site.arrived.recv_timeout(PATIENCE).unwrap();
    let (mut hasty, mut patient) = (site.tls(), site.tls());
    hasty.send(post("/admit?timeout=200ms", "{}"));
    patient.send(post("/admit?timeout=30s", "{}"));
    thread::sleep(Duration::from_millis(400));
    site.open_gate.send(()).unwrap();
    assert_eq!(working.answer().status, 200);
    let seen = hasty.answer();
    assert!(seen.status == 503 && seen.body.contains("no worker was free in time"), "{seen:?}");
    assert_eq!(patient.answer().status, 200);
    assert!(site.counts(r#"portreeve_limit_hits_total{limit="queue_time"} 1"#));
}

#[test]
fn readiness_says_why_not() {
    let site = Site::start(|_| {});
    assert_eq!(site.tls().ask(get("/health/readiness")).status, 200);
    *site.script.ready.lock().unwrap() = Err("no policies are loaded".to_owned());
    let seen = site.plain().ask(get("/health/readiness"));
    assert_eq!((seen.status, seen.body.as_str()), (503, "not ready: no policies are loaded\n"));
    assert_eq!(site.plain().ask(get("/health/liveness")).status, 200);
}

#[test]
fn a_panic_denies_one_request_only() {
    let site = Site::start(|limits| limits.workers = 1);
    let mut client = site.tls();
    for _ in 0..3 {
        assert_eq!(client.ask(post("/admit", "panic")).status, 500);
    }
    assert_eq!(client.ask(post("/admit", "{}")).status, 200);
    assert!(site.counts("portreeve_panics_total 3"));
    assert!(site.counts(r#"portreeve_admissions_total{endpoint="admit",outcome="error"} 3"#));
}

#[test]
fn a_full_queue_is_answered_at_once_and_probes_go_on() {
    let site = Site::start(|limits| (limits.workers, limits.queue) = (1, 1));
    let mut working = site.tls();
    working.send(post("/admit", "gate"));
    site.arrived.recv_timeout(PATIENCE).unwrap();
    // The first of these to arrive fills the queue, and the others are refused.
    let mut extra: Vec<_> = (0..3).map(|_| site.tls()).collect();
    for client in &mut extra {
        client.send(post("/admit", "{}"));
    }
    site.wait_for(r#"portreeve_limit_hits_total{limit="queue"} 2"#);
    assert!(site.counts(r#"portreeve_admissions_in_hand{state="queued"} 1"#));
    assert!(site.counts(r#"portreeve_admissions_in_hand{state="deciding"} 1"#));
    let mut refused = site.tls();
    let seen = refused.ask(post("/admit", &"x".repeat(100_000)));
    assert_eq!(seen.status, 503);
    assert!(seen.body.contains("try again"), "{seen:?}");
    assert_eq!(site.plain().ask(get("/health/liveness")).status, 200);
    assert_eq!(site.tls().ask(get("/health/readiness")).status, 200);
    site.open_gate.send(()).unwrap();
    assert_eq!(working.answer().status, 200);
    let mut statuses: Vec<_> = extra.iter_mut().map(|client| client.answer().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503, 503]);
    site.wait_for(r#"portreeve_admissions_in_hand{state="queued"} 0"#);
    site.wait_for(r#"portreeve_admissions_in_hand{state="deciding"} 0"#);
    assert!(site.counts(r#"portreeve_phase_duration_seconds_count{phase="queue"} 2"#));
}

#[test]
fn a_burst_of_slow_admissions_reaches_all_workers() {
    const BURST: usize = 48;
    let site = Site::start(|limits| limits.workers = BURST);
    let mut clients: Vec<_> = (0..BURST).map(|_| site.tls()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(get("/health/liveness")).status, 200);
    }
    // tiny_http gives two connections to one free thread if they come at the same time. The second would wait for the first.
    let start = &std::sync::Barrier::new(BURST);
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(move || {
                start.wait();
                client.send(post("/admit", "gate"));
            });
        }
    });
    for number in 0..BURST {
        site.arrived.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("only {number} of {BURST} arrived"));
    }
    assert_eq!(site.plain().ask(get("/health/liveness")).status, 200);
    for _ in 0..BURST {
        site.open_gate.send(()).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
}
