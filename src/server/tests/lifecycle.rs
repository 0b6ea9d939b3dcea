//! Start, shutdown, and the internal socket.

use super::*;

#[test]
fn an_address_in_use_is_named() {
    let site = Site::start(|_| {});
    let (address, tls, limits) = (site.address, site.files.clone(), Limits::default());
    let settings = Settings { listen: address, metrics_listen: None, tls, limits };
    let application = Arc::clone(&site.script) as Arc<dyn Application>;
    let metrics = Arc::new(Metrics::new());
    let error = Server::start(settings, application, &Waiting::new(9), metrics, Vec::new()).unwrap_err();
    assert!(matches!(error, StartError::Bind { address, .. } if address == site.address), "{error}");
    assert!(error.to_string().starts_with(&format!("cannot listen on {}", site.address)), "{error}");
}

#[test]
fn draining_finishes_what_is_in_hand_and_closes_the_rest() {
    let mut site = Site::start(|_| {});
    let mut working = site.tls();
    working.send(post("/admit", "gate"));
    site.arrived.recv_timeout(PATIENCE).unwrap();
    let mut idle = site.tls();
    assert_eq!(idle.ask(get("/health/liveness")).status, 200);
    // A request that has begun to arrive is in progress as well. This probe must report that the server is not ready.
    let mut sending = site.plain();
    let probe = get("/health/readiness");
    let (most, rest) = probe.split_at(probe.len() - 2);
    sending.send(most);
    site.wait_for(r#"portreeve_connections{listener="plain"} 1"#);
    thread::sleep(Duration::from_millis(200));

    let server = site.server.take().unwrap();
    let drained = thread::spawn(move || server.drain());
    assert!(idle.is_closed(), "an idle connection is closed at once");
    wait_until("nobody listens", || TcpStream::connect(site.address).is_err());
    let seen = sending.ask(rest);
    assert_eq!((seen.status, seen.body.as_str()), (503, "not ready: shutting down\n"));
    assert!(!drained.is_finished(), "a request is still in progress");
    site.open_gate.send(()).unwrap();
    let seen = working.answer();
    assert!(seen.status == 200 && seen.head.contains("Connection: close\r\n"), "{seen:?}");
    assert_eq!(drained.join().unwrap(), 0);
}

#[test]
fn before_the_end_there_may_be_a_time_of_grace() {
    let mut site = Site::start(|limits| limits.shutdown_delay = Duration::from_secs(3));
    let mut kept = site.tls();
    assert!(kept.ask(post("/admit", "{}")).head.contains("Connection: keep-alive\r\n"));
    let mut idle = site.tls();
    assert_eq!(idle.ask(get("/health/liveness")).status, 200);
    let server = site.server.take().unwrap();
    let drained = thread::spawn(move || server.drain());
    // It is not ready, so that new requests go elsewhere. It answers those that still come, and keeps no connection open.
    wait_until("it is not ready", || site.plain().ask(get("/health/readiness")).status == 503);
    for mut client in [kept, site.tls()] {
        let seen = client.ask(post("/admit", "{}"));
        assert!(seen.status == 200 && seen.head.contains("Connection: close\r\n"), "{seen:?}");
        assert!(client.is_closed());
    }
    assert!(!drained.is_finished(), "this machine is too slow for this test");
    assert_eq!(drained.join().unwrap(), 0);
    assert!(idle.is_closed());
    assert!(TcpStream::connect(site.address).is_err());
}

#[test]
fn draining_ends_even_if_a_request_does_not() {
    let mut site = Site::start(|limits| limits.drain_time = Duration::from_millis(100));
    let mut stuck = site.tls();
    stuck.send(post("/admit", "gate"));
    site.arrived.recv_timeout(PATIENCE).unwrap();
    assert_eq!(site.server.take().unwrap().drain(), 1);
    assert!(site.counts(r#"portreeve_limit_hits_total{limit="drain_time"} 1"#));
    assert!(stuck.is_closed());
    site.open_gate.send(()).unwrap();
}

#[test]
fn streams_that_are_lost_are_replaced() {
    let site = Site::start(|_| {});
    let mut working = site.tls();
    working.send(post("/admit", "gate"));
    site.arrived.recv_timeout(PATIENCE).unwrap();
    for _ in 0..3 {
        site.server.as_ref().unwrap().dispatcher.lose_streams();
        let mut clients: Vec<_> = (0..6).map(|_| site.tls()).collect();
        for client in &mut clients {
            client.send(post("/admit", "{}"));
        }
        for client in &mut clients {
            assert_eq!(client.answer().status, 200);
        }
        assert_eq!(site.plain().ask(get("/health/liveness")).status, 200);
    }
    site.open_gate.send(()).unwrap();
    assert_eq!(working.answer().status, 200, "a request that was dispatched before its stream was lost is answered");
}

#[test]
fn where_no_link_can_be_opened_nobody_tries_all_the_time() {
    let site = Site::start(|limits| limits.workers = 8);
    let dispatcher = &site.server.as_ref().unwrap().dispatcher;
    dispatcher.fail_to_open(true);
    let before = dispatcher.attempts();
    let mut working: Vec<_> = (0..4).map(|_| site.tls()).collect();
    for client in &mut working {
        client.send(post("/admit", "gate"));
        site.arrived.recv_timeout(PATIENCE).unwrap();
    }
    let mut waiting: Vec<_> = (0..6).map(|_| site.tls()).collect();
    for client in &mut waiting {
        client.send(post("/admit", "{}"));
    }
    thread::sleep(Duration::from_secs(1));
    let attempts = dispatcher.attempts() - before;
    assert!((1..30).contains(&attempts), "{attempts} in a second");
    site.wait_for(r#"portreeve_admissions_in_hand{state="queued"} 6"#);
    // Health probes have their own stream, and a stream that becomes free serves the requests that wait.
    let probe = site.plain().ask(get("/health/readiness"));
    assert_eq!((probe.status, probe.body.as_str()), (200, "ready\n"));
    assert!(site.plain().ask(get("/metrics")).body.contains("\nportreeve_workers 4\n"), "four of eight can work");
    site.open_gate.send(()).unwrap();
    for client in &mut waiting {
        assert_eq!(client.answer().status, 200);
    }
    (0..3).for_each(|_| site.open_gate.send(()).unwrap());
    for client in &mut working {
        assert_eq!(client.answer().status, 200);
    }
    dispatcher.fail_to_open(false);
    wait_until("another loopback to be opened", || {
        site.plain().ask(get("/metrics")).body.contains("\nportreeve_workers 8\n")
    });
}
