//! Cold admissions: the repository is unknown, and the trust server is remote.

use std::time::{Duration, Instant};

use portreeve_test_support::trust_server::TrustServer;

use crate::client::request;
use crate::floor::signature_check;
use crate::footprint::{image, plant, repository};
use crate::real_notary::RealNotary;
use crate::relay::Relay;
use crate::table::{self, time};
use crate::webhook::{REGISTRY, Site, Webhook};

const ROUND_TRIPS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(50)];
const TIMES: usize = 7;
const REPOSITORIES: [&str; 2] = ["plant/plc", "plant/hmi"];

pub(crate) fn print() {
    if RealNotary::is_there() {
        let notary = RealNotary::start();
        REPOSITORIES.iter().for_each(|path| notary.publish(&format!("{REGISTRY}/{path}")));
        let site = |relay: &Relay| {
            let site = Site::new(&format!("https://localhost:{}", relay.port()), notary.ca_pem());
            site.policy("plant", &[format!("{REGISTRY}/*")], ("alice", &notary.alice_pem()));
            site
        };
        print_against("the real Notary server", notary.port(), site);
    } else {
        let trust_server = TrustServer::start();
        let repos = REPOSITORIES.map(repository);
        repos.iter().for_each(|repo| trust_server.publish(repo));
        let site = |relay: &Relay| {
            let site = Site::new(&format!("https://localhost:{}", relay.port()), trust_server.ca_pem());
            for (path, repo) in REPOSITORIES.iter().zip(&repos) {
                let key = repo.signer_public_key_pem("alice");
                site.policy(&path.replace('/', "-"), &[format!("{REGISTRY}/{path}")], ("alice", &key));
            }
            site
        };
        print_against("our own trust server, for the real one is not installed", trust_server.address().port(), site);
    }
    print_requests();
}

fn print_against(server: &str, port: u16, site_for: impl Fn(&Relay) -> Site) {
    let mut rows = Vec::new();
    for round_trip in ROUND_TRIPS {
        let relay = Relay::start(port, round_trip);
        let mut site = site_for(&relay);
        site.set("trust", "refreshAfter", "1ms");
        let mut found: [Vec<(Duration, u64)>; 3] = Default::default();
        for _ in 0..TIMES {
            let webhook = Webhook::start(&site);
            let mut client = webhook.connect();
            // The handshake with the webhook is not measured. This image matches no policy and is denied without a
            // request.
            client.ask(&request(&["elsewhere.local/nothing:v1".to_owned()])).unwrap();
            for (case, path) in [REPOSITORIES[0], REPOSITORIES[1], REPOSITORIES[0]].into_iter().enumerate() {
                let request = request(&[image(path)]);
                let (begin, turns) = (Instant::now(), relay.turns());
                client.admit(&request);
                found[case].push((begin.elapsed(), relay.turns() - turns));
            }
        }
        let cases = ["first contact with the server", "another repository, connection kept", "timestamp to be renewed"];
        for (case, mut found) in cases.into_iter().zip(found) {
            found.sort();
            let (median, turns) = found[found.len() / 2];
            let trips = round_trip * u32::try_from(turns).unwrap();
            rows.push(vec![
                time(round_trip),
                case.to_owned(),
                time(median),
                time(found[found.len() - 1].0),
                turns.to_string(),
                time(trips),
                time(median.saturating_sub(trips)),
            ]);
        }
    }
    let head =
        ["added round trip", "what is cold", "median of 7", "worst", "round trips", "these alone", "all the rest"];
    table::print(&format!("Cold admissions, asking {server}"), &head, &rows);
    println!("\nOne check of a P-256 signature by ring: {}.", time(signature_check()));
}

/// Prints the requests of a cold admission in their order.
fn print_requests() {
    let (trust_server, mut site) = plant(&repository(REPOSITORIES[0]));
    site.set("trust", "refreshAfter", "1ms");
    let webhook = Webhook::start(&site);
    let mut client = webhook.connect();
    for what in ["cold", "after refreshAfter"] {
        trust_server.forget_requests();
        client.admit(&request(&[image(REPOSITORIES[0])]));
        println!("Requests, {what}: {}.", trust_server.round_trips().join(", "));
    }
}
