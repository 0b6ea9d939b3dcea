//! Pull secrets and signers' secrets from a server that answers as kube-apiserver does.

use std::thread;

use portreeve_test_support::api_server::ApiServer;
use portreeve_test_support::trust_server::Fault;
use serde_json::json;

use super::*;
use crate::base::files::scratch::Scratch;
use crate::kube::api::ApiUrl;

const LONG: Duration = Duration::from_secs(20);
const IMAGE: &str = "registry.local:9001/plant/plc";
const REGISTRY: &str = "registry.local:9001";

struct Bench {
    server: ApiServer,
    _scratch: Scratch,
    secrets: ClusterSecrets,
}

impl Bench {
    /// Nothing is kept.
    fn new() -> Self {
        Self::keeping(Duration::ZERO, Duration::ZERO)
    }

    fn keeping(keep: Duration, keep_failure: Duration) -> Self {
        let (server, scratch) = (ApiServer::start("t"), Scratch::new());
        let (token, ca) = (scratch.write("token", "t"), scratch.write("ca.crt", server.ca_pem()));
        let settings = ApiSettings { server: ApiUrl::parse(&server.url()), token, ca };
        let secrets = ClusterSecrets::keeping(&settings, Arc::default(), keep, keep_failure).unwrap();
        Self { server, _scratch: scratch, secrets }
    }

    fn find(&self, puller: &Puller<'_>) -> PullSecrets {
        self.secrets.pull_secrets(puller, Deadline::after(LONG))
    }

    fn signer(&self, name: &str) -> Result<SignerSecret, NotHad> {
        self.secrets.signer("line-1", name, Deadline::after(LONG))
    }
}

fn puller<'a>(pull_secrets: &[&'a str]) -> Puller<'a> {
    Puller { pull_secrets: pull_secrets.to_vec(), ..Puller::in_namespace("line-1") }
}

fn users(found: &PullSecrets) -> Vec<String> {
    found.candidates(IMAGE).into_iter().map(|credential| credential.username).collect()
}

#[test]
fn a_pod_s_own_pull_secrets_beat_its_service_account_s() {
    let bench = Bench::new();
    bench
        .server
        .pull_secret("line-1", "own", REGISTRY, "own", "p")
        .pull_secret("line-1", "of-plc", REGISTRY, "of-plc", "p")
        .pull_secret("line-1", "of-default", REGISTRY, "of-default", "p")
        .service_account("line-1", "plc", &["of-plc", ""])
        .service_account("line-1", "default", &["of-default"]);
    let with = |pull_secrets, service_account| Puller { service_account, ..puller(pull_secrets) };
    for (puller, expected, asked) in [
        (with(&["own"], Some("plc")), &["own"][..], &["line-1/secrets/own"][..]),
        (with(&[], Some("plc")), &["of-plc"], &["line-1/serviceaccounts/plc", "line-1/secrets/of-plc"]),
        (with(&[], None), &["of-default"], &["line-1/serviceaccounts/default", "line-1/secrets/of-default"]),
        (with(&[], Some("")), &["of-default"], &["line-1/serviceaccounts/default", "line-1/secrets/of-default"]),
        // As kubelet and the ServiceAccount admission have it: a reference without a name is one, and leads nowhere.
        (with(&[""], Some("plc")), &[], &[]),
        (with(&["own", "own"], None), &["own"], &["line-1/secrets/own"]),
    ] {
        bench.server.forget_requests();
        let found = bench.find(&puller);
        assert_eq!(users(&found), expected, "{puller:?}");
        assert_eq!(bench.server.asked(), asked, "{puller:?}");
        assert!(found.problems.is_empty(), "{found:?}");
    }
}

#[test]
fn the_narrowest_key_comes_first_and_says_where_it_stands() {
    let bench = Bench::new();
    bench
        .server
        .pull_secret("line-1", "a", REGISTRY, "first", "p")
        .pull_secret("line-1", "b", REGISTRY, "second", "p")
        .pull_secret("line-1", "c", "registry.local:9001/plant", "narrow", "p")
        .pull_secret("line-1", "d", "registry.local:9002", "elsewhere", "p");
    let old = json!({ "*.local:9001": { "auth": "d2lkZTpw" } }).to_string();
    bench.server.secret("line-1", "e", "kubernetes.io/dockercfg", &[(".dockercfg", &old)]);
    let found = bench.find(&puller(&["e", "a", "b", "c", "d"]));
    assert_eq!(users(&found), ["narrow", "first", "second", "wide"]);
    let source = &found.candidates(IMAGE)[0].source;
    assert_eq!(source, "pull secret line-1/c (\"registry.local:9001/plant\")");
    assert!(found.candidates("quay.io/x").is_empty());
    assert!(!format!("{found:?} {:?}", bench.secrets).contains("d2lkZTpw"));
}

