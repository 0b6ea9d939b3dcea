//! Which connection is closed for a new one, and who gets a permit.

use std::time::Duration;

use super::table::GRACE;
use super::*;

const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

struct Client(u64);

impl Peer for Client {
    fn shut(&self, _: Shutdown) {}
}

/// The plain listener: four requests in progress, and two connections more.
struct Plain(Connections<Client>);

impl Plain {
    fn new() -> Self {
        Self(Connections::new(32, true, Arc::new(Metrics::new())))
    }

    /// A new connection, as the gateway takes it in: it waits until there is a place.
    fn connect(&self, from: IpAddr) -> u64 {
        loop {
            match self.0.make_room(Listener::Plain, from) {
                Room::Free => break,
                Room::Of(_) => {}
                Room::None(wait) => std::thread::sleep(wait),
            }
        }
        let connection = self.0.insert(Listener::Plain, from, later(), |number| Arc::new(Client(number)));
        connection.0
    }

    fn is_open(&self, number: u64) -> bool {
        self.0.get(number).is_some()
    }

    fn answer(&self, number: u64, kind: RequestKind) {
        assert_eq!(self.0.ask(number, kind, later()), Permit::Granted);
        self.wait(number);
    }

    fn wait(&self, number: u64) {
        self.0.enter(number, Phase::Waiting, Some(later())).unwrap();
    }
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn one_client_takes_places_from_itself() {
    let plain = Plain::new();
    let probe = plain.connect(OTHER);
    for _ in 0..16 {
        plain.connect(ONE);
    }
    assert!(plain.is_open(probe), "it came first, but all others are of one address");
}

#[test]
fn who_had_an_answer_goes_before_who_has_not_asked_yet() {
    let plain = Plain::new();
    let served: Vec<_> = (0..5).map(|_| plain.connect(ONE)).collect();
    let probe = plain.connect(ONE);
    for number in &served {
        plain.answer(*number, RequestKind::Health);
    }
    let more: Vec<_> = (0..3).map(|_| plain.connect(ONE)).collect();
    assert!(plain.is_open(probe) && more.iter().all(|number| plain.is_open(*number)));
    assert_eq!(served.iter().filter(|number| plain.is_open(**number)).count(), 2);
}

#[test]
fn metrics_are_made_for_one_at_a_time_and_not_without_a_pause() {
    let plain = Plain::new();
    let [one, other] = [(); 2].map(|()| plain.connect(ONE));
    let begin = Instant::now();
    assert_eq!(plain.0.ask(one, RequestKind::Metrics, later()), Permit::Granted);
    assert_eq!(plain.0.ask(other, RequestKind::Metrics, later()), Permit::Queued);
    assert!(plain.0.next_granted(later()).is_none());
    std::thread::sleep(Duration::from_millis(50));
    plain.wait(one);
    let granted = loop {
        match plain.0.next_granted(later()) {
            Some(connection) => break connection.0,
            None => std::thread::sleep(plain.0.next_permit().unwrap_or_default()),
        }
    };
    assert_eq!(granted, other);
    assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    // The permit is given back when its connection ends, however it ends.
    assert!(plain.0.remove(other));
    assert!(plain.0.next_permit().is_none());
    let third = plain.connect(ONE);
    while plain.0.ask(third, RequestKind::Metrics, later()) == Permit::Queued {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_connection_that_is_cut_gets_no_turn() {
    let plain = Plain::new();
    let first = plain.connect(ONE);
    assert_eq!(plain.0.ask(first, RequestKind::Metrics, later()), Permit::Granted);
    let second = plain.connect(ONE);
    assert_eq!(plain.0.ask(second, RequestKind::Metrics, later()), Permit::Queued);
    for _ in 0..12 {
        plain.connect(ONE);
    }
    assert!(plain.is_open(first) && !plain.is_open(second));
    plain.wait(first);
    assert_eq!(plain.0.ask(second, RequestKind::Metrics, later()), Permit::Closed);
    std::thread::sleep(plain.0.next_permit().unwrap_or_default());
    assert!(plain.0.next_granted(later()).is_none());
}

#[test]
fn permits_come_in_the_order_of_the_requests() {
    let plain = Plain::new();
    let numbers: Vec<_> = (0..6).map(|_| plain.connect(ONE)).collect();
    let permits: Vec<_> = numbers.iter().map(|number| plain.0.ask(*number, RequestKind::Other, later())).collect();
    assert_eq!(permits, [[Permit::Granted; 4].as_slice(), &[Permit::Queued; 2]].concat());
    assert!(plain.0.is_queued() && plain.0.next_granted(later()).is_none());
    assert_eq!(plain.0.ask(numbers[0], RequestKind::Health, later()), Permit::Granted, "a probe needs no permit");
    for (ended, next) in [(1, 4), (2, 5)] {
        plain.0.remove(numbers[ended]);
        assert_eq!(plain.0.next_granted(later()).map(|connection| connection.0), Some(numbers[next]));
    }
    assert!(!plain.0.is_queued());
}

#[test]
fn who_stands_behind_a_crowd_of_one_address_does_not_wait_long() {
    let plain = Plain::new();
    let begin = Instant::now();
    // Each connection of the crowd has begun a request.
    for _ in 0..60 {
        let number = plain.connect(ONE);
        plain.0.enter(number, Phase::Receiving, Some(later())).unwrap();
    }
    let probe = plain.connect(OTHER);
    assert!(begin.elapsed() < 7 * GRACE, "{:?}", begin.elapsed());
    assert!(plain.is_open(probe));
}

#[test]
fn a_handshake_that_waits_for_us_makes_no_connection_old() {
    let connections = Connections::new(1, false, Arc::new(Metrics::new()));
    let connect = || connections.insert(Listener::Tls, ONE, later(), |number| Arc::new(Client(number))).0;
    let [slow, silent] = [(); 2].map(|()| connect());
    connections.enter(slow, Phase::Handshake(Instant::now()), None).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    connections.enter(slow, Phase::Receiving, Some(later())).unwrap();
    assert!(matches!(connections.make_room(Listener::Tls, OTHER), Room::Of(evicted) if evicted.0 == silent));
    assert!(matches!(connections.make_room(Listener::Tls, OTHER), Room::Free));
    assert!(connections.get(slow).is_some());
}

#[test]
fn deadlines_are_of_the_phase() {
    let plain = Plain::new();
    let number = plain.connect(ONE);
    plain.0.enter(number, Phase::Receiving, Some(Instant::now())).unwrap();
    assert!(plain.0.is_expired(number) && plain.0.expired().len() == 1);
    plain.wait(number);
    assert!(!plain.0.is_expired(number) && plain.0.expired().is_empty());
}
