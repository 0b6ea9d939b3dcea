//! A cluster that starts: 500 Pods over 50 repositories at once, with an empty cache.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use portreeve_test_support::trust_server::Fault;

use crate::client::{Client, is_allowed, request_with};
use crate::floor::Echo;
use crate::plant::{Scheme, Source, apps, image};
use crate::site::Site;
use crate::table::{self, time};
use crate::webhook::{Webhook, mebibytes};

const PODS: usize = 500;
const REPOSITORIES: usize = 50;
/// Requests at the same time.
const AT_ONCE: usize = 100;
const TIMEOUT: u64 = 10;

pub(crate) fn print() {
    let mut rows = Vec::new();
    for scheme in Scheme::ALL {
        let (source, site) = prepared(scheme);
        let faults = [
            ("answers at once", None),
            ("answers after 20 ms", Some(Fault::Delay(Duration::from_millis(20)))),
            ("answers 500", Some(Fault::Status(500))),
            ("never answers", Some(Fault::Stall)),
        ];
        for (what, fault) in faults {
            source.misbehave(fault);
            source.forget_requests();
            let connections = source.connections();
            let storm = run(&site);
            let number = |outcome| storm.number(outcome).to_string();
            rows.push(vec![
                format!("{}, {what}", scheme.name()),
                time(storm.took),
                time(storm.worst()),
                time(storm.answers[PODS / 2].0),
                source.round_trips().len().to_string(),
                (source.connections() - connections).to_string(),
                number((true, true)),
                number((true, false)),
                number((false, false)),
                time(storm.cpu),
                mebibytes(storm.most),
            ]);
        }
    }
    let head = [
        "the server with the signatures",
        "total",
        "worst answer",
        "median",
        "requests to it",
        "connections to it",
        "allowed",
        "denied",
        "no answer (503)",
        "CPU",
        "most memory",
    ];
    table::print("500 Pods over 50 repositories from an empty cache, 100 at once, timeout 10 s", &head, &rows);
    println!("\nTLS alone for 500 requests by 100 clients: {}.", time(floor()));
}

/// A server with the signatures of all repositories, and its installation, which stores them.
pub(crate) fn prepared(scheme: Scheme) -> (Source, Site) {
    let (source, mut site) = Source::with_site(scheme, &apps(REPOSITORIES));
    site.store();
    (source, site)
}

/// What became of a storm.
pub(crate) struct Storm {
    pub(crate) took: Duration,
    /// The time of each answer, its status, and whether it allowed the Pod. Sorted by time.
    answers: Vec<(Duration, Option<u16>, bool)>,
    cpu: Duration,
    /// The most memory, in KiB.
    pub(crate) most: u64,
}

impl Storm {
    pub(crate) fn worst(&self) -> Duration {
        self.answers[PODS - 1].0
    }

    /// The number of answers with status 200 or another, allowed or not.
    fn number(&self, outcome: (bool, bool)) -> usize {
        self.answers.iter().filter(|(_, status, allowed)| (*status == Some(200), *allowed) == outcome).count()
    }
}

/// Begins with an empty store.
pub(crate) fn run(site: &Site) -> Storm {
    site.empty_store();
    let webhook = Webhook::start(site);
    let (answers, took) = ask(|| webhook.connect());
    Storm { took, answers, cpu: webhook.cpu(), most: webhook.memory().most }
}

/// The time of the same requests with TLS alone.
fn floor() -> Duration {
    let (_source, site) = Source::with_site(Scheme::Notary, &apps(1));
    let request = request_of(0);
    let (_, body) = Webhook::start(&site).connect().ask(&request).unwrap();
    let echo = Echo::start(site.certificate(), &request, &body);
    ask(|| Client::connect(echo.port(), site.client_config())).1
}

fn request_of(repository: usize) -> Vec<u8> {
    request_with(&[image(&format!("plant/app-{repository:03}"))], "", TIMEOUT)
}

/// Asks for all Pods. Gives the answers, and the time until the last.
fn ask(connect: impl Fn() -> Client + Sync) -> (Vec<(Duration, Option<u16>, bool)>, Duration) {
    // Shuffled, so that successive Pods are of different repositories.
    let pods = Mutex::new((0..PODS).map(|pod| pod * 7 % REPOSITORIES).collect::<Vec<_>>());
    let begin = Instant::now();
    let next = || pods.lock().unwrap().pop();
    let client = || {
        let mut client = connect();
        let mut answers = Vec::new();
        while let Some(repository) = next() {
            let begin = Instant::now();
            let answer = client.ask(&request_of(repository));
            answers.push((begin.elapsed(), answer.as_ref().map(|(status, _)| *status), is_allowed(&answer)));
            if answer.is_none_or(|(status, _)| status != 200) {
                client = connect(); // a client whose connection was closed connects again
            }
        }
        answers
    };
    let mut answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(client)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    answers.sort();
    (answers, begin.elapsed())
}
