//! Many requests at once, and trust servers that are down, silent or say no: which requests wait, and how often a server is
//! asked.

use super::*;
use crate::base::waiting::WaitEvent;
use crate::http::client::Http;
use crate::http::origin::{Limits, Times};
use crate::http::proxy::Proxies;
use crate::registry::client::Client;

const WORKERS: usize = 8;
/// As [`Times::DEFAULT`], so short that a test need not wait.
const SHORT: Times = Times {
    half_open_after: Duration::from_millis(200),
    probe: Duration::from_millis(600),
    first_pause: Duration::from_millis(100),
    longest_pause: Duration::from_millis(400),
    forget_after: Duration::from_secs(60),
    silent_after: Duration::from_millis(300),
};

impl Bench {
    /// Short times for all that waits for servers.
    fn hurried(refresh_after: Duration) -> Self {
        Self::limited(refresh_after, Limits { times: SHORT, ..Limits::new(WORKERS, 128) })
    }

    fn limited(refresh_after: Duration, limits: Limits) -> Self {
        let mut bench = Self::new(refresh_after);
        let ca = Some(bench.scratch.path().join("ca.pem"));
        let metrics = Arc::new(Metrics::new());
        let http = Http::checked_every(ca, PlainHttp::Refused, Proxies::default(), LONG, limits, metrics).unwrap();
        bench.notary.client = Arc::new(Client::over(http, PlainHttp::Refused));
        bench
    }

    fn ask_for(&self, gun: &str, ask: &Ask<'_>) -> Result<Verified, RefreshError> {
        let query = Query {
            gun: &Gun::new(gun).unwrap(),
            server: &self.url,
            wanted: TargetQuery { tag: Some(ask.tag), digest: None },
            tags: Default::default(),
            anchor: &self.anchor,
            signers: &[],
            credentials: &Credentials::known(ask.credentials.to_vec()),
            when_unavailable: ask.when_unavailable,
            deadline: Deadline::after(ask.wait),
            notice: crate::schemes::WaitNotice::NONE,
        };
        self.notary.ask(&query, ask.now)
    }

    /// As many workers ask, each for another repository, until so many answers were given: what they were told.
    fn storm(&self, questions: usize, wait: Duration) -> Vec<String> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let worker = || {
            let mut told = Vec::new();
            loop {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                if number >= questions {
                    return told;
                }
                let gun = format!("registry.local/storm/{}", number % 50);
                told.push(unavailable(self.ask_for(&gun, &Ask { wait, ..Ask::default() })));
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        })
    }

    fn is_down(&self) -> bool {
        self.notary.client.origin(self.url.remote().unwrap()).check().is_err()
    }
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "this did not happen: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn credential(password: &str) -> Credential {
    Credential { username: "alice".to_owned(), password: Secret::new(password), source: "a file".to_owned() }
}

#[test]
fn a_black_hole_costs_no_five_hundred_timeouts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = Bench::hurried(LONG);
    bench.url = TrustServer::parse(&format!("https://{}", listener.local_addr().unwrap()), PlainHttp::Refused).unwrap();
    let told = bench.storm(500, Duration::from_millis(1500));
    assert_eq!(told.len(), 500);
    assert!(told.iter().any(|why| why.contains("has responded to no request for")), "{told:?}");
    wait_until("it to be down", || bench.is_down());
    let told = bench.storm(500, Duration::from_millis(1500));
    assert!(
        told.iter().all(|why| why.contains("did not answer in time") && why.contains("not asked again")),
        "{told:?}"
    );
    // The requests before the circuit was open, and the probes.
    listener.set_nonblocking(true).unwrap();
    let connections = std::iter::from_fn(|| listener.accept().ok()).count();
    assert!((1..=30).contains(&connections), "{connections} connections for 1000 questions");
}

