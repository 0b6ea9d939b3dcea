//! Requests through the lanes, with tiny_http between, and without a gateway.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, mpsc};
use std::thread;

use super::*;
use crate::base::waiting::Wait;
use crate::metrics::Endpoint;
use crate::server::request::{RelayError, RelayResponse};

const PATIENCE: Duration = Duration::from_secs(20);

/// Echoes a body. `gate` and the readiness check wait for the gate first; `huge` is answered with more than may be.
struct Echo {
    begun: Mutex<Sender<String>>,
    gate: Mutex<Receiver<()>>,
}

impl Echo {
    fn wait(&self, begun: String) {
        self.begun.lock().unwrap().send(begun).unwrap();
        self.gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    }
}

impl Application for Echo {
    fn routes(&self) -> &'static [Route] {
        const ROUTES: [Route; 2] = [
            Route { path: "/admit", label: Endpoint::Admit, workers: Workers::Shared },
            Route { path: "/policy", label: Endpoint::ValidatePolicy, workers: Workers::Single },
        ];
        &ROUTES
    }

    fn respond(&self, _: &Route, body: &[u8], _: Deadline) -> HttpResponse {
        let text = String::from_utf8(body.to_vec()).unwrap();
        match text.split(' ').next() {
            Some("gate") => self.wait(text.clone()),
            Some("huge") => return HttpResponse::text(200, vec_of(33 << 20)),
            _ => {}
        }
        HttpResponse::text(200, text)
    }

    fn ready(&self) -> Result<(), String> {
        self.wait("readiness".to_owned());
        Ok(())
    }
}

fn vec_of(length: usize) -> String {
    "x".repeat(length)
}

struct Site {
    dispatcher: Dispatcher,
    waiting: Waiting,
    metrics: Arc<Metrics>,
    begun: Receiver<String>,
    open_gate: Sender<()>,
}

impl Site {
    fn start(workers: usize, max_waiting: usize, queue: usize) -> Self {
        let (begin, begun) = channel();
        let (open_gate, gate) = channel();
        let application = Arc::new(Echo { begun: Mutex::new(begin), gate: Mutex::new(gate) });
        let limits = Limits { workers, connections: max_waiting, queue, ..Limits::default() };
        let (waiting, metrics) = (Waiting::new(99), Arc::new(Metrics::new()));
        let dispatcher = Dispatcher::start(&limits, application, &waiting, Arc::clone(&metrics)).unwrap();
        Self { dispatcher, waiting, metrics, begun, open_gate }
    }

    fn submit(&self, listener: Listener, method: &str, target: &str, body: &str) -> Answer {
        submit(&self.dispatcher, listener, method, target, body)
    }

    fn admit(&self, body: &str) -> Answer {
        self.submit(Listener::Tls, "POST", "/admit", body)
    }

    /// The bodies that begin now, sorted, and no others.
    fn begun(&self, count: usize) -> Vec<String> {
        let mut begun: Vec<_> = (0..count).map(|_| self.begun.recv_timeout(PATIENCE).unwrap()).collect();
        begun.sort_unstable();
        assert!(self.begun.recv_timeout(Duration::from_millis(50)).is_err());
        begun
    }

    fn open_gate(&self, times: usize) {
        (0..times).for_each(|_| self.open_gate.send(()).unwrap());
    }

    /// Another request waits for a server, until the returned value is dropped.
    fn wait(&self) -> Wait<'_> {
        self.waiting.begin(Deadline::after(PATIENCE).request())
    }
}

fn submit(dispatcher: &Dispatcher, listener: Listener, method: &str, target: &str, body: &str) -> Answer {
    let (send, receive) = channel();
    dispatcher.submit(request(listener, method, target, body), Box::new(Give(send)));
    Answer(receive)
}

fn request(listener: Listener, method: &str, target: &str, body: &str) -> Request {
    let (first_byte, content_type) = (Instant::now(), Some("application/json".to_owned()));
    let (method, target, body) = (method.to_owned(), target.to_owned(), body.as_bytes().to_vec());
    Request { listener, first_byte, method, target, content_type, body }
}

struct Give(Sender<Result<RelayResponse, RelayError>>);

impl Reply for Give {
    fn reply(self: Box<Self>, response: Result<RelayResponse, RelayError>) {
        self.0.send(response).unwrap();
    }
}

struct Answer(Receiver<Result<RelayResponse, RelayError>>);

impl Answer {
    /// Status and body.
    fn get(&self) -> (u16, String) {
        let response = self.0.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(response.length, response.body.len());
        (response.status, String::from_utf8(response.body).unwrap())
    }

    fn is_none_yet(&self) -> bool {
        self.0.recv_timeout(Duration::from_millis(50)) == Err(mpsc::RecvTimeoutError::Timeout)
    }
}

