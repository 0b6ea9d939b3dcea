//! A trust server that accepts connections and never answers: how long its own images wait, and all others meanwhile.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portreeve_test_support::certificates::Authority;
use portreeve_test_support::signer::{Key, Signer};
use portreeve_test_support::trust_server::{Fault, TrustServer};
use serde_json::json;

use crate::client::{Client, request, request_with};
use crate::floor::Echo;
use crate::plant::{apps, image, repository_by};
use crate::site::{REGISTRY, Site};
use crate::table::{self, time};
use crate::webhook::Webhook;

/// The registry whose trust server falls silent.
const SILENT: &str = "silent.local:9001";
/// The registry whose images need no signature.
const OPEN: &str = "open.local:9001";
const TIMEOUT: u64 = 10;
const WAITING: usize = 100;
/// Between two requests of a client that does not need the silent server.
const PAUSE: Duration = Duration::from_millis(10);
/// The time in which nobody knows yet that the server is silent.
const FIRST: Duration = Duration::from_secs(2);
/// Repositories of the other server, each of which is asked for once.
const UNSEEN: usize = 600;

pub(crate) fn print() {
    let rows = [Silence::Refuses, Silence::AfterTcp, Silence::AfterTls].map(|silence| {
        let mut row = vec![silence.name().to_owned()];
        row.extend(questions::<4>(silence).map(time));
        row
    });
    let head = ["the trust server", "first question", "second", "third", "fourth"];
    table::print("Unknown images of a silent trust server, one after another, timeout 10 s", &head, &rows);

    let crowd = Crowd::run();
    let rows = crowd.others.iter().map(|(name, series)| {
        let mut row = vec![(*name).to_owned()];
        row.extend(series.cells(crowd.begin - FIRST, crowd.begin));
        row.extend(series.cells(crowd.begin, crowd.begin + FIRST));
        row.extend(series.cells(crowd.begin + FIRST, crowd.end.max(crowd.begin + FIRST)));
        row
    });
    let head = [
        "the image",
        "answers before",
        "median",
        "worst",
        "in the first 2 s",
        "median",
        "worst",
        "after that",
        "median",
        "worst",
    ];
    let title =
        format!("Other images while {WAITING} clients wait for a silent trust server, one request at a time each");
    table::print(&title, &head, &rows.collect::<Vec<_>>());
    println!("\n{} of the {WAITING} were denied. The longest wait was {}.", crowd.denied, time(crowd.longest));
}

/// How a server does not answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The lower bound: nobody listens.
    Refuses,
    /// The connection is accepted, and nothing follows.
    AfterTcp,
    /// The TLS handshake is made, and nothing follows.
    AfterTls,
}

impl Silence {
    fn name(self) -> &'static str {
        match self {
            Self::Refuses => "refuses connections",
            Self::AfterTcp => "accepts, and says nothing",
            Self::AfterTls => "makes the TLS handshake, and says nothing more",
        }
    }
}

/// How long unknown images wait for their denial, one after another, each of another repository.
pub(crate) fn questions<const NUMBER: usize>(silence: Silence) -> [Duration; NUMBER] {
    let trust_server = TrustServer::start();
    trust_server.misbehave("", Fault::Stall);
    // The kernel accepts, and nobody reads.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = match silence {
        Silence::AfterTls => trust_server.url(),
        _ => format!("https://{}", listener.local_addr().unwrap()),
    };
    let _listener = (silence != Silence::Refuses).then_some(listener);
    let site = Site::new(&url, trust_server.ca_pem());
    site.policy("plant", &[format!("{REGISTRY}/*")], ("alice", &Key::p256().public_pem()));
    let webhook = Webhook::start(&site);
    let mut client = webhook.connect();
    client.ask(&request(&["elsewhere.local/nothing:v1".to_owned()])).unwrap(); // the handshake is not measured
    std::array::from_fn(|number| {
        let request = request_with(&[image(&format!("plant/app-{number}"))], "", TIMEOUT);
        let begin = Instant::now();
        let (_, body) = client.ask(&request).unwrap();
        let took = begin.elapsed();
        assert!(!body.contains("\"allowed\":true"), "{body}");
        took
    })
}

/// Images that do not need the silent server: the one for each turn, until there is none.
type Images<'a> = &'a (dyn Fn(usize) -> Option<String> + Sync);

/// When each request was sent, and how long its answer took.
struct Series(Vec<(Instant, Duration)>);

impl Series {
    /// One request after another, until it is over.
    fn ask(mut client: Client, images: Images<'_>, over: &AtomicBool) -> Self {
        let mut times = Vec::new();
        for image in (0..).map_while(images).take_while(|_| !over.load(Ordering::Relaxed)) {
            let request = request_with(&[image], "", TIMEOUT);
            let begin = Instant::now();
            client.admit(&request);
            times.push((begin, begin.elapsed()));
            thread::sleep(PAUSE);
        }
        Self(times)
    }

