//! The service end to end: a signed repository on a TLS server, the verifier, and the cache between them.

use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use portreeve_test_support::signer::{Repo, Signer};
use portreeve_test_support::trust_server::{Fault, SignIn, TokenService, TrustServer as Server};

use super::service::RECHECK_AFTER;
use super::*;
use crate::base::context::Deadline;
use crate::base::files::scratch::Scratch;
use crate::base::secret::Secret;
use crate::base::waiting::Waiting;
use crate::keychain::credentials::Credentials;
use crate::keychain::{Credential, FnKeychain};
use crate::metrics::Metrics;
use crate::schemes::Freshness;
use portreeve_verify::tuf::{
    Anchor, FirstUse, Gun, KeyId, RefreshError, Rejection, RequiredSigner, RoleName, RootPin, SignerKey, TargetQuery,
};
use portreeve_verify::{Unavailable, UnavailableCause};

mod anchors;
mod endings;
mod exports;
mod load;
mod neighbours;
mod round_trips;
mod sharing;
mod stale;

const GUN: &str = "registry.local:9001/plant/plc";
const LONG: Duration = Duration::from_secs(20);

struct Bench {
    server: Server,
    scratch: Scratch,
    notary: Notary,
    repo: Repo,
    url: TrustServer,
    gun: Gun,
    anchor: Anchor,
}

/// The parts of a query that tests change.
struct Ask<'a> {
    tag: &'a str,
    signers: &'a [&'a str],
    credentials: &'a [Credential],
    when_unavailable: WhenUnavailable,
    wait: Duration,
    now: Timestamp,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            tag: "v1",
            signers: &[],
            credentials: &[],
            when_unavailable: WhenUnavailable::Deny,
            wait: LONG,
            now: Timestamp::now(),
        }
    }
}

impl Bench {
    fn new(refresh_after: Duration) -> Self {
        let repo = Signer::new(GUN)
            .signer("alice")
            .signer("bob")
            .release("v1", [1; 32], 1, &["alice", "bob"])
            .release("v2", [2; 32], 1, &["bob"])
            .publish();
        let server = Server::start();
        server.publish(&repo);
        let scratch = Scratch::new();
        let ca = scratch.write("ca.pem", server.ca_pem());
        let settings = Settings {
            ca: Some(ca),
            refresh_after,
            plain_http: PlainHttp::Refused,
            cache: None,
            workers: 8,
            waiting: Arc::new(Waiting::new(128)),
            memory: 64 << 20,
            verify_memory: 48 << 20,
            cache_bytes: usize::MAX,
            metrics: Arc::new(Metrics::new()),
        };
        Self {
            url: TrustServer::parse(&server.url(), PlainHttp::Refused).unwrap(),
            server,
            scratch,
            notary: Notary::new(settings).unwrap(),
            repo,
            gun: Gun::new(GUN).unwrap(),
            anchor: Anchor { pins: Arc::default(), first_use: FirstUse::Allowed },
        }
    }

    /// Another process: the same server and settings, with this cache.
    fn restart(&mut self, cache: Option<&std::path::Path>) {
        let settings = Settings {
            ca: Some(self.scratch.path().join("ca.pem")),
            refresh_after: self.notary.refresh_after,
            plain_http: PlainHttp::Refused,
            cache: cache.map(std::path::Path::to_owned),
            workers: 8,
            waiting: Arc::new(Waiting::new(128)),
            memory: 64 << 20,
            verify_memory: 48 << 20,
            cache_bytes: usize::MAX,
            metrics: Arc::new(Metrics::new()),
        };
        self.notary = Notary::new(settings).unwrap();
    }

    fn cache(&self) -> PathBuf {
        self.scratch.path().join("cache")
    }

    fn ask(&self, ask: &Ask<'_>) -> Result<Verified, RefreshError> {
        self.ask_with(ask, &Credentials::known(ask.credentials.to_vec()))
    }

    fn ask_with(&self, ask: &Ask<'_>, credentials: &Credentials<'_>) -> Result<Verified, RefreshError> {
        let required = |name: &&str| RequiredSigner {
            role: RoleName::of_signer(name).unwrap(),
            keys: vec![SignerKey::from_pem(&self.repo.signer_public_key_pem(name)).unwrap()],
        };
        let signers: Vec<_> = ask.signers.iter().map(required).collect();
        let query = Query {
            gun: &self.gun,
            server: &self.url,
            wanted: TargetQuery { tag: Some(ask.tag), digest: None },
            tags: Default::default(),
            anchor: &self.anchor,
            signers: &signers,
            credentials,
            when_unavailable: ask.when_unavailable,
            deadline: Deadline::after(ask.wait),
            notice: crate::schemes::WaitNotice::NONE,
        };
        let found = self.notary.ask(&query, ask.now);
        self.notary.writer.writer.settle(); // tests look at the disk, and restart
        found
    }

