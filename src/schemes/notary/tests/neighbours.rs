//! Tenants whose credentials do not work, and their neighbours' queries for the same repository.

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
    let bench = Bench::new(Duration::ZERO);
    let users = users.iter().map(|user| ((*user).to_owned(), (*user).to_owned())).collect();
    bench.server.require(SignIn::Bearer(TokenService { users, ..TokenService::default() }));
    bench.server.misbehave("/token", Fault::Delay(TOKEN_TIME));
    bench
}

/// How long the neighbour waits for being let in, while so many tenants with bad credentials are asking already.
fn neighbours_time(tenants: usize, after: Duration) -> Duration {
    let bench = guarded(&["neighbour"]);
    let lists: Vec<_> = (0..tenants).map(bad).collect();
    thread::scope(|scope| {
        for list in &lists {
            let bench = &bench;
            // What the neighbour brings may answer them, too: trust data holds no secrets.
            scope.spawn(move || bench.ask(&Ask { credentials: list, ..Ask::default() }).is_ok());
        }
        thread::sleep(after);
        let began = Instant::now();
        bench.ask(&Ask { credentials: &[of("neighbour", "neighbour")], ..Ask::default() }).unwrap();
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
    // Before they have noticed each other, and when they have all turns at the server.
    for after in [Duration::from_millis(100), 3 * TOKEN_TIME] {
        let took = neighbours_time(7, after);
        assert!(took < 6 * TOKEN_TIME, "{took:?}");
    }
}

#[test]
fn nor_does_the_time_in_which_a_tenants_are_looked_for() {
    let bench = guarded(&["neighbour"]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let keychain = FnKeychain(|_| {
                thread::sleep(8 * TOKEN_TIME);
                bad(1)
            });
            let slow = Credentials::new(&keychain, GUN, None);
            unavailable(bench.ask_with(&Ask::default(), &slow))
        });
        thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        bench.ask(&Ask { credentials: &[of("neighbour", "neighbour")], ..Ask::default() }).unwrap();
        assert!(began.elapsed() < 4 * TOKEN_TIME, "{:?}", began.elapsed());
    });
}

/// Every namespace has a pull secret of its own, and all of them work: one refresh is enough for all.
#[test]
fn good_credentials_of_many_tenants_still_share_a_refresh() {
    let names: Vec<String> = (0..16).map(|number| format!("tenant-{number}")).collect();
    for slow in [false, true] {
        let bench = guarded(&names.iter().map(String::as_str).collect::<Vec<_>>());
        if !slow {
            bench.server.behave();
        }
        thread::scope(|scope| {
            for name in &names {
                let bench = &bench;
                scope.spawn(move || bench.ask(&Ask { credentials: &[of(name, name)], ..Ask::default() }).unwrap());
            }
        });
        // With a slow token service, the tenants that hold a permit sign in themselves. The others find the fetched data.
        let tokens = bench.server.count("/token");
        assert!(tokens <= if slow { 10 } else { 3 }, "{tokens} tokens for {} tenants, slow: {slow}", names.len());
    }
}

/// Those whose credentials are the same go on waiting for one attempt.
#[test]
fn the_same_bad_credentials_are_tried_once() {
    let bench = guarded(&["neighbour"]);
    let list = bad(1);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| unavailable(bench.ask(&Ask { credentials: &list, ..Ask::default() })));
        }
    });
    assert_eq!(bench.server.count("/token"), list.len());
}