impl PartialEq for RelayResponse {
    fn eq(&self, other: &Self) -> bool {
        (self.status, &self.body) == (other.status, &other.body)
    }
}

impl PartialEq for RelayError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

#[test]
fn a_request_that_waits_makes_room_for_one_that_does_not() {
    let site = Site::start(2, 3, 9);
    let answers: Vec<_> = (0..8).map(|number| site.admit(&format!("gate {number}"))).collect();
    assert_eq!(site.begun(2), ["gate 0", "gate 1"]);
    let mut waits = vec![site.wait()];
    assert_eq!(site.begun(1), ["gate 2"]);
    waits.extend([site.wait(), site.wait()]);
    assert_eq!(site.begun(2), ["gate 3", "gate 4"]);
    // The number of requests in progress is bounded, however many of them wait.
    waits.push(site.wait());
    site.begun(0);
    drop(waits);
    site.begun(0);
    // Five run now, and only two may. Others begin when fewer than two are left.
    site.open_gate(3);
    site.begun(0);
    site.open_gate(1);
    assert_eq!(site.begun(1), ["gate 5"]);
    site.open_gate(4);
    assert_eq!(site.begun(2), ["gate 6", "gate 7"]);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.get(), (200, format!("gate {number}")));
    }
}

#[test]
fn a_full_queue_takes_no_more_and_what_waits_at_the_end_gets_no_response() {
    let site = Site::start(1, 1, 1);
    let working = site.admit("gate");
    assert_eq!(site.begun(1), ["gate"]);
    let queued = site.admit("x");
    let (status, text) = site.admit("y").get();
    assert!(status == 503 && text.contains("raise limits.workers or limits.queue"), "{text}");
    assert!(queued.is_none_yet());
    site.dispatcher.stop();
    for late in [queued, site.admit("z"), site.submit(Listener::Plain, "GET", "/health/liveness", "")] {
        assert_eq!(late.0.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
    }
    site.open_gate(1);
    assert_eq!(working.get(), (200, "gate".to_owned()), "what was begun is finished");
}

#[test]
fn every_request_gets_its_own_response() {
    const EACH: usize = 500;
    let site = Site::start(3, 9, 10 * EACH);
    thread::scope(|scope| {
        for client in 0..6 {
            let dispatcher = &site.dispatcher;
            let path = if client == 5 { "/policy" } else { "/admit" };
            scope.spawn(move || {
                for number in 0..EACH {
                    let body = format!("{client} {number} {}", vec_of(number * 100));
                    let answer = submit(dispatcher, Listener::Tls, "POST", path, &body);
                    assert_eq!(answer.get(), (200, body));
                }
            });
        }
    });
}

#[test]
fn a_probe_waits_for_one_other_request_at_most_and_no_other_waits_for_many_probes() {
    let site = Site::start(1, 1, 1);
    let (order_in, order) = channel();
    let submit = |name: &'static str, path: &str| {
        struct Note(Sender<&'static str>, &'static str);
        impl Reply for Note {
            fn reply(self: Box<Self>, _: Result<RelayResponse, RelayError>) {
                self.0.send(self.1).unwrap();
            }
        }
        let request = request(Listener::Plain, "GET", path, "");
        site.dispatcher.submit(request, Box::new(Note(order_in.clone(), name)));
    };
    submit("readiness", "/health/readiness");
    assert_eq!(site.begun(1), ["readiness"]);
    for name in ["other 1", "other 2", "other 3"] {
        submit(name, "/nothing");
    }
    for name in ["probe 1", "probe 2"] {
        submit(name, "/health/liveness");
    }
    site.open_gate(1);
    let order: Vec<_> = (0..6).map(|_| order.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(order, ["readiness", "other 1", "probe 1", "other 2", "probe 2", "other 3"]);
}

#[test]
fn what_goes_wrong_on_the_way_back_hurts_no_other_request() {
    struct Bug;
    impl Reply for Bug {
        fn reply(self: Box<Self>, _: Result<RelayResponse, RelayError>) {
            panic!("a bug in the gateway");
        }
    }
    let site = Site::start(2, 2, 9);
    for round in 1..=9 {
        site.dispatcher.submit(request(Listener::Tls, "POST", "/admit", "x"), Box::new(Bug));
        // A stream whose response cannot be sent is closed, and another one is opened.
        let huge = site.admit("huge").0.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(huge, Err(RelayError::Unreadable("the response is too large"))));
        assert_eq!(site.admit("x").get(), (200, "x".to_owned()), "{round}");
    }
    assert!(site.metrics.render().lines().any(|line| line == "portreeve_panics_total 9"));
}
