//! Attackers, and clients with bugs. Deadlines are short here. Lower bounds are never asserted. Upper bounds are far above
//! the deadlines that are set, and far below what the attack would take without them.

use super::*;

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_slow_handshake_is_cut_however_it_drips() {
    let site = Site::start(|limits| limits.handshake_time = SHORT);
    let mut silent = TcpStream::connect(site.address).unwrap();
    let mut dripping = TcpStream::connect(site.address).unwrap();
    let since = Instant::now();
    // The beginning of a plausible ClientHello of 512 bytes, one byte every 20 ms: without a deadline it takes ten seconds.
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc][..], &[0; 503]].concat();
    for byte in hello {
        if dripping.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(silent.read(&mut [0; 1]), Ok(0) | Err(_)));
    site.wait_for(r#"portreeve_limit_hits_total{limit="handshake_time"} 2"#);
    site.wait_for(r#"portreeve_connections{listener="tls"} 0"#);
    assert_eq!(site.tls().ask(get("/health/liveness")).status, 200);
}

#[test]
fn slow_heads_and_bodies_are_cut_however_they_drip() {
    let head = "POST /admit HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    type Shorten = fn(&mut Limits);
    let shorten_head: Shorten = |limits| limits.head_time = SHORT;
    let shorten_all: Shorten = |limits| limits.request_time = SHORT;
    let cases = [
        ("G", shorten_head, "head_time"),
        ("G", shorten_all, "request_time"),
        (head, shorten_all, "request_time"),
        // A large body may take longer than a head.
        (head, |limits: &mut Limits| (limits.head_time, limits.request_time) = (SHORT / 10, SHORT), "request_time"),
    ];
    for (at_once, shorten, name) in cases {
        let site = Site::start(shorten);
        let limit = format!("limit=\"{name}\"");
        let mut client = site.tls();
        client.send(at_once);
        let since = Instant::now();
        for _ in 0..500 {
            let dripped = client.stream.write_all(b"E").and_then(|()| client.stream.flush());
            if dripped.is_err() || site.metrics.render().contains(&limit) {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(client.answer().status, 408, "{name}");
        assert!(client.is_closed(), "{name}");
        assert!(since.elapsed() < Duration::from_secs(6), "{name}: {:?}", since.elapsed());
        assert!(site.counts(&format!("portreeve_limit_hits_total{{{limit}}} 1")), "{}", site.metrics.render());
    }
}

#[test]
fn idle_connections_are_closed() {
    let site = Site::start(|limits| limits.idle_time = SHORT);
    let mut client = site.tls();
    assert_eq!(client.ask(get("/health/liveness")).status, 200);
    assert!(client.is_closed());
    let mut client = site.plain();
    assert!(client.is_closed());
    site.wait_for(r#"portreeve_limit_hits_total{limit="idle_time"} 2"#);
}

#[test]
fn who_connects_and_sends_nothing_is_closed_sooner() {
    let site = Site::start(|limits| (limits.idle_time, limits.request_time) = (PATIENCE * 10, SHORT));
    let mut served = site.tls();
    assert_eq!(served.ask(get("/health/liveness")).status, 200);
    let mut silent = site.tls();
    silent.stream.conn.complete_io(&mut silent.stream.sock).unwrap();
    assert!(silent.is_closed());
    assert_eq!(served.ask(get("/health/liveness")).status, 200, "a connection that has sent a request may wait longer");
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let site = Site::start(|limits| {
        (limits.answer_time, limits.request_bytes, limits.body_memory) = (SHORT, 16 << 20, 32 << 20);
    });
    let mut client = site.tls();
    // The echoed response is larger than the buffers of the sockets.
    client.send(post("/admit", &"x".repeat(15 << 20)));
    site.wait_for(r#"portreeve_limit_hits_total{limit="answer_time"} 1"#);
    site.wait_for(r#"portreeve_connections{listener="tls"} 0"#);
}

#[test]
fn answers_that_are_not_read_take_of_the_same_memory() {
    let site = Site::start(|limits| {
        (limits.answer_time, limits.request_bytes, limits.body_memory) = (PATIENCE, 16 << 20, 16 << 20);
    });
    let large = post("/admit", &"x".repeat(15 << 20));
    let mut lazy = site.tls();
    // The echoed response is larger than the buffers of the sockets. The server waits, but not for ever.
    lazy.send(&large);
    wait_until("the answer to be begun", || lazy.stream.sock.peek(&mut [0; 1]).is_ok());
    let seen = site.tls().ask(&large);
    assert!(seen.status == 503 && seen.body.contains("limits.bodyMemory"), "{seen:?}");
    assert_eq!(site.tls().ask(post("/admit", "{}")).status, 200);
    assert_eq!(lazy.answer().status, 200);
    wait_until("the memory to be given back", || site.tls().ask(&large).status == 200);
}

#[test]
fn an_answer_larger_than_its_request_needs_its_own_memory() {
    let site = Site::start(|limits| limits.body_memory = 100_000);
    assert_eq!(site.tls().ask(post("/admit", "long 160000")).status, 200);
    assert_eq!(site.tls().ask(post("/admit", "long 170000")).status, 503);
    site.wait_for(r#"portreeve_limit_hits_total{limit="body_memory"} 1"#);
}

#[test]
fn what_is_too_large_is_told_so() {
    let site = Site::start(|limits| (limits.head_bytes, limits.request_bytes) = (1024, 100_000));
    let mut client = site.tls();
    assert_eq!(client.ask(post("/admit", &"x".repeat(100_000))).status, 200);
    // The whole body is sent before the response is read, as kube-apiserver does it.
    let seen = client.ask(post("/admit", &"x".repeat(100_001)));
    assert_eq!(seen.status, 413);
    assert!(seen.body.contains("100000 bytes"), "{seen:?}");
    assert!(client.is_closed());
    let seen = site.tls().ask(format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(2000)));
    assert_eq!(seen.status, 431);
    let seen = site.tls().ask("POST /admit HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\n");
    assert_eq!(seen.status, 413);
    assert_eq!(
        site.plain().ask(post("/metrics", &"x".repeat(5000))).status,
        413,
        "no path of the plain listener takes a body"
    );
    site.wait_for(r#"portreeve_limit_hits_total{limit="request_bytes"} 3"#);
    site.wait_for(r#"portreeve_limit_hits_total{limit="head_bytes"} 1"#);
}

#[test]
fn large_bodies_share_their_memory() {
    let site = Site::start(|limits| limits.body_memory = 200_000);
    let mut hoarder = site.tls();
    let request = post("/admit", &"x".repeat(250_000));
    let (most, rest) = request.split_at(request.len() - 1);
    hoarder.send(most);
    // Once the bytes of the first client have arrived, the budget is used up for a second one. A small body needs none.
    wait_until("the second is refused", || site.tls().ask(&request).status == 503);
    assert_eq!(site.tls().ask(post("/admit", &"x".repeat(60_000))).status, 200);
    assert_eq!(hoarder.ask(rest).status, 200);
    wait_until("the memory is given back", || site.tls().ask(&request).status == 200);
}

#[test]
fn ambiguous_requests_never_get_through() {
    let site = Site::start(|_| {});
    const CASES: [(&str, u16); 6] = [
        ("POST /admit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411),
        ("POST /admit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", 400),
        ("POST /admit HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", 400),
        ("GET /health/liveness HTTP/1.1\nHost: x\r\n\r\n", 400),
        ("GET https://localhost/admit HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("\u{0}\u{1}\u{2}", 400),
    ];
    for (request, status) in CASES {
        let mut client = site.tls();
        let seen = client.ask(request);
        assert_eq!(seen.status, status, "{request:?}");
        assert!(seen.head.contains("Connection: close\r\n"));
        assert!(client.is_closed(), "{request:?}: where the next request begins is unknown");
    }
    assert!(site.counts(r#"portreeve_admissions_total{endpoint="admit",outcome="error"} 0"#));
}

#[test]
fn garbage_and_plain_http_on_the_tls_port_are_closed() {
    let site = Site::start(|_| {});
    for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 4096], &[0; 1]] {
        let mut stream = TcpStream::connect(site.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A reset may come before everything is written.
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    site.wait_for(r#"portreeve_connections{listener="tls"} 0"#);
    assert_eq!(site.tls().ask(get("/health/liveness")).status, 200);
}

#[test]
fn past_the_cap_who_waits_longest_makes_room() {
    let site = Site::start(|limits| limits.connections = 8);
    // The TLS listener has seven places, and three more: seven connections have sent a request, one is in its handshake, one
    // is sending, and one is being answered.
    let mut served: Vec<_> = (0..7).map(|_| site.tls()).collect();
    for client in served.iter_mut().rev() {
        assert_eq!(client.ask(get("/health/liveness")).status, 200);
    }
    let mut silent = TcpStream::connect(site.address).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    site.wait_for(r#"portreeve_connections{listener="tls"} 8"#);
    let mut sending = site.tls();
    sending.send("POST /admit HTTP/1.1\r\n");
    site.wait_for(r#"portreeve_connections{listener="tls"} 9"#);
    let mut deciding = site.tls();
    deciding.send(post("/admit", "gate"));
    site.arrived.recv_timeout(PATIENCE).unwrap();

    // From now on a connection without a request is not new any more.
    thread::sleep(Duration::from_millis(1200));

    // New connections are accepted. For them, those without a request are closed first, then the one that is idle longest.
    let mut new = Vec::new();
    for number in 1..=3 {
        let mut client = site.tls();
        assert_eq!(client.ask(get("/health/liveness")).status, 200);
        site.wait_for(&format!("portreeve_limit_hits_total{{limit=\"connections\"}} {number}"));
        new.push(client);
    }
    assert!(matches!(silent.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert!(sending.is_closed());
    assert!(served.pop().unwrap().is_closed(), "the last was asked first");
    for client in &mut served {
        assert_eq!(client.ask(get("/health/liveness")).status, 200);
    }
    site.open_gate.send(()).unwrap();
    assert_eq!(deciding.answer().status, 200, "a request in progress is never closed");
    site.wait_for(r#"portreeve_connections{listener="tls"} 10"#);
}

#[test]
fn where_all_are_being_answered_only_probes_are_answered_too() {
    let site = Site::start(|limits| limits.connections = 3);
    let mut deciding: Vec<_> = (0..2).map(|_| site.tls()).collect();
    for client in &mut deciding {
        client.send(post("/admit", "gate"));
        site.arrived.recv_timeout(PATIENCE).unwrap();
    }
    for _ in 0..3 {
        let seen = site.tls().ask(post("/admit", "{}"));
        assert!(seen.status == 503 && seen.body.contains("limits.connections"), "{seen:?}");
        assert_eq!(site.tls().ask(get("/health/liveness")).status, 200);
        assert_eq!(site.plain().ask(get("/health/liveness")).status, 200);
    }
    for _ in &deciding {
        site.open_gate.send(()).unwrap();
    }
    for client in &mut deciding {
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn probes_get_through_silent_crowds() {
    let site = Site::start(|limits| limits.connections = 16);
    let both = [site.address, site.metrics_address];
    let others: Vec<_> = both.iter().flat_map(|address| [address; 40]).map(TcpStream::connect).collect();
    for _ in 0..5 {
        assert_eq!(site.plain().ask(get("/health/readiness")).status, 200);
        assert_eq!(site.tls().ask(post("/admit", "{}")).status, 200);
    }
    drop(others);
}

#[test]
fn the_private_header_means_nothing_from_outside() {
    let site = Site::start(|_| {});
    let forged = "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Portreeve-Gateway: 0 plain 0\r\n\r\n";
    assert_eq!(site.tls().ask(forged).status, 404);
}
