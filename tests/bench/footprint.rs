//! Size, time to ready, memory.

use std::time::Duration;
use std::{fs, thread};

use portreeve_test_support::signer::{Repo, Signer};
use portreeve_test_support::trust_server::{Fault, TrustServer};

use crate::client::{Client, request, request_with};
use crate::table::{self, count, time};
use crate::webhook::{CONNECTIONS, REGISTRY, Site, Webhook, executable};

const STARTS: usize = 15;
const WARM: usize = 2_000;

/// A repository with one tag that alice signed.
pub(crate) fn repository(path: &str) -> Repo {
    Signer::new(&format!("{REGISTRY}/{path}")).signer("alice").release("v1", [7; 32], 1234, &["alice"]).publish()
}

/// `registry.local:9001/plant/plc:v1`.
pub(crate) fn image(path: &str) -> String {
    format!("{REGISTRY}/{path}:v1")
}

/// A trust server with this repository, and an installation that requires its signer.
pub(crate) fn plant(repo: &Repo) -> (TrustServer, Site) {
    let trust_server = TrustServer::start();
    trust_server.publish(repo);
    let site = Site::new(&trust_server.url(), trust_server.ca_pem());
    site.policy_of(repo);
    (trust_server, site)
}

pub(crate) fn print() {
    let (trust_server, site) = plant(&repository("plant/plc"));

    let mut ready: Vec<Duration> = (0..STARTS).map(|_| Webhook::start(&site).ready_after).collect();
    ready.sort();
    let rows = [
        vec!["executable".to_owned(), format!("{} bytes", count(fs::metadata(executable()).unwrap().len()))],
        vec!["exec to ready, median of 15".to_owned(), time(ready[STARTS / 2])],
        vec!["exec to ready, best and worst".to_owned(), format!("{}, {}", time(ready[0]), time(ready[STARTS - 1]))],
    ];
    table::print("Footprint", &["what", "figure"], &rows);

    let webhook = Webhook::start(&site);
    let mut rows = Vec::new();
    let mut note = |what: &str| {
        let mut row = vec![what.to_owned()];
        row.extend(webhook.memory().cells());
        rows.push(row);
    };
    thread::sleep(Duration::from_secs(1));
    note("idle");
    let request = request(&[image("plant/plc")]);
    let mut client = webhook.connect();
    client.admit(&request);
    note("after one admission");
    (0..WARM).for_each(|_| client.admit(&request));
    note("after 2,000 admissions");
    // The trust server does not answer for these, so each request lasts until its deadline.
    trust_server.misbehave("plant/unseen", Fault::Stall);
    for padding in [0, 60_000] {
        let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| webhook.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            let images = [image(&format!("plant/unseen-{number}"))];
            client.send(&request_with(&images, &"x".repeat(padding), 5)).unwrap();
        }
        thread::sleep(Duration::from_secs(2));
        note(&format!("{CONNECTIONS} busy connections, each with {} more bytes", count(padding as u64)));
        let answered = clients.iter_mut().filter_map(Client::answer).count();
        note(&format!("when {answered} of them were answered"));
    }
    trust_server.behave();
    client.admit(&request);
    thread::sleep(Duration::from_secs(5));
    note("idle again");
    table::print("Memory", &["when", "resident", "at most so far", "anonymous", "threads"], &rows);
}
