//! A cluster that starts: 500 Pods over 50 repositories at once, with an empty cache.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use portreeve_test_support::signer::{Key, Signer};
use portreeve_test_support::trust_server::{Fault, TrustServer};

use crate::client::{is_allowed, request_with};
use crate::footprint::image;
use crate::table::{self, time};
use crate::webhook::{REGISTRY, Site, Webhook, mebibytes};

const PODS: usize = 500;
const REPOSITORIES: usize = 50;
/// Requests at the same time.
const AT_ONCE: usize = 100;
const TIMEOUT: u64 = 10;

pub(crate) fn print() {
    let alice = Key::p256();
    let trust_server = TrustServer::start();
    for number in 0..REPOSITORIES {
        let signer = Signer::new(&format!("{REGISTRY}/plant/app-{number}")).signer_with("alice", alice.clone());
        trust_server.publish(&signer.release("v1", [7; 32], 1234, &["alice"]).publish());
    }
    let mut site = Site::new(&trust_server.url(), trust_server.ca_pem());
    site.policy("plant", &[format!("{REGISTRY}/*")], ("alice", &alice.public_pem()));
    site.store();
    let mut rows = Vec::new();
    for (what, fault) in [
        ("answers at once", None),
        ("answers after 20 ms", Some(Fault::Delay(Duration::from_millis(20)))),
        ("answers 500", Some(Fault::Status(500))),
        ("never answers", Some(Fault::Stall)),
    ] {
        trust_server.behave();
        trust_server.drop_connections();
        trust_server.forget_requests();
        if let Some(fault) = fault {
            trust_server.misbehave("", fault);
        }
        // Each run begins with an empty cache.
        site.empty_store();
        rows.push(storm(what, &site, &trust_server));
    }
    let head = [
        "the trust server",
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
}

fn storm(what: &str, site: &Site, trust_server: &TrustServer) -> Vec<String> {
    let webhook = Webhook::start(site);
    let connections = trust_server.connections();
    // Shuffled, so that successive Pods are of different repositories.
    let pods = Mutex::new((0..PODS).map(|pod| pod * 7 % REPOSITORIES).collect::<Vec<_>>());
    let begin = Instant::now();
    let next = || pods.lock().unwrap().pop();
    let ask = || {
        let mut client = webhook.connect();
        let mut answers = Vec::new();
        while let Some(repository) = next() {
            let images = [image(&format!("plant/app-{repository}"))];
            let begin = Instant::now();
            let answer = client.ask(&request_with(&images, "", TIMEOUT));
            answers.push((begin.elapsed(), answer.as_ref().map(|(status, _)| *status), is_allowed(&answer)));
            if answer.is_none_or(|(status, _)| status != 200) {
                client = webhook.connect(); // a client whose connection was closed connects again
            }
        }
        answers
    };
    let mut answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let took = begin.elapsed();
    answers.sort();
    let all = || answers.iter().map(|(_, status, allowed)| (*status == Some(200), *allowed));
    let number = |of| all().filter(|outcome| *outcome == of).count().to_string();
    vec![
        what.to_owned(),
        time(took),
        time(answers[PODS - 1].0),
        time(answers[PODS / 2].0),
        trust_server.requests().len().to_string(),
        (trust_server.connections() - connections).to_string(),
        number((true, true)),
        number((true, false)),
        number((false, false)),
        time(webhook.cpu()),
        mebibytes(webhook.memory().most),
    ]
}
