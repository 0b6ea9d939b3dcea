//! The service end to end: a signed repository on a TLS server, the verifier, and what is remembered between.

use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;

use portreeve_test_support::signer::{Repo, Signer};
use portreeve_test_support::trust_server::{Fault, SignIn, TokenService, TrustServer as Server};

use super::*;
use crate::base::files::scratch::Scratch;
use crate::base::secret::Secret;
use crate::keychain::Credential;
use crate::keychain::FnKeychain;
use crate::keychain::credentials::Credentials;
use crate::schemes::Freshness;
use portreeve_verify::tuf::RoleName;
use portreeve_verify::tuf::{Anchor, FirstUse, RootPin};
use portreeve_verify::tuf::{KeyId, SignerKey};
use portreeve_verify::tuf::{Rejection, RequiredSigner, TargetQuery};
use portreeve_verify::{Unavailable, UnavailableCause};

mod anchors;
mod load;
mod neighbours;

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

/// What differs between questions.
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
        let settings = NotarySettings {
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
            anchor: Anchor { pins: Vec::new(), first_use: FirstUse::Allowed },
        }
    }

    /// Another process: the same server and settings, with this cache.
    fn restart(&mut self, cache: Option<&std::path::Path>) {
        let settings = NotarySettings {
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

    fn ask(&self, ask: &Ask<'_>) -> Result<Verified, Refusal> {
        self.ask_with(ask, &Credentials::known(ask.credentials.to_vec()))
    }

    fn ask_with(&self, ask: &Ask<'_>, credentials: &Credentials<'_>) -> Result<Verified, Refusal> {
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
        };
        self.notary.ask(&query, ask.now)
    }

    /// Makes what is remembered look this much older.
    fn age_by(&self, age: Duration) {
        self.notary.store.age_by(&self.url, &self.gun, age);
        self.server.forget_requests();
    }
}

fn freshness(result: &Result<Verified, Refusal>) -> Freshness {
    result.as_ref().expect("verified").freshness
}

fn unavailable(result: Result<Verified, Refusal>) -> String {
    match result {
        Err(Refusal::Unavailable(unavailable)) => unavailable.message,
        other => panic!("expected unavailable, not {other:?}"),
    }
}

fn rejection(result: Result<Verified, Refusal>) -> Rejection {
    match result {
        Err(Refusal::Rejected(rejection)) => rejection,
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
    assert_eq!(answer.target.signers, [RoleName::of_signer("alice").unwrap()]);
    assert!(answer.repository.expiries().iter().any(|expiry| expiry.role == "timestamp"));
    assert_eq!(answer.repository.root_key_ids().len(), 1);
    assert_eq!(
        bench.server.round_trips(),
        ["GET root", "GET timestamp", "GET snapshot", "GET targets", "GET targets/releases", "GET targets/alice"]
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
fn questions_at_the_same_time_share_one_refresh() {
    let bench = Bench::new(LONG);
    bench.server.misbehave("timestamp", Fault::Delay(Duration::from_millis(300)));
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    bench.ask(&Ask::default())
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
    assert_eq!(bench.server.count("timestamp"), 1);
}

#[test]
fn a_shared_failure_is_told_to_all_and_forgotten() {
    let bench = Bench::new(LONG);
    bench.server.misbehave("root", Fault::Delay(Duration::from_millis(300)));
    bench.server.misbehave("timestamp", Fault::Status(500));
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    bench.ask(&Ask::default())
                })
            })
            .collect();
        for thread in threads {
            assert!(unavailable(thread.join().unwrap()).contains("500"));
        }
    });
    assert_eq!(bench.server.count("timestamp"), 1);
    bench.server.behave();
    bench.ask(&Ask::default()).unwrap();
}

/// Nobody was asked who it is, so that the failure is not anybody's own.
#[test]
fn a_failure_before_any_sign_in_is_shared_whatever_the_credentials() {
    let bench = Bench::new(LONG);
    bench.server.misbehave("root", Fault::Delay(Duration::from_millis(300)));
    bench.server.misbehave("timestamp", Fault::Status(500));
    let of = |user: &str| {
        let (username, password) = (user.to_owned(), Secret::new("p"));
        FnKeychain(move |_| {
            vec![Credential { username: username.clone(), password: password.clone(), source: String::new() }]
        })
    };
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        let threads: Vec<_> = ["a", "b", "c", "d"]
            .map(|user| {
                let (bench, barrier) = (&bench, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let keychain = of(user);
                    let credentials = Credentials::new(&keychain, GUN, None);
                    let why = unavailable(bench.ask_with(&Ask::default(), &credentials));
                    assert!(credentials.found().is_none());
                    why
                })
            })
            .into_iter()
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap().contains("500"));
        }
    });
    assert_eq!(bench.server.count("timestamp"), 1);
}