    fn between(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let sent_then = |(sent, _): &&(Instant, Duration)| (from..to).contains(sent);
        let mut times: Vec<_> = self.0.iter().filter(sent_then).map(|(_, took)| *took).collect();
        times.sort();
        times
    }

    /// The cells of a table: number, median, worst.
    fn cells(&self, from: Instant, to: Instant) -> [String; 3] {
        let times = self.between(from, to);
        let cell = |at: usize| times.get(at).map_or_else(String::new, |found| time(*found));
        [times.len().to_string(), cell(times.len() / 2), cell(times.len().saturating_sub(1))]
    }
}

/// Requests that all wait for a silent server, and other requests at the same time.
pub(crate) struct Crowd {
    /// When the crowd came.
    begin: Instant,
    /// When the last of it was answered.
    end: Instant,
    denied: usize,
    longest: Duration,
    /// TLS alone is the last.
    others: Vec<(&'static str, Series)>,
}

impl Crowd {
    pub(crate) fn run() -> Self {
        let authority = Authority::named("Trust Server CA");
        let [other, silent] = [(), ()].map(|()| TrustServer::start_under(&authority));
        let alice = Key::p256();
        let unseen = apps(UNSEEN);
        unseen.iter().for_each(|path| other.publish(&repository_by(path, alice.clone())));
        other.publish(&repository_by("plant/plc", alice.clone()));
        let signer = Signer::new(&format!("{SILENT}/plant/plc")).signer_with("alice", alice.clone());
        silent.publish(&signer.release("v1", [7; 32], 1234, &["alice"]).publish());
        let mut site = Site::new(&other.url(), other.ca_pem());
        site.set("trust", "servers", json!({ REGISTRY: other.url(), SILENT: silent.url() }));
        let patterns = [REGISTRY, SILENT].map(|registry| format!("{registry}/*"));
        site.policy("plant", &patterns, ("alice", &alice.public_pem()));
        site.policy_with("open", &[format!("{OPEN}/*")], &json!({ "trust": { "enabled": false } }));

        let webhook = Webhook::start(&site);
        let [open, known, known_silent] = [OPEN, REGISTRY, SILENT].map(|registry| format!("{registry}/plant/plc:v1"));
        [&open, &known, &known_silent].into_iter().for_each(|image| webhook.connect().admit(&request_of(image)));
        silent.drop_connections();
        silent.misbehave("", Fault::Stall);

        let request = request_of(&known);
        let (_, body) = webhook.connect().ask(&request).unwrap();
        let echo = Echo::start(site.certificate(), &request, &body);
        let others: [(&str, Client, Images<'_>); 5] = [
            ("needs no signature", webhook.connect(), &|_| Some(open.clone())),
            ("known, of another server", webhook.connect(), &|_| Some(known.clone())),
            ("known, of the silent server", webhook.connect(), &|_| Some(known_silent.clone())),
            ("unknown, of another server", webhook.connect(), &|turn| unseen.get(turn).map(|path| image(path))),
            ("TLS alone", Client::connect(echo.port(), site.client_config()), &|_| Some(known.clone())),
        ];
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let others = others.map(|(name, client, images)| {
                let over = &over;
                (name, scope.spawn(move || Series::ask(client, images, over)))
            });
            thread::sleep(FIRST + PAUSE);
            let begin = Instant::now();
            let waiting: Vec<_> = (0..WAITING)
                .map(|number| {
                    let webhook = &webhook;
                    scope.spawn(move || {
                        let request = request_of(&format!("{SILENT}/plant/app-{number}:v1"));
                        let begin = Instant::now();
                        let answer = webhook.try_connect().ok().and_then(|mut client| client.ask(&request));
                        (begin.elapsed(), answer.is_some_and(|(_, body)| body.contains("\"allowed\":false")))
                    })
                })
                .collect();
            let waits: Vec<_> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
            let end = Instant::now();
            over.store(true, Ordering::Relaxed);
            Self {
                begin,
                end,
                denied: waits.iter().filter(|(_, is_denied)| *is_denied).count(),
                longest: waits.iter().map(|(took, _)| *took).max().unwrap(),
                others: others.map(|(name, thread)| (name, thread.join().unwrap())).into(),
            }
        })
    }

    /// The worst answer to an image that does not need the silent server, sent in the first two seconds.
    pub(crate) fn worst_of_others(&self) -> Duration {
        let served = &self.others[..self.others.len() - 1];
        served.iter().flat_map(|(_, series)| series.between(self.begin, self.begin + FIRST)).max().unwrap()
    }
}

fn request_of(image: &str) -> Vec<u8> {
    request_with(&[image.to_owned()], "", TIMEOUT)
}
