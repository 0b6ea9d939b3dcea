//! How the cost of a warm admission grows with the number of images in a Pod, policies, targets and repositories.

use std::time::{Duration, Instant};

use portreeve_test_support::signer::{Key, Signer};
use portreeve_test_support::trust_server::TrustServer;

use crate::callgrind;
use crate::client::request;
use crate::load::{Connections, Load};
use crate::plant::{image, plant, repository, repository_by};
use crate::site::{REGISTRY, Site};
use crate::table::{self, count, time};
use crate::warm::instructions;
use crate::webhook::{Webhook, mebibytes};

const SPAN: Duration = Duration::from_millis(1500);
const COUNTED: u32 = 20;
const HEAD: [&str; 8] = ["", "exec to ready", "first answer", "p50", "p99", "CPU of each", "resident", "instructions"];

pub(crate) fn print() {
    images();
    policies();
    targets();
    repositories();
}

fn images() {
    let (_trust_server, site) = many_images();
    let rows = [1, 4, 16, 64].map(|number| row(number, &site, &request_for(number)));
    table_of("images in a Pod", &rows);
    if callgrind::is_there() {
        println!("\nInstructions of each image beyond the first, with 16: {}.", count(further_image(&site, 16)));
    }
}

/// A trust server with 64 tags of one repository, and its installation.
pub(crate) fn many_images() -> (TrustServer, Site) {
    let mut signer = Signer::new(&format!("{REGISTRY}/plant/plc")).signer("alice");
    for number in 0..64 {
        signer = signer.release(&format!("v{number}"), [7; 32], 1234, &["alice"]);
    }
    plant(&signer.publish())
}

/// A request for a Pod with as many of these images.
fn request_for(number: u64) -> Vec<u8> {
    request(&(0..number).map(|tag| format!("{REGISTRY}/plant/plc:v{tag}")).collect::<Vec<_>>())
}

/// The instructions of one more image in a Pod.
pub(crate) fn further_image(site: &Site, number: u64) -> u64 {
    let [one, all] = [1, number].map(|number| instructions(site, &request_for(number), COUNTED, true));
    (all - one) / (number - 1)
}

/// This number of teams on one registry, each with a pattern, with a star or without.
fn policies() {
    let trust_server = TrustServer::start();
    let repo = repository("plant/plc");
    trust_server.publish(&repo);
    let key = repo.signer_public_key_pem("alice");
    let mut rows = Vec::new();
    for (shape, star) in [("with a star", "*"), ("without", "")] {
        for number in [10, 1_000, 10_000] {
            let site = Site::new(&trust_server.url(), trust_server.ca_pem());
            let patterns = |file: usize| {
                let numbers = file * 1_000..number.min((file + 1) * 1_000);
                numbers.map(|number| format!("{REGISTRY}/other-{number}/app{star}")).collect::<Vec<_>>()
            };
            for file in 0..number.div_ceil(1_000) {
                site.policy(&format!("other-{file}"), &patterns(file), ("alice", &key));
            }
            // Shorter than all other patterns, so it is compared last.
            site.policy("plant", &[format!("{REGISTRY}/p*")], ("alice", &key));
            let mut row = row(number as u64, &site, &request(&[image("plant/plc")]));
            row[0] = format!("{} {shape}", row[0]);
            rows.push(row);
        }
    }
    table_of("policies' patterns, the last of which matches", &rows);
}

fn targets() {
    let rows = [10, 1_000, 10_000, 75_000].map(|number| {
        let mut signer = Signer::new(&format!("{REGISTRY}/plant/plc")).signer("alice");
        for tag in 0..number {
            signer = signer.release(&format!("v{tag}"), [7; 32], 1234, &["alice"]);
        }
        let repo = signer.publish();
        let (_trust_server, site) = plant(&repo);
        row(number, &site, &request(&[image("plant/plc")]))
    });
    table_of("targets in each of two roles", &rows);
}

/// All repositories are requested before the warm admissions, 32 at a time. The first answer is the one to the first
/// 32.
fn repositories() {
    let alice = Key::p256();
    let trust_server = TrustServer::start();
    let repo = |number: u64| repository_by(&format!("plant/app-{number}"), alice.clone());
    let mut published = 0;
    let rows = [1, 50, 500, 5_000].map(|number| {
        (published..number).for_each(|number| trust_server.publish(&repo(number)));
        published = number;
        let site = Site::new(&trust_server.url(), trust_server.ca_pem());
        site.policy("plant", &[format!("{REGISTRY}/*")], ("alice", &alice.public_pem()));
        let images: Vec<_> = (0..number).map(|number| image(&format!("plant/app-{number}"))).collect();
        let fill: Vec<_> = images.chunks(32).map(request).collect();
        trust_server.forget_requests();
        row_after(number, &site, &fill, &request(&images[..1]), false)
    });
    table_of("repositories in memory", &rows);
}

fn table_of(what: &str, rows: &[Vec<String>]) {
    let mut head = HEAD;
    head[0] = what;
    table::print(&format!("Warm admissions by {what}"), &head, rows);
}

fn row(number: u64, site: &Site, request: &[u8]) -> Vec<String> {
    row_after(number, site, &[], request, callgrind::is_there())
}

/// Each request of `fill` is sent once before.
fn row_after(number: u64, site: &Site, fill: &[Vec<u8>], request: &[u8], is_counted: bool) -> Vec<String> {
    let webhook = Webhook::start(site);
    let mut client = webhook.connect();
    let begin = Instant::now();
    client.admit(fill.first().map_or(request, Vec::as_slice));
    let first = begin.elapsed();
    fill.iter().for_each(|request| client.admit(request));
    let before = webhook.cpu();
    let load = Load::run(1, Connections::Kept, SPAN, request, || webhook.connect());
    let cpu = (webhook.cpu() - before) / load.number();
    vec![
        count(number),
        time(webhook.ready_after),
        time(first),
        time(load.quantile(500)),
        time(load.quantile(990)),
        time(cpu),
        mebibytes(webhook.memory().resident),
        if is_counted { count(instructions(site, request, COUNTED, true)) } else { String::new() },
    ]
}
