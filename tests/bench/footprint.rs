//! Size, time to ready, memory.

use std::time::Duration;
use std::{fs, thread};

use portreeve_test_support::trust_server::Fault;

use crate::client::{Client, request, request_with};
use crate::plant::{image, plant, repository};
use crate::site::executable;
use crate::table::{self, count, time};
use crate::webhook::Webhook;

const STARTS: usize = 15;
const WARM: usize = 2_000;
/// As many requests that wait for their trust server.
const BUSY: usize = 128;

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
        let mut clients: Vec<_> = (0..BUSY).map(|_| webhook.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            let images = [image(&format!("plant/unseen-{number}"))];
            // A connection beyond the limit may be closed. It is not answered below.
            let _ = client.send(&request_with(&images, &"x".repeat(padding), 5));
        }
        thread::sleep(Duration::from_secs(2));
        note(&format!("{BUSY} busy connections, each with {} more bytes", count(padding as u64)));
        let answered = clients.iter_mut().filter_map(Client::answer).count();
        note(&format!("when {answered} of them were answered"));
    }
    trust_server.behave();
    webhook.connect().admit(&request);
    thread::sleep(Duration::from_secs(5));
    note("idle again");
    table::print("Memory", &["when", "resident", "at most so far", "anonymous", "threads"], &rows);
}
