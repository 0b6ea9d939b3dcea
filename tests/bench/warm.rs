//! Warm admissions: signatures are in memory, everything else happens for each request.

use std::time::Duration;

use crate::callgrind::{self, Counter};
use crate::client::{Client, request};
use crate::floor::{Echo, signature_check};
use crate::load::{Connections, Load};
use crate::plant::{Scheme, Source, image};
use crate::site::{REGISTRY, Site};
use crate::table::{self, count, ratio, time};
use crate::webhook::Webhook;

const SPAN: Duration = Duration::from_secs(3);
const FLOOR_SPAN: Duration = Duration::from_millis(1500);
const COUNTED: u32 = 200;
const HEAD: [&str; 14] = [
    "image",
    "connections",
    "clients",
    "admissions/s",
    "p50",
    "p99",
    "p99.9",
    "worst",
    "CPU of each",
    "switches of each",
    "TLS alone/s",
    "its p50",
    "its p99",
    "p50 to TLS alone",
];

/// An image, how it is signed, and the installation that has it in memory.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) site: Site,
    pub(crate) request: Vec<u8>,
    /// It runs as long as the case.
    _source: Source,
}

impl Case {
    pub(crate) fn all() -> [Self; 4] {
        let case = |name, scheme, digest: fn(&Source) -> Option<String>| {
            let (source, site) = Source::with_site(scheme, &["plant/plc".to_owned()]);
            let image = digest(&source).map_or_else(|| image("plant/plc"), |of| format!("{REGISTRY}/plant/plc@{of}"));
            Self { name, site, request: request(&[image]), _source: source }
        };
        [
            case("Notary v1, by tag", Scheme::Notary, |_| None),
            case("cosign, by tag", Scheme::Cosign, |_| None),
            case("cosign, by digest", Scheme::Cosign, |source| Some(source.digest("plant/plc"))),
            case("Notation, by tag", Scheme::Notation, |_| None),
        ]
    }
}

pub(crate) fn print() {
    let cases = Case::all();
    let mut rows = Vec::new();
    for case in &cases {
        for connections in [Connections::Kept, Connections::New] {
            for clients in [1, 8, 32] {
                // The schemes differ in what they look up, and not in how they are served.
                if case.name == cases[0].name || (connections == Connections::Kept && clients < 32) {
                    rows.push(row(case, connections, clients));
                }
            }
        }
    }
    table::print("Warm admissions of a one-container Pod over TLS", &HEAD, &rows);
    println!(
        "\nA request for Notary v1 has {} bytes; one check of a P-256 signature by ring: {}.",
        count(cases[0].request.len() as u64),
        time(signature_check())
    );
    if callgrind::is_there() {
        let row = |case: &Case| {
            let kept = instructions(&case.site, &case.request, COUNTED, true);
            let new = instructions(&case.site, &case.request, COUNTED / 4, false);
            vec![case.name.to_owned(), count(kept), count(new)]
        };
        let rows: Vec<_> = cases.iter().map(row).collect();
        table::print(
            "Instructions of one warm admission, all threads",
            &["image", "kept connection", "new connection"],
            &rows,
        );
    }
}

/// One load, and TLS alone under the same load.
pub(crate) struct Measured {
    pub(crate) load: Load,
    pub(crate) cpu: Duration,
    /// Of each admission. Not counted where each has a connection, and so perhaps a thread, of its own.
    pub(crate) switches: Option<f64>,
    pub(crate) floor: Load,
}

impl Measured {
    pub(crate) fn to_floor(&self) -> f64 {
        self.load.quantile(500).as_secs_f64() / self.floor.quantile(500).as_secs_f64()
    }
}

pub(crate) fn measure(case: &Case, connections: Connections, clients: usize) -> Measured {
    let webhook = Webhook::start(&case.site);
    let (_, body) = webhook.connect().ask(&case.request).unwrap();
    let echo = Echo::start(case.site.certificate(), &case.request, &body);
    let (mut before, mut after) = ((Duration::ZERO, 0), (Duration::ZERO, 0));
    let now = || (webhook.cpu(), webhook.switches());
    let connect = || webhook.connect();
    let load = Load::observed(clients, connections, SPAN, &case.request, connect, || before = now(), || after = now());
    let floor = Load::run(clients, connections, FLOOR_SPAN, &case.request, || {
        Client::connect(echo.port(), case.site.client_config())
    });
    let switches = (after.1.saturating_sub(before.1)) as f64 / f64::from(load.number());
    Measured {
        cpu: (after.0 - before.0) / load.number(),
        switches: (connections == Connections::Kept).then_some(switches),
        load,
        floor,
    }
}

fn row(case: &Case, connections: Connections, clients: usize) -> Vec<String> {
    let measured = measure(case, connections, clients);
    let (load, floor) = (&measured.load, &measured.floor);
    vec![
        case.name.to_owned(),
        if connections == Connections::Kept { "kept" } else { "new each time" }.to_owned(),
        clients.to_string(),
        format!("{:.0}", load.per_second()),
        time(load.quantile(500)),
        time(load.quantile(990)),
        time(load.quantile(999)),
        time(load.worst()),
        time(measured.cpu),
        measured.switches.map(|number| format!("{number:.1}")).unwrap_or_default(),
        format!("{:.0}", floor.per_second()),
        time(floor.quantile(500)),
        time(floor.quantile(990)),
        ratio(load.quantile(500).as_secs_f64(), floor.quantile(500).as_secs_f64()),
    ]
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