#[test]
fn a_server_that_is_back_is_found_by_itself() {
    let bench = Bench::hurried(Duration::ZERO);
    bench.ask(&Ask::default()).unwrap();
    bench.server.misbehave("", Fault::Stall);
    let brief = || Ask { wait: Duration::from_millis(900), ..Ask::default() };
    let said = unavailable(bench.ask(&brief()));
    assert!(said.contains("s waiting for timestamp.json"), "{said}");
    wait_until("it to be down", || bench.is_down());
    // A query is now answered at once, or by stored data, without a request to the server.
    bench.server.forget_requests();
    let said = unavailable(bench.ask(&Ask::default()));
    assert!(said.contains("not asked again before it responds"), "{said}");
    for _ in 0..50 {
        let stored = bench.ask(&Ask { when_unavailable: stale(3600), ..Ask::default() });
        assert!(matches!(freshness(&stored), Freshness::Stale { .. }));
    }
    assert_eq!(bench.server.count("_trust"), 0);
    // Another server is another matter.
    let other = Bench::new(LONG);
    assert!(bench.notary.client.origin(other.url.remote().unwrap()).check().is_ok());
    bench.server.behave();
    // The first query may wait for the next probe, and is not denied by the state of a moment ago.
    assert_eq!(freshness(&bench.ask(&Ask::default())), Freshness::Fetched);
    assert!(!bench.is_down());
}

#[test]
fn one_repository_that_stalls_keeps_nobody_from_the_others() {
    let bench = Bench::hurried(LONG);
    let slow = "registry.local:9001/plant/slow";
    bench.server.publish(&Signer::new(slow).publish());
    bench.server.misbehave(slow, Fault::Stall);
    let waiting = Ask { wait: Duration::from_secs(3), ..Ask::default() };
    thread::scope(|scope| {
        let tenants: Vec<_> = (0..6).map(|_| scope.spawn(|| unavailable(bench.ask_for(slow, &waiting)))).collect();
        wait_until("a tenant to be answered", || tenants.iter().any(thread::ScopedJoinHandle::is_finished));
        // The server is silent, and as many wait for it as may; the rest of it is as good as ever.
        bench.ask(&Ask::default()).unwrap();
        assert!(!bench.is_down());
        let told: Vec<_> = tenants.into_iter().map(|tenant| tenant.join().unwrap()).collect();
        assert!(told.iter().any(|why| why.contains("has responded to no request for")), "{told:?}");
        assert!(told.iter().any(|why| why.contains("in time")), "{told:?}");
    });
    assert!(!bench.is_down());
}

#[test]
fn what_a_tenant_can_bring_about_makes_no_server_suspected() {
    let bench = Bench::hurried(Duration::ZERO);
    let suspected = || !bench.notary.client.origin(bench.url.remote().unwrap()).is_closed();
    for fault in
        [Fault::Status(404), Fault::Status(500), Fault::Unauthorized, Fault::Body("{}"), Fault::Huge(100 << 20)]
    {
        bench.server.misbehave("timestamp", fault);
        bench.ask(&Ask::default()).unwrap_err();
        assert!(!suspected(), "{fault:?}");
    }
    // Time that was too short to say anything, an answer that drips, and one that breaks off.
    bench.server.misbehave("", Fault::Stall);
    unavailable(bench.ask(&Ask { wait: SHORT.half_open_after / 4, ..Ask::default() }));
    assert!(!suspected());
    bench.server.behave();
    bench.server.misbehave("timestamp", Fault::Drip);
    unavailable(bench.ask(&Ask { wait: Duration::from_millis(900), ..Ask::default() }));
    assert!(!suspected());
    bench.server.behave();
    bench.ask(&Ask::default()).unwrap();
}

#[test]
fn a_token_service_that_is_down_is_its_own_trouble() {
    let bench = Bench::hurried(Duration::ZERO);
    bench.server.require(SignIn::Bearer(TokenService::of("alice", "secret")));
    bench.server.misbehave("/token", Fault::Stall);
    let credentials = [credential("secret")];
    let ask = || Ask { credentials: &credentials, wait: Duration::from_millis(900), ..Ask::default() };
    let said = unavailable(bench.ask(&ask()));
    assert!(said.contains("s waiting for the token service") && said.contains("/token"), "{said}");
    wait_until("it to be down", || unavailable(bench.ask(&ask())).contains("not asked again"));
    assert!(!bench.is_down());
    bench.server.behave();
    wait_until("it to be up", || bench.ask(&ask()).is_ok());
}