    /// Makes the cached data look this much older.
    fn age_by(&self, age: Duration) {
        self.notary.store.age_by(&self.url, &self.gun, age);
        self.server.forget_requests();
    }
}

fn freshness(result: &Result<Verified, RefreshError>) -> Freshness {
    result.as_ref().expect("verified").freshness
}

fn unavailable(result: Result<Verified, RefreshError>) -> String {
    match result {
        Err(RefreshError::Unavailable(unavailable)) => unavailable.message,
        other => panic!("expected unavailable, not {other:?}"),
    }
}

fn rejection(result: Result<Verified, RefreshError>) -> Rejection {
    match result {
        Err(RefreshError::Rejected(rejection)) => rejection,
        other => panic!("expected a rejection, not {other:?}"),
    }
}

fn stale(seconds: u64) -> WhenUnavailable {
    WhenUnavailable::UseCached { max_stale: Duration::from_secs(seconds) }
}

#[test]
fn a_cold_question_costs_one_request_a_role_and_a_warm_one_none() {
    let bench = Bench::new(LONG);
    let ask = Ask { signers: &["alice"], ..Ask::default() };
    let answer = bench.ask(&ask).unwrap();
    assert_eq!(answer.freshness, Freshness::Fetched);
    assert_eq!(answer.target.digest.sha256().hex(), "01".repeat(32));
    assert!(answer.repository.expiries().iter().any(|expiry| expiry.role == "timestamp"));
    assert_eq!(answer.repository.root_key_ids().len(), 1);
    assert_eq!(
        round_trips::sorted(&bench.server),
        [
            "GET /v2/",
            "GET root",
            "GET snapshot",
            "GET targets",
            "GET targets/alice",
            "GET targets/releases",
            "GET timestamp"
        ]
    );
    bench.server.forget_requests();
    assert_eq!(freshness(&bench.ask(&ask)), Freshness::Cached);
    assert_eq!(freshness(&bench.ask(&Ask::default())), Freshness::Cached);
    assert!(bench.server.requests().is_empty());
}

#[test]
fn after_refresh_after_only_the_timestamp_is_asked_for() {
    let bench = Bench::new(Duration::ZERO);
    let ask = Ask { signers: &["alice"], ..Ask::default() };
    bench.ask(&ask).unwrap();
    bench.server.forget_requests();
    assert_eq!(freshness(&bench.ask(&ask)), Freshness::Fetched);
    assert_eq!(bench.server.round_trips(), ["GET timestamp"]);
}

#[test]
fn another_signer_costs_its_role_alone() {
    let bench = Bench::new(LONG);
    bench.ask(&Ask { signers: &["alice"], ..Ask::default() }).unwrap();
    bench.server.forget_requests();
    bench.ask(&Ask { signers: &["bob"], ..Ask::default() }).unwrap();
    assert_eq!(bench.server.round_trips(), ["GET targets/bob"]);
    bench.server.forget_requests();
    bench.ask(&Ask { signers: &["alice", "bob"], ..Ask::default() }).unwrap();
    assert!(bench.server.requests().is_empty());
    // Both are kept up to date from now on.
    bench.age_by(LONG * 2);
    bench.ask(&Ask { signers: &["alice"], ..Ask::default() }).unwrap();
    bench.ask(&Ask { signers: &["bob"], ..Ask::default() }).unwrap();
    assert_eq!(bench.server.round_trips(), ["GET timestamp"]);
}

#[test]
fn a_new_tag_is_not_hidden_by_what_is_remembered() {
    let bench = Bench::new(LONG);
    bench.ask(&Ask::default()).unwrap();
    let next = bench.repo.update(|signer| signer.release("v3", [3; 32], 1, &["alice"]));
    bench.server.publish(&next);
    bench.server.forget_requests();
    // Within a moment of the last look, no other one is taken.
    assert!(matches!(rejection(bench.ask(&Ask { tag: "v3", ..Ask::default() })), Rejection::NoSuchTag { .. }));
    assert!(bench.server.requests().is_empty());
    bench.server.publish(&bench.repo);
    bench.age_by(RECHECK_AFTER * 2);
    bench.server.publish(&next);
    assert_eq!(freshness(&bench.ask(&Ask { tag: "v3", ..Ask::default() })), Freshness::Fetched);
    // A tag that is not there stays so, at one refresh for many questions.
    bench.server.forget_requests();
    for _ in 0..10 {
        rejection(bench.ask(&Ask { tag: "v9", ..Ask::default() }));
    }
    assert!(bench.server.count("timestamp") <= 1, "{:?}", bench.server.round_trips());
}

#[test]
fn a_remembered_rejection_holds_while_the_server_is_away() {
    let mut bench = Bench::new(LONG);
    bench.ask(&Ask::default()).unwrap();
    bench.age_by(RECHECK_AFTER * 2);
    bench.server.stop();
    assert!(matches!(rejection(bench.ask(&Ask { tag: "v9", ..Ask::default() })), Rejection::NoSuchTag { .. }));
}

