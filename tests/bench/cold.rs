//! Cold admissions: the repository is unknown, and the server with its signatures is remote.

use std::thread;
use std::time::{Duration, Instant};

use crate::client::request;
use crate::floor::signature_check;
use crate::load::median;
use crate::plant::{Scheme, Source, image};
use crate::real_notary::RealNotary;
use crate::relay::{Chain, Relay};
use crate::site::{REGISTRY, Site};
use crate::table::{self, time};
use crate::webhook::Webhook;

const ROUND_TRIPS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(50)];
/// What is older is to be renewed.
const REFRESH_AFTER: Duration = Duration::from_millis(1);
const TIMES: usize = 7;
pub(crate) const REPOSITORIES: [&str; 2] = ["plant/plc", "plant/hmi"];
const CASES: [&str; 3] = ["first contact with the server", "another repository, connection kept", "to be renewed"];

pub(crate) fn print() {
    let mut rows = Vec::new();
    if RealNotary::is_there() {
        let notary = RealNotary::start();
        REPOSITORIES.iter().for_each(|path| notary.publish(&format!("{REGISTRY}/{path}")));
        for round_trip in ROUND_TRIPS {
            let relay = Relay::start(notary.port(), round_trip);
            let site = Site::new(&format!("https://localhost:{}", relay.port()), notary.ca_pem());
            site.policy("plant", &[format!("{REGISTRY}/*")], ("alice", &notary.alice_pem()));
            rows.extend(rows_of("real Notary server", round_trip, Cold::measure(site, &relay, TIMES)));
        }
    }
    let names = REPOSITORIES.map(str::to_owned);
    for scheme in Scheme::ALL {
        let (source, key) = Source::start(scheme, &names);
        for round_trip in ROUND_TRIPS {
            let cold = with_token(&source, &key, round_trip, TIMES);
            rows.extend(rows_of(&format!("{}, our own server, with a token", scheme.name()), round_trip, cold));
        }
    }
    let head = [
        "the server",
        "added round trip",
        "what is cold",
        &format!("median of {TIMES}"),
        "worst",
        "round trips in a row",
        "of them requests",
        "these round trips alone",
        "all the rest",
    ];
    table::print("Cold admissions", &head, &rows);
    println!("\nOne check of a P-256 signature by ring: {}.\n", time(signature_check()));
    names_of_requests(&names);
}

/// The three kinds of cold admissions of one installation.
pub(crate) struct Cold([Vec<(Duration, Chain)>; CASES.len()]);

impl Cold {
    fn measure(mut site: Site, relay: &Relay, times: usize) -> Self {
        site.set("trust", "refreshAfter", format!("{}ms", REFRESH_AFTER.as_millis()));
        let mut found: [Vec<_>; CASES.len()] = Default::default();
        for _ in 0..times {
            let webhook = Webhook::start(&site);
            let mut client = webhook.connect();
            // The handshake with the webhook is not measured. This image matches no policy and is denied without a
            // request.
            client.ask(&request(&["elsewhere.local/nothing:v1".to_owned()])).unwrap();
            for (case, path) in [REPOSITORIES[0], REPOSITORIES[1], REPOSITORIES[0]].into_iter().enumerate() {
                let request = request(&[image(path)]);
                let (begin, before) = (Instant::now(), relay.chain());
                client.admit(&request);
                found[case].push((begin.elapsed(), relay.chain().since(before)));
            }
        }
        Self(found)
    }

    /// The median time and the median chain of one of [`CASES`].
    pub(crate) fn median(&self, case: usize) -> (Duration, Chain) {
        let of = &self.0[case];
        (median(of.iter().map(|(time, _)| *time)), median(of.iter().map(|(_, chain)| *chain)))
    }
}

/// Cold admissions from this server, which demands a token, behind a line.
pub(crate) fn with_token(source: &Source, key: &str, round_trip: Duration, times: usize) -> Cold {
    let relay = Relay::start(source.port(), round_trip);
    source.require_token(relay.port());
    Cold::measure(source.site(relay.port(), key), &relay, times)
}

fn rows_of(server: &str, round_trip: Duration, cold: Cold) -> Vec<Vec<String>> {
    let row = |(case, what): (usize, &&str)| {
        let (median, chain) = cold.median(case);
        let alone = round_trip * chain.turns;
        // Without a delay an answer may come before a request that does not need it has been sent.
        let count = |number: u32| if round_trip.is_zero() { String::new() } else { number.to_string() };
        vec![
            server.to_owned(),
            time(round_trip),
            (*what).to_owned(),
            time(median),
            time(cold.0[case].iter().map(|(time, _)| *time).max().unwrap()),
            count(chain.turns),
            count(chain.requests),
            time(alone),
            time(median.saturating_sub(alone)),
        ]
    };
    CASES.iter().enumerate().map(row).collect()
}

/// Prints the requests of a cold admission in their order.
fn names_of_requests(names: &[String]) {
    for scheme in Scheme::ALL {
        let (source, mut site) = Source::with_site(scheme, names);
        site.set("trust", "refreshAfter", format!("{}ms", REFRESH_AFTER.as_millis()));
        let webhook = Webhook::start(&site);
        let mut client = webhook.connect();
        for what in ["first contact", "to be renewed"] {
            source.forget_requests();
            thread::sleep(10 * REFRESH_AFTER);
            client.admit(&request(&[image(REPOSITORIES[0])]));
            println!("Requests, {}, {what}: {}.", scheme.name(), source.round_trips().join(", "));
        }
    }
}