#[test]
fn a_definite_no_costs_one_refresh_however_often_it_is_asked_for() {
    let bench = Bench::new(LONG);
    bench.server.remove(GUN);
    for _ in 0..10 {
        assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::NoTrustData { .. }));
    }
    assert_eq!(round_trips::sorted(&bench.server), ["GET root", "GET timestamp"]);
    // A server may say so to clients without rights.
    bench.server.publish(&bench.repo);
    let other = [credential("secret")];
    bench.ask(&Ask { credentials: &other, ..Ask::default() }).unwrap();
    // Data that does not verify. After a moment the server is asked again.
    let bench = Bench::new(LONG);
    bench.server.misbehave("timestamp", Fault::Body("{}"));
    for _ in 0..10 {
        rejection(bench.ask(&Ask::default()));
    }
    assert_eq!(bench.server.count("timestamp"), 1);
    bench.server.behave();
    rejection(bench.ask(&Ask::default()));
    thread::sleep(RECHECK_AFTER);
    bench.ask(&Ask::default()).unwrap();
    // "Unavailable" is not cached.
    let bench = Bench::new(LONG);
    bench.server.misbehave("timestamp", Fault::Status(500));
    unavailable(bench.ask(&Ask::default()));
    bench.server.behave();
    bench.ask(&Ask::default()).unwrap();
}

/// The server may have trust data for credentials with more rights than those of the first request.
#[test]
fn that_somebody_is_shown_nothing_is_not_told_to_others_who_wait() {
    let bench = Bench::new(LONG);
    bench.server.remove(GUN);
    bench.server.misbehave("root", Fault::Delay(Duration::from_secs(2)));
    let (without_rights, with_rights) = ([credential("wrong")], [credential("secret")]);
    let ask = |credentials| bench.ask(&Ask { credentials, ..Ask::default() });
    thread::scope(|scope| {
        let first = scope.spawn(|| ask(&without_rights));
        wait_until("it to be asked", || bench.server.count("root") == 1);
        thread::sleep(Duration::from_millis(100)); // the answer is made by now, and on its way
        bench.server.behave();
        bench.server.publish(&bench.repo);
        let second = scope.spawn(|| ask(&with_rights));
        assert!(matches!(rejection(first.join().unwrap()), Rejection::NoTrustData { .. }));
        second.join().unwrap().unwrap();
    });
}

#[test]
fn credentials_that_are_refused_are_refused_for_a_moment_and_to_nobody_else() {
    let bench = Bench::new(LONG);
    bench.server.require(SignIn::Bearer(TokenService::of("alice", "secret")));
    let (bad, good) = ([credential("wrong")], [credential("secret")]);
    let ask = || unavailable(bench.ask(&Ask { credentials: &bad, ..Ask::default() }));
    assert!(ask().contains("a file"));
    let requests = bench.server.requests().len();
    for _ in 0..10 {
        assert!(ask().contains("a file"));
    }
    assert_eq!(bench.server.requests().len(), requests);
    bench.ask(&Ask { credentials: &good, ..Ask::default() }).unwrap();
    // A token service that fails has not seen them.
    let bench = Bench::new(LONG);
    bench.server.require(SignIn::Bearer(TokenService::of("alice", "secret")));
    bench.server.misbehave("/token", Fault::Status(500));
    unavailable(bench.ask(&Ask { credentials: &good, ..Ask::default() }));
    bench.server.behave();
    bench.ask(&Ask { credentials: &good, ..Ask::default() }).unwrap();
}

#[test]
fn a_reset_is_not_hidden_by_what_failed_before_it() {
    let mut bench = Bench::new(LONG);
    let cache = bench.cache();
    bench.restart(Some(&cache));
    let next = bench.repo.update(|signer| signer.release("v1", [9; 32], 1, &["alice"]));
    bench.server.publish(&next);
    bench.ask(&Ask::default()).unwrap();
    bench.restart(Some(&cache));
    bench.server.publish(&bench.repo);
    for _ in 0..3 {
        assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::Rollback { .. }));
    }
    crate::schemes::notary::store::reset(cache, &bench.gun, &[]).unwrap();
    bench.ask(&Ask::default()).unwrap();
}