#[test]
fn who_waits_takes_over_when_the_leader_ran_out_of_time() {
    let bench = Bench::new(LONG);
    bench.server.misbehave("root", Fault::Stall);
    thread::scope(|scope| {
        let leader = scope.spawn(|| bench.ask(&Ask { wait: Duration::from_millis(500), ..Ask::default() }));
        while bench.server.count("root") == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        bench.server.behave();
        let waiting = scope.spawn(|| bench.ask(&Ask::default()));
        assert!(unavailable(leader.join().unwrap()).contains("in time"));
        assert_eq!(freshness(&waiting.join().unwrap()), Freshness::Fetched);
    });
}

#[test]
fn who_waits_keeps_to_its_own_deadline() {
    let bench = Bench::new(LONG);
    bench.server.misbehave("root", Fault::Stall);
    thread::scope(|scope| {
        let leader = scope.spawn(|| bench.ask(&Ask { wait: Duration::from_secs(3), ..Ask::default() }));
        while bench.server.count("root") == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let started = Instant::now();
        unavailable(bench.ask(&Ask { wait: Duration::from_millis(300), ..Ask::default() }));
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        unavailable(leader.join().unwrap());
    });
}

#[test]
fn one_tenants_bad_credentials_do_not_deny_another() {
    let bench = Bench::new(LONG);
    bench.server.require(SignIn::Bearer(TokenService::of("alice", "secret")));
    bench.server.misbehave("/token", Fault::Delay(Duration::from_millis(300)));
    let credential = |password: &str| Credential {
        username: "alice".to_owned(),
        password: Secret::new(password),
        source: "a file".to_owned(),
    };
    let (bad, good) = ([credential("wrong")], [credential("secret")]);
    thread::scope(|scope| {
        let leader = scope.spawn(|| bench.ask(&Ask { credentials: &bad, ..Ask::default() }));
        while bench.server.count("/token") == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let waiting = scope.spawn(|| bench.ask(&Ask { credentials: &good, ..Ask::default() }));
        assert!(unavailable(leader.join().unwrap()).contains("a file"));
        waiting.join().unwrap().unwrap();
    });
    // And what one fetched answers the other: the data is the same.
    assert_eq!(freshness(&bench.ask(&Ask { credentials: &bad, ..Ask::default() })), Freshness::Cached);
}

