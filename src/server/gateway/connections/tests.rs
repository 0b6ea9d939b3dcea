//! Which connection is closed for a new one.

use std::net::TcpListener;

use super::table::GRACE;
use super::*;

const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

fn connection(connections: &Arc<Connections>, from: IpAddr) -> ConnectionGuard {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    connections.admit(Listener::Plain, Arc::new(stream), from).unwrap()
}

fn connections() -> Arc<Connections> {
    // The plain listener: four requests in progress, and two connections more.
    Arc::new(Connections::new(32, true, Arc::new(Metrics::new())))
}

#[test]
fn one_client_takes_places_from_itself() {
    let connections = connections();
    let probe = connection(&connections, OTHER);
    let others: Vec<_> = (0..16).map(|_| connection(&connections, ONE)).collect();
    assert!(probe.waiting(), "it came first, but all others are of one address");
    drop(others);
}

#[test]
fn who_had_an_answer_goes_before_who_has_not_asked_yet() {
    let connections = connections();
    let served: Vec<_> = (0..5).map(|_| connection(&connections, ONE)).collect();
    let probe = connection(&connections, ONE);
    for guard in &served {
        assert_eq!(guard.answering(RequestKind::Health), Ok(()));
        guard.writing();
        assert!(guard.waiting());
    }
    let more: Vec<_> = (0..3).map(|_| connection(&connections, ONE)).collect();
    assert!(probe.waiting() && more.iter().all(ConnectionGuard::waiting));
    assert_eq!(served.iter().filter(|guard| guard.waiting()).count(), 2);
}

#[test]
fn metrics_are_made_for_one_at_a_time_and_not_without_a_pause() {
    let connections = connections();
    let [one, other] = [(); 2].map(|()| connection(&connections, ONE));
    assert_eq!(one.answering(RequestKind::Metrics), Ok(()));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| other.answering(RequestKind::Metrics));
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(one.connections.lock().in_progress(Listener::Plain), 0, "neither counts as a request in progress");
        one.writing();
        assert_eq!(waiting.join().unwrap(), Ok(()));
    });
    assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    // The permit is given back when its connection ends, however it ends.
    drop(other);
    assert_eq!(one.answering(RequestKind::Metrics), Ok(()));
}

#[test]
fn a_connection_that_is_cut_gets_no_turn() {
    let connections = connections();
    let first = connection(&connections, ONE);
    assert_eq!(first.answering(RequestKind::Metrics), Ok(()));
    let second = connection(&connections, ONE);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| second.answering(RequestKind::Metrics));
        let others: Vec<_> = (0..12).map(|_| connection(&connections, ONE)).collect();
        assert_eq!(waiting.join().unwrap(), Err(NoPermit::Closed));
        drop(others);
    });
}

#[test]
fn who_stands_behind_a_crowd_of_one_address_does_not_wait_long() {
    let connections = connections();
    let begin = Instant::now();
    // Six connections at a time, each of which has begun a request.
    let mut others = Vec::new();
    for _ in 0..60 {
        others.push(connection(&connections, ONE));
        // The threads of closed connections end.
        others.retain(|guard| guard.enter(Phase::Receiving));
    }
    let probe = connection(&connections, OTHER);
    assert!(begin.elapsed() < 5 * GRACE, "{:?}", begin.elapsed());
    assert!(probe.waiting());
    drop(others);
}