/// Data is evicted from memory and a cache directory is emptied. The versions still bind every anchor.
#[test]
fn what_an_anchor_has_seen_binds_it_whatever_the_store_forgets() {
    for cached in [false, true] {
        let mut bench = Bench::new(Duration::ZERO);
        let cache = bench.cache();
        bench.restart(cached.then_some(&cache));
        let next = bench.repo.update(|signer| signer.release("v1", [9; 32], 1, &["alice"]));
        bench.server.publish(&next);
        bench.ask(&Ask::default()).unwrap();
        bench.notary.store.evict_data();
        let _ = std::fs::remove_dir_all(&cache);
        bench.server.publish(&bench.repo);
        let pinned = RootPin::KeyId(KeyId::from_hex(&bench.repo.root_key_id()).unwrap());
        let pinned = Anchor { pins: vec![pinned].into(), first_use: FirstUse::Allowed };
        for anchor in [pinned, bench.anchor.clone()] {
            bench.anchor = anchor;
            assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::Rollback { .. }));
        }
    }
}

#[test]
fn who_waits_for_memory_keeps_no_worker_and_is_told_in_time() {
    let mut bench = Bench::new(LONG);
    let tags = (0..300).fold(Signer::new(GUN).signer("alice"), |signer, number| {
        signer.release(&format!("v1.{number}"), [1; 32], 1, &["alice"])
    });
    for (name, bytes) in tags.release("v1", [1; 32], 1, &["alice"]).publish().files() {
        bench.scratch.write(&format!("mounted/{GUN}/{name}.json"), bytes);
    }
    let url = format!("file://{}", bench.scratch.path().join("mounted").display());
    bench.url = TrustServer::parse(&url, PlainHttp::Refused).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    bench.notary.waiting.observe(move |event| tell.send(event).unwrap());
    let part = (48 << 20) / 6;
    let others = [("a", part / 5 * 4), ("b", part / 5)].map(|(server, bytes)| {
        let budget = bench.notary.budget();
        budget
            .draw(crate::schemes::memory_budget::Part::Light, &server.into(), bytes, Deadline::after(LONG), &|| {})
            .ok()
            .unwrap()
    });
    let began = Instant::now();
    let refused = unavailable(bench.ask(&Ask { wait: Duration::from_millis(1_500), ..Ask::default() }));
    assert!(refused.contains("limits.verifyMemory"), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [WaitEvent::Began, WaitEvent::Ended]);
    drop(others);
    bench.ask(&Ask { wait: LONG, ..Ask::default() }).unwrap();
}

#[test]
fn where_some_must_go_those_who_wait_with_them_stay() {
    let times = Times { silent_after: Duration::from_millis(800), ..SHORT };
    let bench = Bench::limited(LONG, Limits { times, ..Limits::new(2, 12) });
    let slow = "registry.local:9001/plant/slow";
    bench.server.publish(&Signer::new(slow).release("v1", [1; 32], 1, &[]).publish());
    bench.server.misbehave(slow, Fault::Delay(Duration::from_millis(400)));
    thread::scope(|scope| {
        let first = scope.spawn(|| bench.ask_for(slow, &Ask::default()).is_ok());
        wait_until("it to ask", || bench.server.count(slow) > 0);
        // One of them waits for a permit, the others for its data. Six of the twelve places may be this server's.
        let others: Vec<_> = (0..8).map(|_| scope.spawn(|| bench.ask(&Ask::default()))).collect();
        assert!(first.join().unwrap());
        let answers = others.into_iter().map(|other| other.join().unwrap());
        let told: Vec<_> = answers.filter(Result::is_err).map(unavailable).collect();
        assert!(told.len() == 3 && told.iter().all(|why| why.contains("others wait for it too")), "{told:?}");
    });
}