#[test]
fn what_cannot_be_used_is_told_and_hurts_no_other() {
    let bench = Bench::new();
    let json = "kubernetes.io/dockerconfigjson";
    let faults: serde_json::Map<_, _> = (0..9).map(|n| (format!("r{n}.local"), json!({ "auth": "!" }))).collect();
    bench
        .server
        .pull_secret("line-1", "good", REGISTRY, "good", "p")
        .pull_secret("line-2", "harbor", REGISTRY, "of-another-namespace", "p")
        .secret("line-1", "opaque", "Opaque", &[(".dockerconfigjson", "{\"auths\":{}}")])
        .secret("line-1", "empty", json, &[])
        .secret("line-1", "broken", json, &[(".dockerconfigjson", "{\"auths\":hunter2")])
        .secret("line-1", "faulty", json, &[(".dockerconfigjson", &json!({ "auths": faults }).to_string())]);
    for (name, words) in [
        ("harbor", &["pull secret line-1/harbor does not exist"][..]),
        ("opaque", &["pull secret line-1/opaque is of type Opaque; pull secrets are of type kubernetes.io/dockerc"]),
        ("empty", &["pull secret line-1/empty has nothing under its key \".dockerconfigjson\""]),
        ("broken", &["pull secret line-1/broken is not JSON (line 1,"]),
        ("faulty", &["pull secret line-1/faulty \"r0.local\"", "", "pull secret line-1/faulty \"r2.local\""]),
        ("../harbor", &["pull secret line-1/../harbor cannot exist: \"../harbor\" cannot be the name of a Secret"]),
    ] {
        let found = bench.find(&puller(&[name, "good"]));
        assert_eq!(users(&found), ["good"], "{name}");
        assert_eq!(found.problems.len(), words.len(), "{found:?}");
        for (problem, words) in found.problems.iter().zip(words) {
            assert!(problem.contains(words) && !problem.contains("hunter2"), "{problem}");
        }
    }
    bench.server.forbid("line-1", "serviceaccounts");
    let found = bench.find(&puller(&[]));
    assert!(found.problems[0].contains("\"get\" \"serviceaccounts\" in namespace line-1"), "{found:?}");
    bench.server.forbid_nothing();
    let found = bench.find(&puller(&[]));
    assert_eq!(found.problems, ["ServiceAccount line-1/default does not exist"]);
}