/// A server may say of what somebody has no right to that it does not exist: others find out for themselves.
#[test]
fn what_does_not_exist_for_one_tenant_may_for_another() {
    let bench = Bench::new(LONG);
    let users = ["alice", "bob"].map(|user| (user.to_owned(), "secret".to_owned()));
    bench.server.require(SignIn::Bearer(TokenService { users: users.to_vec(), ..TokenService::of("", "") }));
    bench.server.misbehave("/token", Fault::Delay(Duration::from_millis(500)));
    bench.server.remove(bench.gun.as_str());
    let of = |user: &str| Credential {
        username: user.to_owned(),
        password: Secret::new("secret"),
        source: "a file".to_owned(),
    };
    let (alice, bob) = ([of("alice")], [of("bob")]);
    thread::scope(|scope| {
        let leader = scope.spawn(|| bench.ask(&Ask { credentials: &alice, ..Ask::default() }));
        while bench.server.count("/token") == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let waiting = scope.spawn(|| bench.ask(&Ask { credentials: &bob, ..Ask::default() }));
        rejection(leader.join().unwrap());
        rejection(waiting.join().unwrap());
    });
    assert_eq!(bench.server.count("/token"), 2, "each was asked for");
    rejection(bench.ask(&Ask { credentials: &bob, ..Ask::default() }));
    assert_eq!(bench.server.count("/token"), 2, "the same one is told the same");
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
fn stored_data_stands_in_only_as_far_as_the_question_allows() {
    let mut bench = Bench::new(Duration::from_secs(30));
    let ask = |when_unavailable| Ask { signers: &["alice"], when_unavailable, ..Ask::default() };
    bench.ask(&ask(WhenUnavailable::Deny)).unwrap();
    bench.age_by(Duration::from_secs(60));
    bench.server.stop();
    unavailable(bench.ask(&ask(WhenUnavailable::Deny)));
    assert!(unavailable(bench.ask(&ask(stale(10)))).contains("maxStale"));
    let Freshness::Stale { age } = freshness(&bench.ask(&ask(stale(3600)))) else { panic!("it was not stored data") };
    assert!(age >= Duration::from_secs(60) && age < Duration::from_secs(120), "{age:?}");
    // Expired metadata never counts, however fresh the confirmation.
    let late = Timestamp::now() + Duration::from_secs(20 * 86_400);
    assert!(matches!(rejection(bench.ask(&Ask { now: late, ..ask(stale(u64::MAX)) })), Rejection::Expired { .. }));
    // Data that does not hold the role that is asked for is no answer.
    let other = Ask { signers: &["alice", "bob"], ..ask(stale(3600)) };
    assert!(unavailable(bench.ask(&other)).contains("nothing is stored"));
}

#[test]
fn a_server_that_hangs_leaves_stored_data_its_time() {
    let bench = Bench::new(Duration::ZERO);
    bench.ask(&Ask::default()).unwrap();
    bench.server.misbehave("timestamp", Fault::Stall);
    let started = Instant::now();
    let ask = Ask { when_unavailable: stale(3600), wait: Duration::from_secs(2), ..Ask::default() };
    assert!(matches!(freshness(&bench.ask(&ask)), Freshness::Stale { .. }));
    assert!(started.elapsed() < Duration::from_millis(1800), "{:?}", started.elapsed());
}

#[test]
fn a_server_that_rejects_itself_is_not_stood_in_for() {
    let bench = Bench::new(Duration::ZERO);
    bench.ask(&Ask::default()).unwrap();
    bench.server.misbehave("timestamp", Fault::Body("{\"signed\":{},\"signatures\":[]}"));
    rejection(bench.ask(&Ask { when_unavailable: stale(3600), ..Ask::default() }));
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
fn a_restart_while_the_server_is_away_still_admits() {
    let mut bench = Bench::new(Duration::ZERO);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    let ask = |when_unavailable| Ask { signers: &["alice"], when_unavailable, ..Ask::default() };
    bench.ask(&ask(WhenUnavailable::Deny)).unwrap();
    bench.server.misbehave("", Fault::Status(503));
    bench.restart(Some(&cache));
    unavailable(bench.ask(&ask(WhenUnavailable::Deny)));
    let found = bench.ask(&ask(stale(3600)));
    let Freshness::Stale { age } = freshness(&found) else { panic!("{found:?}") };
    assert!(age < Duration::from_secs(60), "{age:?}");
    // Too old, from the future, or expired.
    let at =
        |seconds: i64| Ask { now: Timestamp::now() + jiff::SignedDuration::from_secs(seconds), ..ask(stale(3600)) };
    assert!(unavailable(bench.ask(&at(3700))).contains("maxStale allows 60m"));
    assert!(unavailable(bench.ask(&at(-3600))).contains("nothing is stored"));
    let late = Ask { when_unavailable: stale(u64::MAX), ..at(20 * 86_400) };
    assert!(matches!(rejection(bench.ask(&late)), Rejection::Expired { .. }));
    // Nothing stands in for a role that was not stored, nor under pins that the stored root does not meet.
    unavailable(bench.ask(&Ask { signers: &["bob"], ..ask(stale(3600)) }));
    bench.anchor.pins = vec![portreeve_verify::tuf::RootPin::KeyId(KeyId::new([7; 32]))];
    assert!(matches!(rejection(bench.ask(&ask(stale(3600)))), Rejection::RootNotTrusted { .. }));
    bench.anchor.pins =
        vec![portreeve_verify::tuf::RootPin::KeyId(KeyId::from_hex(&bench.repo.root_key_id()).unwrap())];
    assert!(matches!(freshness(&bench.ask(&ask(stale(3600)))), Freshness::Stale { .. }));
    // Without the cache nothing is known.
    bench.restart(None);
    assert!(unavailable(bench.ask(&ask(stale(3600)))).contains("nothing is stored"));
}

#[test]
fn a_server_that_hangs_leaves_stored_data_its_time_after_a_restart() {
    let mut bench = Bench::new(Duration::ZERO);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    bench.ask(&Ask::default()).unwrap();
    bench.restart(Some(&cache));
    bench.server.misbehave("timestamp", Fault::Stall);
    let started = Instant::now();
    let ask = Ask { when_unavailable: stale(3600), wait: Duration::from_secs(2), ..Ask::default() };
    assert!(matches!(freshness(&bench.ask(&ask)), Freshness::Stale { .. }));
    assert!(started.elapsed() < Duration::from_millis(1800), "{:?}", started.elapsed());
}

#[test]
fn a_restart_costs_the_timestamp_alone() {
    let mut bench = Bench::new(LONG);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    let ask = Ask { signers: &["alice"], ..Ask::default() };
    bench.ask(&ask).unwrap();
    bench.restart(Some(&cache));
    bench.server.forget_requests();
    assert_eq!(freshness(&bench.ask(&ask)), Freshness::Fetched);
    assert_eq!(bench.server.round_trips(), ["GET timestamp"]);
    // A stored generation is no word of the server's: a bad server is not hidden by it.
    bench.restart(Some(&cache));
    bench.server.misbehave("timestamp", Fault::Body("{}"));
    rejection(bench.ask(&Ask { when_unavailable: stale(3600), ..ask }));
}

#[test]
fn what_was_seen_by_one_anchor_binds_every_other() {
    let mut bench = Bench::new(Duration::ZERO);
    let next = bench.repo.update(|signer| signer.release("v1", [9; 32], 1, &["alice"]));
    bench.server.publish(&next);
    bench.ask(&Ask::default()).unwrap();
    bench.server.publish(&bench.repo);
    bench.anchor.pins =
        vec![portreeve_verify::tuf::RootPin::KeyId(KeyId::from_hex(&bench.repo.root_key_id()).unwrap())];
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
        vec![portreeve_verify::tuf::RootPin::KeyId(KeyId::from_hex(&bench.repo.root_key_id()).unwrap())];
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
fn an_export_is_carried_to_where_there_is_no_server() {
    let mut bench = Bench::new(Duration::ZERO);
    let rotated = bench.repo.update(|signer| {
        signer.rotate("root", vec![portreeve_test_support::signer::Key::root(GUN)]).expires("targets", far())
    });
    bench.server.publish(&rotated);
    let export = |bench: &Bench| {
        let request = crate::schemes::notary::export::ExportRequest {
            gun: &bench.gun,
            server: &bench.url,
            anchor: &bench.anchor,
            credentials: &Credentials::known(Vec::new()),
            deadline: Deadline::after(LONG),
        };
        bench.notary.export(&request, Timestamp::now())
    };
    let exported = export(&bench).unwrap();
    let stems: Vec<_> = exported.files.iter().map(|(stem, _)| stem.as_str()).collect();
    for role in ["targets", "targets/alice", "targets/bob", "targets/releases", "snapshot", "timestamp", "root"] {
        assert!(stems.contains(&rotated.file_of(role).as_str()), "{role} in {stems:?}");
    }
    // A root that does not lead to the newest one is not taken along.
    bench.server.put(GUN, "1.root", Signer::new(GUN).publish().bytes("root"));
    let without = export(&bench).unwrap();
    assert!(!without.files.iter().any(|(stem, _)| stem == "1.root"));
    // The way from the first root is there as well.
    assert!(stems.contains(&"1.root") && stems.contains(&"2.root"), "{stems:?}");
    for (stem, bytes) in &exported.files {
        let path = format!("carried/{GUN}/{stem}.json");
        bench.scratch.write(&path, bytes);
        assert_eq!(rotated.files().get(stem), Some(bytes), "{stem}");
    }
    bench.server.stop();
    bench.url =
        TrustServer::parse(&format!("file://{}", bench.scratch.path().join("carried").display()), PlainHttp::Refused)
            .unwrap();
    let verified = bench.ask(&Ask { signers: &["alice"], ..Ask::default() }).unwrap();
    assert_eq!(verified.target.digest.sha256().hex(), "01".repeat(32));
    assert!(matches!(
        rejection(bench.ask(&Ask { tag: "v2", signers: &["alice"], ..Ask::default() })),
        Rejection::NotSignedBy { .. }
    ));
    assert!(matches!(rejection(bench.ask(&Ask { tag: "no", ..Ask::default() })), Rejection::NoSuchTag { .. }));
    // A directory goes back as little as a server.
    for (stem, bytes) in bench.repo.files() {
        bench.scratch.write(&format!("carried/{GUN}/{stem}.json"), bytes);
    }
    assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::Rollback { .. }));
    // And data that has ended is as dead in a directory as anywhere.
    let late = Ask { now: Timestamp::now() + jiff::SignedDuration::from_hours(24 * 20), ..Ask::default() };
    bench.restart(None);
    assert!(matches!(rejection(bench.ask(&late)), Rejection::Expired { .. }));
    // Nothing mounted is a server that is away.
    std::fs::remove_dir_all(bench.scratch.path().join("carried")).unwrap();
    bench.restart(None);
    unavailable(bench.ask(&Ask::default()));
}

fn far() -> Timestamp {
    Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365)
}

