//! A long mixed load: signed and unsigned images, a trust server that stalls, new connections, changing policies.
//! Prints the memory of each minute, and at the end every error.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portreeve_test_support::signer::Key;
use portreeve_test_support::trust_server::{Fault, TrustServer};

use crate::client::{Client, request_with};
use crate::plant::{image, repository_by};
use crate::site::{REGISTRY, Site};
use crate::table::{count, time};
use crate::webhook::{Webhook, mebibytes};

const TIMEOUT: u64 = 5;
const REPOSITORIES: usize = 20;
const POLICY_EVERY: Duration = Duration::from_secs(5);

/// What a client does, and the response that it must get.
struct Part {
    name: &'static str,
    clients: usize,
    /// Between two requests.
    pause: Duration,
    is_kept: bool,
    image: fn(u64) -> String,
    /// A part of every right response.
    expected: &'static str,
}

const PARTS: [Part; 6] = [
    Part {
        name: "signed",
        clients: 4,
        pause: Duration::from_millis(5),
        is_kept: true,
        image: |turn| image(&format!("plant/app-{}", turn % REPOSITORIES as u64)),
        expected: "\"patch\":",
    },
    Part {
        name: "signed, new connections",
        clients: 2,
        pause: Duration::from_millis(20),
        is_kept: false,
        image: |turn| image(&format!("plant/app-{}", turn % REPOSITORIES as u64)),
        expected: "\"patch\":",
    },
    Part {
        name: "tag never signed",
        clients: 2,
        pause: Duration::from_millis(20),
        is_kept: true,
        image: |turn| format!("{REGISTRY}/plant/app-{}:unsigned", turn % REPOSITORIES as u64),
        expected: "\"allowed\":false",
    },
    Part {
        name: "no trust data, ever new names",
        clients: 1,
        pause: Duration::from_millis(20),
        is_kept: true,
        image: |turn| image(&format!("plant/unsigned-{turn}")),
        expected: "\"allowed\":false",
    },
    Part {
        name: "trust server stalls",
        clients: 1,
        pause: Duration::from_millis(100),
        is_kept: true,
        image: |turn| image(&format!("plant/stalled-{}", turn % 7)),
        expected: "\"allowed\":false",
    },
    Part {
        name: "no policy",
        clients: 1,
        pause: Duration::from_millis(20),
        is_kept: false,
        image: |_| "elsewhere.local/plc:v1".to_owned(),
        expected: "\"allowed\":false",
    },
];

/// The results of one part.
#[derive(Default)]
struct Tally {
    answers: AtomicU64,
    /// Connections that ended without a response, and responses other than 200.
    errors: AtomicU64,
    late: AtomicU64,
    wrong: AtomicU64,
    worst: Mutex<Duration>,
    /// The first wrong response.
    example: Mutex<Option<String>>,
}

pub(crate) fn run(span: Duration) {
    let trust_server = TrustServer::start();
    let alice = Key::p256();
    for number in 0..REPOSITORIES {
        trust_server.publish(&repository_by(&format!("plant/app-{number}"), alice.clone()));
    }
    trust_server.misbehave("plant/stalled", Fault::Stall);
    let mut site = Site::new(&trust_server.url(), trust_server.ca_pem());
    site.set("trust", "refreshAfter", "2s");
    site.store();
    let policy = |patterns: usize| {
        let others = (0..patterns).map(|number| format!("{REGISTRY}/other-{number}/*"));
        let patterns: Vec<_> = others.chain([format!("{REGISTRY}/plant/*")]).collect();
        site.policy("plant", &patterns, ("alice", &alice.public_pem()));
    };
    policy(0);

    let mut webhook = Webhook::start(&site);
    let port = webhook.port();
    let tallies: [Tally; PARTS.len()] = Default::default();
    let over = AtomicBool::new(false);
    let mut memory = vec![webhook.memory()];
    println!("| minute | resident | at most so far | anonymous | threads | answers |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    thread::scope(|scope| {
        for (part, tally) in PARTS.iter().zip(&tallies) {
            for number in 0..part.clients {
                let (over, site) = (&over, &site);
                scope.spawn(move || {
                    ask(part, tally, number as u64, over, || Client::connect(port, site.client_config()))
                });
            }
        }
        let begin = Instant::now();
        let (mut minute, mut reload) = (1, 0);
        while begin.elapsed() < span && webhook.is_running() {
            thread::sleep(POLICY_EVERY);
            reload += 1;
            policy(reload % 3 * 100);
            if begin.elapsed() >= Duration::from_secs(60 * minute) {
                let now = webhook.memory();
                memory.push(now);
                let answers: u64 = tallies.iter().map(|tally| tally.answers.load(Ordering::Relaxed)).sum();
                println!("| {minute} | {} | {} |", now.cells().join(" | "), count(answers));
                minute += 1;
                // Breaks its connections, and keeps the log of requests small.
                trust_server.drop_connections();
                trust_server.forget_requests();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(webhook.is_running(), "the webhook ended");
    memory.push(webhook.memory());

    println!("\n| part | answers | errors | late | wrong | worst |\n| --- | ---: | ---: | ---: | ---: | ---: |");
    for (part, tally) in PARTS.iter().zip(&tallies) {
        let [answers, errors, late, wrong] = [&tally.answers, &tally.errors, &tally.late, &tally.wrong]
            .map(|number| count(number.load(Ordering::Relaxed)));
        println!(
            "| {} | {answers} | {errors} | {late} | {wrong} | {} |",
            part.name,
            time(*tally.worst.lock().unwrap())
        );
        if let Some(example) = tally.example.lock().unwrap().as_ref() {
            println!("\nA wrong one: {example}\n");
        }
    }
    let resident = |at: usize| mebibytes(memory[at].resident);
    let last = memory.len() - 1;
    println!(
        "\nResident at first {}, after a minute {}, at last {}; at most {}; CPU {}.",
        resident(0),
        resident(1.min(last)),
        resident(last),
        mebibytes(memory[last].most),
        time(webhook.cpu())
    );
}

fn ask(part: &Part, tally: &Tally, number: u64, over: &AtomicBool, connect: impl Fn() -> Client) {
    let mut client = connect();
    for turn in (number * 1_000_000_000).. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        if !part.is_kept {
            client = connect();
        }
        let request = request_with(&[(part.image)(turn)], "", TIMEOUT);
        let begin = Instant::now();
        let answer = client.ask(&request);
        let took = begin.elapsed();
        let mut worst = tally.worst.lock().unwrap();
        *worst = took.max(*worst);
        drop(worst);
        if took > Duration::from_secs(TIMEOUT) {
            tally.late.fetch_add(1, Ordering::Relaxed);
        }
        match answer {
            Some((200, body)) => {
                tally.answers.fetch_add(1, Ordering::Relaxed);
                if !body.contains(part.expected) {
                    tally.wrong.fetch_add(1, Ordering::Relaxed);
                    tally.example.lock().unwrap().get_or_insert(body);
                }
            }
            _ => {
                tally.errors.fetch_add(1, Ordering::Relaxed);
                client = connect();
            }
        }
        thread::sleep(part.pause);
    }
}