#[test]
fn a_tenant_cannot_have_more_asked_and_tried_than_is_reasonable() {
    let bench = Bench::new();
    let names: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
    for name in &names {
        bench.server.pull_secret("line-1", name, REGISTRY, name, "p");
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = bench.find(&puller(&names));
    assert_eq!(bench.server.asked().len(), MAX_PULL_SECRETS);
    assert_eq!(users(&found), &names[..MAX_CANDIDATES]);
    assert!(found.problems[0].contains("more than 16 pull secrets are named"), "{found:?}");
    bench.server.forbid("line-1", "secrets");
    let found = bench.find(&puller(&names));
    assert_eq!(found.problems.len(), MAX_PROBLEMS + 1);
    assert_eq!(found.problems[MAX_PROBLEMS], "and 9 more problems with pull secrets");
}

#[test]
fn objects_are_kept_for_a_while_each_under_its_own_namespace() {
    let bench = Bench::keeping(LONG, Duration::ZERO);
    bench.server.pull_secret("line-1", "harbor", REGISTRY, "one", "p").service_account(
        "line-1",
        "default",
        &["harbor"],
    );
    bench.server.pull_secret("line-2", "harbor", REGISTRY, "two", "p");
    for _ in 0..3 {
        assert_eq!(users(&bench.find(&puller(&[]))), ["one"]);
        assert_eq!(users(&bench.find(&puller(&["harbor"]))), ["one"]);
    }
    assert_eq!(bench.server.asked(), ["line-1/serviceaccounts/default", "line-1/secrets/harbor"]);
    let other = Puller { namespace: "line-2", ..puller(&["harbor"]) };
    assert_eq!(users(&bench.find(&other)), ["two"]);
    assert_eq!(users(&bench.find(&Puller { namespace: "line-3", ..other })), [""; 0]);
    // Failures are not kept here, so what was put right counts at once.
    bench.find(&puller(&["late"]));
    bench.server.pull_secret("line-1", "late", REGISTRY, "late", "p");
    assert_eq!(users(&bench.find(&puller(&["late"]))), ["late"]);
}

#[test]
fn failures_are_kept_for_a_while_and_changes_count_after_it() {
    let bench = Bench::keeping(Duration::ZERO, LONG);
    for _ in 0..3 {
        bench.find(&puller(&["late"]));
    }
    assert_eq!(bench.server.asked().len(), 1);
    bench.server.pull_secret("line-1", "harbor", REGISTRY, "old", "p");
    assert_eq!(users(&bench.find(&puller(&["harbor"]))), ["old"]);
    bench.server.pull_secret("line-1", "harbor", REGISTRY, "new", "p");
    assert_eq!(users(&bench.find(&puller(&["harbor"]))), ["new"]);
    assert!(KEEP <= Duration::from_secs(30) && KEEP_FAILURE < KEEP);
}

#[test]
fn many_who_ask_at_once_share_one_request() {
    let bench = Bench::keeping(LONG, LONG);
    bench.server.pull_secret("line-1", "harbor", REGISTRY, "alice", "p");
    bench.server.misbehave("", Fault::Delay(Duration::from_millis(200)));
    thread::scope(|scope| {
        let asking: Vec<_> = (0..16).map(|_| scope.spawn(|| users(&bench.find(&puller(&["harbor"]))))).collect();
        for asked in asking {
            assert_eq!(asked.join().unwrap(), ["alice"]);
        }
    });
    assert_eq!(bench.server.asked(), ["line-1/secrets/harbor"]);
}

#[test]
fn half_of_the_time_is_left_for_the_trust_server() {
    let bench = Bench::keeping(LONG, LONG);
    bench.server.misbehave("", Fault::Stall);
    let deadline = Deadline::after(Duration::from_secs(2));
    let found = bench.secrets.pull_secrets(&puller(&["a", "b", "c"]), deadline);
    assert!(deadline.remaining().is_some());
    assert_eq!(found.problems.len(), 3, "{found:?}");
    assert!(found.problems[0].contains("did not answer in time"), "{found:?}");
    assert!(found.problems[2].contains("no time"), "{found:?}");
    // That one asker had no time says nothing to the next.
    bench.server.behave();
    bench.server.pull_secret("line-1", "a", REGISTRY, "alice", "p");
    assert_eq!(users(&bench.find(&puller(&["a"]))), ["alice"]);
}

#[test]
fn signers_secrets_are_there_or_not_or_nobody_can_say() {
    let mut bench = Bench::new();
    bench
        .server
        .secret("line-1", "alice-key", "Opaque", &[("name", " alice\n"), ("publicKey", "-----BEGIN PUBLIC KEY-----")])
        .secret("line-1", "no-name", "Opaque", &[("publicKey", "x")])
        .secret("line-1", "blank", "Opaque", &[("name", "x"), ("publicKey", " \n")])
        .secret("line-1", "huge", "Opaque", &[("name", "x"), ("publicKey", &"x".repeat(MAX_KEY + 1))])
        .secret("line-2", "elsewhere", "Opaque", &[("name", "mallory"), ("publicKey", "x")]);
    let alice = bench.signer("alice-key").unwrap();
    assert_eq!((alice.name.as_str(), alice.public_key.as_str()), ("alice", "-----BEGIN PUBLIC KEY-----"));
    for (name, words) in [
        ("elsewhere", "does not exist"),
        ("no-name", "\"name\""),
        ("blank", "\"publicKey\""),
        ("huge", "\"publicKey\""),
    ] {
        match bench.signer(name) {
            Err(NotHad::Bad(said)) => assert!(said.contains(words), "{name}: {said}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let unavailable = |bench: &Bench, words: &str| match bench.signer("alice-key") {
        Err(NotHad::Unavailable(said)) => assert!(said.contains(words), "{said}"),
        other => panic!("{other:?}"),
    };
    bench.server.forbid("line-1", "secrets");
    unavailable(&bench, "403");
    bench.server.forbid_nothing();
    bench.server.accept_only("another");
    unavailable(&bench, "401");
    bench.server.misbehave("", Fault::Status(404));
    unavailable(&bench, "404");
    bench.server.stop();
    unavailable(&bench, "could not be had");
}