#[test]
fn what_does_not_verify_is_not_exported() {
    let bench = Bench::new(LONG);
    let broken =
        bench.repo.update(|signer| signer.edit_envelope("targets/bob", |e| e["signatures"] = serde_json::json!([])));
    bench.server.publish(&broken);
    let request = crate::schemes::notary::export::ExportRequest {
        gun: &bench.gun,
        server: &bench.url,
        anchor: &bench.anchor,
        credentials: &Credentials::known(Vec::new()),
        deadline: Deadline::after(LONG),
    };
    let exported = bench.notary.export(&request, Timestamp::now()).unwrap();
    let left_out: Vec<_> = exported.left_out.keys().map(RoleName::signer).collect();
    assert_eq!(left_out, ["bob"]);
    assert!(!exported.files.iter().any(|(stem, _)| stem.starts_with("targets/bob")));
    bench.server.publish(&broken.update(|signer| signer.edit_bytes("targets/releases", |_| b"{}".to_vec())));
    assert!(matches!(bench.notary.export(&request, Timestamp::now()), Err(Refusal::Rejected(_))));
    bench.server.misbehave("", Fault::Status(500));
    assert!(matches!(bench.notary.export(&request, Timestamp::now()), Err(Refusal::Unavailable(_))));
}

#[test]
fn what_was_superseded_neither_serves_nor_stands_in() {
    let bench = Bench::new(Duration::from_secs(600));
    bench.ask(&Ask::default()).unwrap();
    bench.age_by(RECHECK_AFTER + Duration::from_secs(1));
    let next = bench.repo.update(|signer| signer.remove_target("targets/releases", "v1").touch("targets"));
    bench.server.publish(&next);
    // Another question asks the server again, and sees that there is a newer publication, but not what is in it.
    bench.server.misbehave("/targets.", Fault::Status(500));
    let stored = Ask { when_unavailable: stale(3600), ..Ask::default() };
    assert!(bench.ask(&Ask { tag: "v9", when_unavailable: stale(3600), ..Ask::default() }).is_err());
    let said = unavailable(bench.ask(&stored));
    assert!(said.contains("newer trust data was seen"), "{said}");
    // Nor once nothing can be reached at all.
    bench.server.misbehave("", Fault::Status(500));
    let said = unavailable(bench.ask(&stored));
    assert!(said.contains("newer trust data was seen"), "{said}");
    bench.server.behave();
    assert!(matches!(rejection(bench.ask(&stored)), Rejection::NoSuchTag { .. }));
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

#[test]
fn who_waits_gets_no_verdict_on_other_signers() {
    let bench = Bench::new(LONG);
    bench.server.misbehave("/timestamp", Fault::Delay(Duration::from_millis(500)));
    thread::scope(|scope| {
        let leader = scope.spawn(|| bench.ask(&Ask::default()));
        while bench.server.count("/timestamp") == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        bench.ask(&Ask { signers: &["alice"], ..Ask::default() }).unwrap();
        leader.join().unwrap().unwrap();
    });
    assert_eq!((bench.server.count("/targets/alice"), bench.server.count("/timestamp")), (1, 1));
}

#[test]
fn what_was_superseded_stands_in_for_nothing_after_a_restart() {
    let mut bench = Bench::new(Duration::ZERO);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    bench.ask(&Ask::default()).unwrap();
    let next = bench.repo.update(|signer| signer.remove_target("targets/releases", "v1").touch("targets"));
    bench.server.publish(&next);
    // That there is a newer publication is seen, but not what is in it.
    bench.server.misbehave("/targets.", Fault::Status(500));
    let stored = Ask { when_unavailable: stale(3600), ..Ask::default() };
    unavailable(bench.ask(&stored));
    bench.restart(Some(&cache));
    bench.server.misbehave("", Fault::Status(500));
    assert!(unavailable(bench.ask(&stored)).contains("newer trust data was seen"));
    // Nor can the server now show the old one again.
    bench.server.behave();
    bench.server.publish(&bench.repo);
    assert!(matches!(rejection(bench.ask(&stored)), Rejection::Rollback { .. }));
}

#[test]
fn a_cache_that_cannot_be_read_is_nobodys_first_use() {
    let mut bench = Bench::new(Duration::ZERO);
    let circle = bench.scratch.path().join("circle");
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    bench.restart(Some(&circle));
    let stored = Ask { when_unavailable: stale(3600), ..Ask::default() };
    for ask in [&Ask::default(), &stored, &stored] {
        let refusal = bench.ask(ask).unwrap_err();
        let Refusal::Unavailable(Unavailable { cause, message: why }) = refusal else { panic!("{refusal:?}") };
        assert_eq!(cause, UnavailableCause::TrustState);
        assert!(why.contains("trust.cache cannot be read") && why.contains("circle"), "{why}");
    }
    // With the server away, both are told.
    bench.server.misbehave("", Fault::Status(500));
    assert!(matches!(bench.ask(&stored), Err(Refusal::Unavailable(_))));
    bench.server.behave();
    // It counts as soon as it can be read.
    std::fs::remove_file(&circle).unwrap();
    bench.ask(&Ask::default()).unwrap();
}

#[test]
fn a_reset_is_noticed_before_anything_is_denied_by_what_was_forgotten() {
    let mut bench = Bench::new(LONG);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    bench.ask(&Ask::default()).unwrap();
    bench.age_by(Duration::from_secs(3));
    bench.server.publish(&Signer::new(GUN).release("v3", [3; 32], 1, &[]).publish());
    crate::schemes::notary::store::reset(cache, &bench.gun, &[]).unwrap();
    // Within `refresh_after` it goes on to admit by what it remembers.
    assert_eq!(freshness(&bench.ask(&Ask::default())), Freshness::Cached);
    assert_eq!(freshness(&bench.ask(&Ask { tag: "v3", ..Ask::default() })), Freshness::Fetched);
    assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::NoSuchTag { .. }));
}

