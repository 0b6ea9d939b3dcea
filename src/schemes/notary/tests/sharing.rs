//! Queries at the same time: which of them share a refresh, and which share a failure.

use super::*;

/// What each of so many threads returns that all begin at the same time.
fn at_once<T: Send>(count: usize, run: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(count);
    thread::scope(|scope| {
        let (barrier, run) = (&barrier, &run);
        let begin = |number| {
            scope.spawn(move || {
                barrier.wait();
                run(number)
            })
        };
        let threads: Vec<_> = (0..count).map(begin).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn questions_at_the_same_time_share_one_refresh() {
    let bench = Bench::new(LONG);
    bench.server.misbehave("timestamp", Fault::Delay(Duration::from_millis(300)));
    for answer in at_once(8, |_| bench.ask(&Ask::default())) {
        answer.unwrap();
    }
    assert_eq!(bench.server.count("timestamp"), 1);
}

#[test]
fn a_shared_failure_is_told_to_all_and_forgotten() {
    let bench = Bench::new(LONG);
    bench.server.misbehave("root", Fault::Delay(Duration::from_millis(300)));
    bench.server.misbehave("timestamp", Fault::Status(500));
    for answer in at_once(4, |_| bench.ask(&Ask::default())) {
        assert!(unavailable(answer).contains("500"));
    }
    assert_eq!(bench.server.count("timestamp"), 1);
    bench.server.behave();
    bench.ask(&Ask::default()).unwrap();
}

/// No credentials were asked for, so the failure does not depend on them.
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
    let users = ["a", "b", "c", "d"];
    let answers = at_once(users.len(), |number| {
        let keychain = of(users[number]);
        let credentials = Credentials::new(&keychain, GUN, None);
        let why = unavailable(bench.ask_with(&Ask::default(), &credentials));
        assert!(credentials.found().is_none());
        why
    });
    assert!(answers.iter().all(|why| why.contains("500")), "{answers:?}");
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

/// A server may answer "does not exist" to a tenant without rights. The other tenants ask for themselves.
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
