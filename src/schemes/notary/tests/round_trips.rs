//! Which requests go in a row, and which at the same time.

use portreeve_verify::tuf::NotSigned;

use super::*;

/// How long each response takes, so that requests which are made at the same time are seen to be.
const RESPONSE_TIME: Duration = Duration::from_millis(400);

/// The requests, whatever their order.
pub(super) fn sorted(server: &Server) -> Vec<String> {
    let mut requests = server.round_trips();
    requests.sort();
    requests
}

impl Bench {
    /// Every response takes [`RESPONSE_TIME`].
    fn slow() -> Self {
        let bench = Self::new(LONG);
        bench.server.misbehave("", Fault::Delay(RESPONSE_TIME));
        bench
    }

    /// The same bench with another repository on the same server.
    fn with_other_repository(mut self) -> Self {
        let gun = "registry.local:9001/plant/hmi";
        self.repo = Signer::new(gun).signer("alice").release("v1", [3; 32], 1, &["alice"]).publish();
        self.gun = Gun::new(gun).unwrap();
        self.server.publish(&self.repo);
        self.server.forget_requests();
        self
    }
}

fn credentials() -> [Credential; 1] {
    [Credential { username: "alice".to_owned(), password: Secret::new("secret"), source: String::new() }]
}

#[test]
fn first_contact_takes_five_round_trips_in_a_row_and_another_repository_four() {
    let bench = Bench::slow();
    bench.server.require(SignIn::Bearer(TokenService::of("alice", "secret")));
    let credentials = credentials();
    let ask = Ask { signers: &["alice"], credentials: &credentials, ..Ask::default() };
    bench.ask(&ask).unwrap();
    let once = ["GET /token", "GET root", "GET snapshot", "GET targets", "GET targets/alice", "GET targets/releases"];
    // Root and timestamp are also what the server refuses before the sign-in. One more connection is for the third list.
    let mut first = [&once[..], &["GET /v2/", "GET root", "GET timestamp", "GET timestamp"]].concat();
    first.sort_unstable();
    assert_eq!((sorted(&bench.server), bench.server.in_a_row(RESPONSE_TIME)), (as_text(&first), 5));
    let connections = bench.server.connections();

    let bench = bench.with_other_repository();
    bench.ask(&ask).unwrap();
    let again = [&once[..], &["GET timestamp"]].concat();
    assert_eq!((sorted(&bench.server), bench.server.in_a_row(RESPONSE_TIME)), (as_text(&again), 4));
    assert_eq!(bench.server.connections(), connections, "the connections of first contact serve again");

    // Without a change the timestamp is asked for, and nothing else.
    bench.age_by(LONG);
    bench.ask(&ask).unwrap();
    assert_eq!(sorted(&bench.server), ["GET timestamp"]);
}

fn as_text(requests: &[&str]) -> Vec<String> {
    requests.iter().map(|request| (*request).to_owned()).collect()
}

#[test]
fn without_a_sign_in_it_takes_three_round_trips_and_nothing_is_asked_for_twice() {
    let bench = Bench::slow();
    let ask = Ask { signers: &["alice", "bob"], tag: "v1", ..Ask::default() };
    bench.ask(&ask).unwrap();
    assert_eq!(bench.server.in_a_row(RESPONSE_TIME), 3);
    let (requests, connections) = (sorted(&bench.server), bench.server.connections());
    // Of four lists two have the connections of root and timestamp.
    let expected = [
        "GET /v2/",
        "GET /v2/",
        "GET root",
        "GET snapshot",
        "GET targets",
        "GET targets/alice",
        "GET targets/bob",
        "GET targets/releases",
        "GET timestamp",
    ];
    assert_eq!((requests, connections), (as_text(&expected), 4));
    // A server that is known needs no more connections.
    let bench = bench.with_other_repository();
    bench.ask(&Ask { signers: &["alice"], ..Ask::default() }).unwrap();
    assert_eq!(
        (bench.server.count("/v2/"), bench.server.connections(), bench.server.in_a_row(RESPONSE_TIME)),
        (6, 4, 3)
    );
}

/// A published delegation that `targets` no longer has is fetched beside `targets`, and does not count.
#[test]
fn what_was_fetched_beside_the_rest_counts_only_if_it_is_needed() {
    let mut bench = Bench::new(LONG);
    bench.repo = bench.repo.update(|signer| {
        signer.edit("targets", |targets| {
            let roles = targets["delegations"]["roles"].as_array_mut().unwrap();
            roles.retain(|role| role["name"] != "targets/bob");
        })
    });
    bench.server.publish(&bench.repo);
    for fault in [Fault::Status(500), Fault::Body("{}"), Fault::Html] {
        bench.restart(None);
        bench.server.forget_requests();
        bench.server.misbehave("targets/bob", fault);
        let bob = Ask { signers: &["bob"], ..Ask::default() };
        let rejected = rejection(bench.ask(&bob));
        assert!(matches!(rejected, Rejection::NotSignedBy { why: NotSigned::NoRole, .. }), "{rejected:?}");
        assert_eq!(bench.server.count("targets/bob"), 1);
    }
    // A connection that is opened for later may fail or take long.
    for fault in [Fault::Reset, Fault::Stall, Fault::Status(500)] {
        bench.restart(None);
        bench.server.misbehave("/v2/", fault);
        bench.server.misbehave("_trust", Fault::Delay(Duration::ZERO));
        bench.ask(&Ask { signers: &["alice"], wait: Duration::from_secs(9), ..Ask::default() }).unwrap();
    }
    // No root: the timestamp beside it does not matter.
    bench.server.behave();
    bench.server.remove(GUN);
    bench.restart(None);
    bench.server.misbehave("timestamp", Fault::Status(500));
    assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::NoTrustData { .. }));
    // No list of targets: what is beside it does not matter.
    bench.server.publish(&bench.repo);
    bench.restart(None);
    bench.server.behave();
    bench.server.misbehave("/targets.", Fault::Page(404, r#"{"errors":[{"code":"METADATA_NOT_FOUND"}]}"#));
    bench.server.misbehave("targets/releases", Fault::Status(500));
    assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::Missing { .. }));
}

#[test]
fn where_the_time_runs_out_the_file_that_did_not_come_is_named() {
    let mut bench = Bench::new(LONG);
    for (part, name) in [("timestamp", "timestamp.json"), ("targets/releases", "releases."), ("/targets.", "targets.")]
    {
        bench.restart(None);
        bench.server.misbehave(part, Fault::Stall);
        let said = unavailable(bench.ask(&Ask { wait: Duration::from_millis(900), ..Ask::default() }));
        assert!(said.contains(&format!("s waiting for {name}")), "{said}");
        bench.server.behave();
    }
}
