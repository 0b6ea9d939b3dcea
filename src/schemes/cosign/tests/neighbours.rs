//! Tenants whose credentials do not work, and their neighbours' queries for the same image.

use super::*;

/// What the token service takes for each request.
const TOKEN_TIME: Duration = Duration::from_millis(400);

fn of(user: &str, password: &str) -> Credential {
    Credential { username: user.to_owned(), password: Secret::new(password), source: format!("secret of {user}") }
}

/// As many as of one pod are tried, and none of them works.
fn bad(tenant: usize) -> Vec<Credential> {
    (0..8).map(|number| of(&format!("tenant-{tenant}-{number}"), "wrong")).collect()
}

/// A slow token service that knows these users, whose password is their name.
fn guarded(users: &[&str]) -> Bench {
    let bench = Bench::signed(&Options { refresh_after: Duration::ZERO, ..Options::default() });
    let users = users.iter().map(|user| ((*user).to_owned(), (*user).to_owned())).collect();
    bench.registry.require(SignIn::Bearer(TokenService { users, ..TokenService::default() }));
    bench.registry.misbehave("/token", Fault::Delay(TOKEN_TIME));
    bench
}

/// How long the neighbour waits for being let in, while so many tenants with bad credentials are asking already.
fn neighbours_time(tenants: usize, after: Duration) -> Duration {
    let bench = guarded(&["neighbour"]);
    let lists: Vec<_> = (0..tenants).map(bad).collect();
    let rule = bench.rule();
    thread::scope(|scope| {
        for list in &lists {
            let (bench, rule) = (&bench, &rule);
            // What the neighbour brings may answer them, too: signatures are no secrets.
            scope.spawn(move || bench.ask(&Ask { credentials: list, ..Ask::of(":v1", rule) }).is_ok());
        }
        thread::sleep(after);
        let began = Instant::now();
        bench.ask(&Ask { credentials: &[of("neighbour", "neighbour")], ..Ask::of(":v1", &rule) }).unwrap();
        began.elapsed()
    })
}

#[test]
fn one_tenants_bad_credentials_hold_up_no_neighbour() {
    let took = neighbours_time(1, Duration::from_millis(100));
    assert!(took < 4 * TOKEN_TIME, "{took:?}");
}

#[test]
fn nor_do_those_of_many_tenants() {
    // Before they have noticed each other, and when they have all turns at the registry.
    for after in [Duration::from_millis(100), 3 * TOKEN_TIME] {
        let took = neighbours_time(7, after);
        assert!(took < 6 * TOKEN_TIME, "{took:?}");
    }
}

/// Those whose credentials are the same go on waiting for one attempt.
#[test]
fn the_same_bad_credentials_are_tried_once() {
    let bench = guarded(&["neighbour"]);
    let (list, rule) = (bad(1), bench.rule());
    for result in at_once(4, |_| bench.ask(&Ask { credentials: &list, ..Ask::of(":v1", &rule) })) {
        assert!(unavailable(result).contains("secret of tenant-1-0"));
    }
    assert_eq!(bench.registry.count("/token"), list.len());
}

/// A registry may say "does not exist" to a tenant without rights. The other tenants ask for themselves.
#[test]
fn what_does_not_exist_for_one_tenant_may_for_another() {
    let bench = guarded(&["alice", "bob"]);
    bench.registry.untag(NAME, "v1");
    let [alice, bob] = ["alice", "bob"].map(|user| vec![of(user, user)]);
    let rule = bench.rule();
    thread::scope(|scope| {
        let leader = scope.spawn(|| bench.ask(&Ask { credentials: &alice, ..Ask::of(":v1", &rule) }));
        while bench.registry.count("/token") == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let waiting = scope.spawn(|| bench.ask(&Ask { credentials: &bob, ..Ask::of(":v1", &rule) }));
        rejected(leader.join().unwrap(), "not-found");
        rejected(waiting.join().unwrap(), "not-found");
    });
    assert_eq!(bench.registry.count("/token"), 2, "each was asked for");
}

/// Every namespace has a pull secret of its own, and all of them work: one fetch is enough for all.
#[test]
fn good_credentials_of_many_tenants_still_share_a_fetch() {
    let names: Vec<String> = (0..16).map(|number| format!("tenant-{number}")).collect();
    let bench = guarded(&names.iter().map(String::as_str).collect::<Vec<_>>());
    bench.registry.behave();
    let rule = bench.rule();
    let results = at_once(names.len(), |number| {
        let name = &names[number];
        bench.ask(&Ask { credentials: &[of(name, name)], ..Ask::of(":v1", &rule) })
    });
    assert!(results.iter().all(Result::is_ok));
    assert!(bench.registry.count("/token") <= 3, "{} tokens", bench.registry.count("/token"));
}

#[test]
fn a_silent_registry_holds_up_no_other_one() {
    let (silent, other) = (Bench::signed(&Options::default()), Registry::start());
    silent.registry.misbehave("", Fault::Stall);
    silent.scratch.write("ca.pem", format!("{}{}", silent.registry.ca_pem(), other.ca_pem()));
    let bench = Bench { cosign: make(&silent.scratch, &Options::default()), ..silent };
    let image = other.push_image(NAME, "v1", "other");
    other.attach(NAME, &image, &bundle(&image, &bench.alice));
    let rule = bench.rule();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| unavailable(bench.ask(&Ask { wait: Duration::from_secs(3), ..Ask::of(":v1", &rule) })));
        }
        thread::sleep(Duration::from_millis(200));
        let (keychain, began) = (FnKeychain(|_: Deadline| Vec::new()), Instant::now());
        let query = Query {
            image: &Reference::parse(&format!("{}/{NAME}:v1", other.host())).unwrap(),
            tags: None,
            except: &[],
            key_namespace: "line-1",
            keychain: &keychain,
            is_delegated: false,
            deadline: Deadline::after(LONG),
            now: Timestamp::now(),
            effort: portreeve_verify::Effort::UNLIMITED,
            notice: crate::schemes::WaitNotice::NONE,
        };
        bench.cosign.verify(&rule, &query, &mut Trace::default()).unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    });
}