/// The owner's new root is seen once, in a refresh that fails, by a process that knows root and versions alone.
#[test]
fn what_a_failed_refresh_has_seen_outlives_the_process_that_had_no_data() {
    let mut bench = Bench::new(Duration::ZERO);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    bench.ask(&Ask::default()).unwrap();
    let timestamp = format!("{}.json", portreeve_verify::image::Sha256::of(&bench.repo.bytes("timestamp")).hex());
    let directory = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(directory.join(timestamp)).unwrap();
    let rotated = bench.repo.update(|s| s.rotate("targets", vec![portreeve_test_support::signer::Key::p256()]));
    bench.server.publish(&rotated);
    bench.server.misbehave(&rotated.file_of("targets"), Fault::Status(503));
    bench.restart(Some(&cache));
    unavailable(bench.ask(&Ask::default()));
    bench.server.behave();
    bench.server.publish(&bench.repo);
    for _ in 0..2 {
        assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::Rollback { .. }));
        bench.restart(Some(&cache));
    }
    bench.server.publish(&rotated);
    bench.ask(&Ask::default()).unwrap();
}

#[test]
fn what_another_anchor_has_brought_stands_in_rather_than_what_is_older() {
    let mut bench = Bench::new(Duration::ZERO);
    bench.ask(&Ask::default()).unwrap();
    let next = bench.repo.update(|signer| signer.remove_target("targets/releases", "v1").touch("targets"));
    bench.server.publish(&next);
    let id = KeyId::from_hex(&bench.repo.root_key_id()).unwrap();
    let pinned = Anchor { pins: vec![RootPin::KeyId(id)], first_use: FirstUse::Forbidden };
    let first_use = std::mem::replace(&mut bench.anchor, pinned);
    bench.ask(&Ask { tag: "v2", ..Ask::default() }).unwrap();
    bench.anchor = first_use;
    bench.server.stop();
    let stored = || Ask { when_unavailable: stale(3600), ..Ask::default() };
    // Without the time to ask, and after having asked in vain.
    for wait in [Duration::ZERO, LONG] {
        let gone = bench.ask(&Ask { wait, ..stored() });
        assert!(matches!(rejection(gone), Rejection::NoSuchTag { .. }), "{wait:?}");
        let there = bench.ask(&Ask { tag: "v2", wait, ..stored() });
        assert!(matches!(freshness(&there), Freshness::Stale { .. }), "{wait:?}");
    }
}