#[test]
fn verdicts_are_told_apart() {
    let bench = Bench::new(Duration::ZERO);
    assert!(matches!(
        rejection(bench.ask(&Ask { tag: "v2", signers: &["alice"], ..Ask::default() })),
        Rejection::NotSignedBy { .. }
    ));
    bench.server.misbehave("timestamp", Fault::Body("{}"));
    rejection(bench.ask(&Ask::default()));
    for fault in [
        Fault::Html,
        Fault::Status(500),
        Fault::Status(404),
        Fault::Unauthorized,
        Fault::Reset,
        Fault::Redirect,
        Fault::ShortBody,
    ] {
        bench.server.misbehave("timestamp", fault);
        unavailable(bench.ask(&Ask::default()));
    }
    bench.server.misbehave("timestamp", Fault::Huge(100 << 20));
    assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::TooLarge { .. }));
    bench.server.behave();
    bench.ask(&Ask::default()).unwrap();
    bench.server.remove(GUN);
    let fresh = Bench::new(LONG);
    fresh.server.remove(GUN);
    assert!(matches!(rejection(fresh.ask(&Ask::default())), Rejection::NoTrustData { .. }));
}

#[test]
fn what_was_seen_is_not_gone_back_behind() {
    let bench = Bench::new(Duration::ZERO);
    let next = bench.repo.update(|signer| signer.release("v1", [9; 32], 1, &["alice"]));
    bench.server.publish(&next);
    bench.ask(&Ask::default()).unwrap();
    bench.server.publish(&bench.repo);
    assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::Rollback { .. }));
}

#[test]
fn repositories_that_do_not_exist_are_not_remembered() {
    let bench = Bench::new(LONG);
    bench.server.remove(GUN);
    rejection(bench.ask(&Ask::default()));
    assert_eq!(bench.notary.refreshes.len(), 0);
}

#[test]
fn what_was_seen_by_one_anchor_binds_every_other() {
    let mut bench = Bench::new(Duration::ZERO);
    let next = bench.repo.update(|signer| signer.release("v1", [9; 32], 1, &["alice"]));
    bench.server.publish(&next);
    bench.ask(&Ask::default()).unwrap();
    bench.server.publish(&bench.repo);
    bench.anchor.pins =
        vec![portreeve_verify::tuf::RootPin::KeyId(KeyId::from_hex(&bench.repo.root_key_id()).unwrap())].into();
    assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::Rollback { .. }));
}

#[test]
fn what_one_policy_asked_for_is_kept_for_the_others() {
    let mut bench = Bench::new(Duration::ZERO);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    bench.ask(&Ask { signers: &["alice"], ..Ask::default() }).unwrap();
    bench.anchor.first_use = FirstUse::Forbidden;
    bench.anchor.pins =
        vec![portreeve_verify::tuf::RootPin::KeyId(KeyId::from_hex(&bench.repo.root_key_id()).unwrap())].into();
    let next = bench.repo.update(|signer| signer.release("v3", [9; 32], 1, &["bob"]));
    bench.server.publish(&next);
    bench.ask(&Ask { signers: &["bob"], ..Ask::default() }).unwrap();
    bench.restart(Some(&cache));
    bench.server.stop();
    for signer in ["alice", "bob"] {
        let ask = Ask { signers: &[signer], tag: "v1", when_unavailable: stale(3600), ..Ask::default() };
        assert!(matches!(freshness(&bench.ask(&ask)), Freshness::Stale { .. }), "{signer}");
    }
}

#[test]
fn a_signers_role_that_cannot_be_had_denies_only_those_who_ask_for_it() {
    let bench = Bench::new(Duration::ZERO);
    let ask = |signer: &'static str| bench.ask(&Ask { signers: &[signer], tag: "v1", ..Ask::default() });
    ask("bob").unwrap();
    let rotated = bench.repo.update(|signer| {
        signer
            .release("v3", [9; 32], 1, &["bob"])
            .rotate("timestamp", vec![portreeve_test_support::signer::Key::p256()])
    });
    bench.server.publish(&rotated);
    bench.server.misbehave("targets/bob", Fault::Status(500));
    ask("alice").unwrap();
    unavailable(ask("bob"));
    ask("alice").unwrap();
    bench.server.behave();
    ask("bob").unwrap();
}

#[test]
fn one_signers_missing_file_does_not_deny_who_does_not_ask_for_it() {
    let bench = Bench::new(LONG);
    bench.server.misbehave("/timestamp", Fault::Delay(Duration::from_millis(500)));
    bench.server.misbehave("/targets/bob", Fault::Status(500));
    thread::scope(|scope| {
        let leader = scope.spawn(|| bench.ask(&Ask { signers: &["bob"], ..Ask::default() }));
        while bench.server.count("/timestamp") == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        bench.ask(&Ask::default()).unwrap();
        unavailable(leader.join().unwrap());
    });
}
