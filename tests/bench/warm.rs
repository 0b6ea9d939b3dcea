//! Warm admissions: the trust data is in memory, everything else happens for each request.

use std::time::Duration;

use portreeve_test_support::cosign::{Artifact, Bundle, Key, Statement};
use portreeve_test_support::registry::Registry;

use crate::callgrind::{self, Counter};
use crate::client::{Client, request};
use crate::floor::{Echo, signature_check};
use crate::footprint::{image, plant, repository};
use crate::load::{Connections, Load};
use crate::table::{self, count, ratio, time};
use crate::webhook::{Site, Webhook};

const SPAN: Duration = Duration::from_secs(4);
const FLOOR_SPAN: Duration = Duration::from_secs(2);
const COUNTED: u32 = 200;

pub(crate) fn print() {
    let (_trust_server, site) = plant(&repository("plant/plc"));
    let request = request(&[image("plant/plc")]);

    let webhook = Webhook::start(&site);
    let (_, body) = webhook.connect().ask(&request).unwrap();
    let echo = Echo::start(site.certificate(), &request, &body);
    let mut rows = Vec::new();
    for connections in [Connections::Kept, Connections::New] {
        for clients in [1, 8, 32] {
            let before = webhook.cpu();
            let load = Load::run(clients, connections, SPAN, &request, || webhook.connect());
            let cpu = (webhook.cpu() - before) / load.number();
            let floor = Load::run(clients, connections, FLOOR_SPAN, &request, || {
                Client::connect(echo.port(), site.client_config())
            });
            rows.push(vec![
                if connections == Connections::Kept { "kept" } else { "new each time" }.to_owned(),
                clients.to_string(),
                format!("{:.0}", load.per_second()),
                time(load.quantile(500)),
                time(load.quantile(990)),
                time(load.quantile(999)),
                time(load.worst()),
                time(cpu),
                format!("{:.0}", floor.per_second()),
                time(floor.quantile(500)),
                time(floor.quantile(990)),
                ratio(load.quantile(500).as_secs_f64(), floor.quantile(500).as_secs_f64()),
            ]);
        }
    }
    let head = [
        "connections",
        "clients",
        "admissions/s",
        "p50",
        "p99",
        "p99.9",
        "worst",
        "CPU of each",
        "TLS alone/s",
        "its p50",
        "its p99",
        "p50 to TLS alone",
    ];
    table::print("Warm admissions of a one-container Pod over TLS", &head, &rows);
    println!(
        "\nRequest of {} bytes, answer of {}; one check of a P-256 signature by ring: {}.",
        count(request.len() as u64),
        count(body.len() as u64),
        time(signature_check())
    );
    if callgrind::is_there() {
        let kept = instructions(&site, &request, COUNTED, true);
        let new = instructions(&site, &request, COUNTED / 4, false);
        println!(
            "Instructions of one warm admission, all threads: {} over a kept connection, {} over a new one.",
            count(kept),
            count(new)
        );
        print_cosign();
    }
}

/// The same with cosign signatures in place of trust data.
fn print_cosign() {
    let (registry, key) = (Registry::start(), Key::p256());
    let signed = registry.push_image("plant/plc", "v1", "plc");
    let bundle = Bundle::dsse(&Statement::new(&signed).bytes(), &key).bytes();
    registry.attach("plant/plc", &signed, &Artifact::bundle(&signed, bundle));
    let site = Site::with_cosign(&registry, &key.public_pem());
    let tagged = image("plant/plc");
    let pinned = format!("{}@{}", tagged.trim_end_matches(":v1"), signed.digest());
    for (what, image) in [("a tag", tagged), ("a digest", pinned)] {
        let request = request(&[image]);
        let kept = instructions(&site, &request, COUNTED, true);
        let new = instructions(&site, &request, COUNTED / 4, false);
        println!(
            "With a cosign bundle, by {what}: {} over a kept connection, {} over a new one.",
            count(kept),
            count(new)
        );
    }
}

/// The instructions of one warm admission.
pub(crate) fn instructions(site: &Site, request: &[u8], number: u32, is_kept: bool) -> u64 {
    let mut counter = Counter::new();
    let webhook = Webhook::start_counted(site, &counter);
    let mut client = webhook.connect();
    client.admit(request);
    counter.begin(webhook.pid());
    client.admit(request);
    let spent = counter.count(webhook.pid(), || {
        for _ in 0..number {
            if !is_kept {
                client = webhook.connect();
            }
            client.admit(request);
        }
    });
    spent / u64::from(number)
}
