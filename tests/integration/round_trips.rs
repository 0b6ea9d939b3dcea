//! How many requests follow one another when a repository is seen for the first time, with the real Notary server behind a sign-in.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::https::{HttpsServer, Reply, Request, https_with};
use crate::notary::{Digest, RealNotary, Signer, needs_notary};
use crate::pki::Pki;
use crate::plant::{HMI, PASSWORD, PLC, USER};
use crate::product::Site;
use crate::review::{assert_allowed, pod_review, policy};
use crate::token::TokenService;

/// How long each response takes. Of two requests less than this apart, none can depend on the other.
const RESPONSE_TIME: Duration = Duration::from_millis(400);

/// Passes a request on, and its response after this time.
fn pass_on(pki: &Pki, port: u16, request: &Request) -> Reply {
    let began = Instant::now();
    let authorization = request.header("Authorization").map(|value| ("Authorization", value));
    let headers: Vec<_> = authorization.into_iter().collect();
    let response = https_with(pki, port, &request.method, &request.target, &headers, b"");
    let challenge = response.header("WWW-Authenticate").map(|value| ("WWW-Authenticate", value.to_owned()));
    thread::sleep(RESPONSE_TIME.saturating_sub(began.elapsed()));
    let plain = Reply::json(response.status, response.body);
    Reply { header: challenge.unwrap_or_else(|| plain.header.clone()), ..plain }
}

/// The requests in their order: how many follow one another, and the names of the files.
fn in_a_row(requests: &Mutex<Vec<(Instant, String)>>) -> (usize, Vec<String>) {
    let mut requests = std::mem::take(&mut *requests.lock().unwrap());
    requests.sort();
    let mut row: Vec<Instant> = Vec::new();
    for (began, _) in &requests {
        if row.last().is_none_or(|last| *began >= *last + RESPONSE_TIME) {
            row.push(*began);
        }
    }
    (row.len(), requests.into_iter().map(|(_, target)| target).collect())
}

#[test]
fn first_contact_takes_five_round_trips_in_a_row_and_another_repository_four() {
    needs_notary!();
    let pki = Pki::new();
    let tokens = TokenService::start(&pki, USER, PASSWORD);
    let notary = RealNotary::with_tokens(&pki, &tokens);
    let alice = Signer::new("alice");
    for gun in [PLC, HMI] {
        let roles = ["targets/releases", "targets/alice"];
        notary.repository(gun).add_signer(&alice).sign("v1", &Digest::of(gun), &roles);
    }
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (log, behind, port) = (Arc::clone(&requests), Arc::clone(&pki), notary.port());
    let relay = HttpsServer::start(&pki, move |request| {
        log.lock().unwrap().push((Instant::now(), request.target.clone()));
        pass_on(&behind, port, request)
    });
    let site = Site::with_server(&pki, &relay.url());
    site.policies(&[policy(&[&alice])]);
    site.pull_secret("harbor", "registry.local:9001", USER, PASSWORD);
    let serving = site.serve();
    // Root and timestamp, snapshot, and the lists; before them the refusals, if the server is not known.
    for (gun, expected) in [(PLC, 4), (HMI, 3)] {
        let before = tokens.issued();
        assert_allowed(&serving.admit("/admit?timeout=20s", &pod_review(&format!("{gun}:v1"))));
        let (row, targets) = in_a_row(&requests);
        // The token comes between two of these.
        assert_eq!((row, tokens.issued() - before), (expected, 1), "{targets:?}");
        // Beside the files: two refusals, and one request that opens a connection for the third list.
        assert_eq!(targets.len(), if gun == PLC { 9 } else { 6 }, "{targets:?}");
    }
}