#[test]
fn the_soonest_end_of_what_lets_images_in_is_told() {
    let metrics = |bench: &Bench| bench.notary.metrics.render();
    let series = |role: &str, ends: Timestamp| {
        format!("portreeve_trust_data_ends_timestamp_seconds{{role=\"{role}\"}} {}\n", ends.as_second())
    };
    let now = Timestamp::now();
    let soon = now + jiff::SignedDuration::from_hours(100);
    let mut bench = Bench::new(Duration::ZERO);
    bench.repo = bench.repo.update(|signer| signer.expires("targets/releases", soon));
    bench.server.publish(&bench.repo);
    // What lets nothing in is nobody's loss.
    rejection(bench.ask(&Ask { tag: "no", ..Ask::default() }));
    bench.notary.look_at_ends(now);
    assert!(!metrics(&bench).contains("portreeve_trust_data_ends_timestamp_seconds{"));
    bench.ask(&Ask { signers: &["alice"], ..Ask::default() }).unwrap();
    for look in [false, true] {
        if look {
            bench.notary.ends = Ends::default();
            bench.notary.look_at_ends(now);
        }
        let told = metrics(&bench);
        assert!(told.contains(&series("releases", soon)), "{told}");
        for role in ["root", "targets", "delegation"] {
            assert!(
                told.contains(&format!("portreeve_trust_data_ends_timestamp_seconds{{role=\"{role}\"}} ")),
                "{told}"
            );
        }
        // A healthy server's may end any moment.
        for role in ["timestamp", "snapshot"] {
            assert!(!told.contains(&format!("ends_timestamp_seconds{{role=\"{role}\"}}")), "{told}");
        }
    }
    // Signed anew, it ends later.
    let later = now + jiff::SignedDuration::from_hours(1_000);
    bench.server.publish(&bench.repo.update(|signer| signer.expires("targets/releases", later)));
    bench.ask(&Ask::default()).unwrap();
    bench.notary.ends = Ends::default();
    bench.notary.look_at_ends(now);
    assert!(metrics(&bench).contains(&series("releases", later)));
    // Nobody has asked for it for a day.
    bench.notary.ends = Ends::default();
    bench.notary.look_at_ends(now + jiff::SignedDuration::from_hours(25));
    assert!(!metrics(&bench).contains("portreeve_trust_data_ends_timestamp_seconds{"));
    // In a directory, timestamps end too.
    let directory = bench.scratch.path().join("carried");
    for (name, bytes) in bench.repo.files() {
        bench.scratch.write(&format!("carried/{GUN}/{name}.json"), bytes);
    }
    bench.url = TrustServer::parse(&format!("file://{}", directory.display()), PlainHttp::Refused).unwrap();
    bench.ask(&Ask::default()).unwrap();
    let told = metrics(&bench);
    assert!(told.contains("portreeve_trust_data_ends_timestamp_seconds{role=\"timestamp\"} "), "{told}");
}

#[test]
fn what_was_deleted_stands_in_for_nothing_once_the_server_is_away_either() {
    for cached in [false, true] {
        let mut bench = Bench::new(Duration::ZERO);
        let cache = cached.then(|| bench.cache());
        bench.restart(cache.as_deref());
        let stored = Ask { when_unavailable: stale(3600), ..Ask::default() };
        bench.ask(&stored).unwrap();
        bench.server.remove(GUN);
        assert_eq!(rejection(bench.ask(&stored)).code(), "deleted");
        bench.server.misbehave("", Fault::Status(503));
        unavailable(bench.ask(&stored));
        if cached {
            bench.restart(cache.as_deref());
            unavailable(bench.ask(&stored));
        }
        // The same data again is no way back; but it was no rollback either.
        bench.server.behave();
        assert_eq!(rejection(bench.ask(&stored)).code(), "deleted");
        bench.server.publish(&bench.repo);
        bench.ask(&stored).unwrap();
        bench.server.misbehave("", Fault::Status(503));
        bench.ask(&stored).unwrap();
    }
}
