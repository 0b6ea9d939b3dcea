//! Pull secrets from a server that answers as kube-apiserver does.

use std::thread;

use portreeve_test_support::api_server::ApiServer;
use portreeve_test_support::trust_server::Fault;
use serde_json::json;

use super::*;
use crate::base::files::scratch::Scratch;
use crate::kube::api::{ApiSettings, ApiUrl, Purpose};
use crate::kube::pull_secrets::MAX_PULL_SECRETS;

const LONG: Duration = Duration::from_secs(20);
const IMAGE: &str = "registry.local:9001/plant/plc";
const REGISTRY: &str = "registry.local:9001";

struct Bench {
    server: ApiServer,
    _scratch: Scratch,
    secrets: PulledConfigs,
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
        let api = Api::new(&settings, Purpose::Credentials, Arc::default()).unwrap();
        let secrets = PulledConfigs::keeping(api, keep, keep_failure);
        Self { server, _scratch: scratch, secrets }
    }

    fn find(&self, context: &PullContext<'_>) -> PodConfigs {
        self.secrets.get(context, Deadline::after(LONG))
    }
}

fn naming<'a>(pull_secrets: &[&'a str]) -> PullContext<'a> {
    PullContext { pull_secrets: pull_secrets.to_vec(), ..PullContext::in_namespace("line-1") }
}

fn users(found: &PodConfigs) -> Vec<String> {
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
    let with = |pull_secrets, service_account| PullContext { service_account, ..naming(pull_secrets) };
    for (context, expected, asked) in [
        (with(&["own"], Some("plc")), &["own"][..], &["line-1/secrets/own"][..]),
        (with(&[], Some("plc")), &["of-plc"], &["line-1/serviceaccounts/plc", "line-1/secrets/of-plc"]),
        (with(&[], None), &["of-default"], &["line-1/serviceaccounts/default", "line-1/secrets/of-default"]),
        (with(&[], Some("")), &["of-default"], &["line-1/serviceaccounts/default", "line-1/secrets/of-default"]),
        // As kubelet and the ServiceAccount admission have it: a reference without a name is one, and leads nowhere.
        (with(&[""], Some("plc")), &[], &[]),
        (with(&["own", "own"], None), &["own"], &["line-1/secrets/own"]),
    ] {
        bench.server.forget_requests();
        let found = bench.find(&context);
        assert_eq!(users(&found), expected, "{context:?}");
        assert_eq!(bench.server.asked(), asked, "{context:?}");
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
    let found = bench.find(&naming(&["e", "a", "b", "c", "d"]));
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
        let found = bench.find(&naming(&[name, "good"]));
        assert_eq!(users(&found), ["good"], "{name}");
        assert_eq!(found.problems.len(), words.len(), "{found:?}");
        for (problem, words) in found.problems.iter().zip(words) {
            assert!(problem.contains(words) && !problem.contains("hunter2"), "{problem}");
        }
    }
    bench.server.forbid("line-1", "serviceaccounts");
    let found = bench.find(&naming(&[]));
    assert!(found.problems[0].contains("\"get\" \"serviceaccounts\" in namespace line-1"), "{found:?}");
    bench.server.forbid_nothing();
    let found = bench.find(&naming(&[]));
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
    let found = bench.find(&naming(&names));
    assert_eq!(bench.server.asked().len(), MAX_PULL_SECRETS);
    assert_eq!(users(&found), &names[..MAX_CANDIDATES]);
    assert!(found.problems[0].contains("more than 16 pull secrets are named"), "{found:?}");
    bench.server.forbid("line-1", "secrets");
    let found = bench.find(&naming(&names));
    assert_eq!(found.problems.len(), MAX_PROBLEMS + 1);
    assert_eq!(found.problems[MAX_PROBLEMS], "and 9 more problems with pull secrets");
}

/// Each entry of each pull secret is compared with every image of the pod.
#[test]
fn the_pull_secrets_of_a_pod_have_so_many_entries_together() {
    let bench = Bench::new();
    for (name, count) in [("a", MAX_ENTRIES - 1), ("b", 2), ("c", 1)] {
        let auths: serde_json::Map<_, _> = (0..count)
            .map(|n| (format!("{name}{n}@{REGISTRY}"), json!({ "username": format!("{name}{n}"), "password": "p" })))
            .collect();
        let config = json!({ "auths": auths }).to_string();
        let json = "kubernetes.io/dockerconfigjson";
        bench.server.secret("line-1", name, json, &[(".dockerconfigjson", &config)]);
    }
    let found = bench.find(&naming(&["c", "b"]));
    assert_eq!((users(&found), found.problems.len()), (["c0", "b0", "b1"].map(str::to_owned).to_vec(), 0));
    let found = bench.find(&naming(&["a", "b", "c"]));
    assert_eq!(found.problems.len(), 1);
    let problem = "pull secret line-1/b is not looked at: the pull secrets before it name so many registries that 1000 are \
                   exceeded";
    assert_eq!(found.problems, [problem]);
    assert_eq!(found.configs.iter().map(|(_, config)| config.entries.len()).sum::<usize>(), MAX_ENTRIES);
    assert_eq!(users(&found).len(), MAX_CANDIDATES);
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
        assert_eq!(users(&bench.find(&naming(&[]))), ["one"]);
        assert_eq!(users(&bench.find(&naming(&["harbor"]))), ["one"]);
    }
    assert_eq!(bench.server.asked(), ["line-1/serviceaccounts/default", "line-1/secrets/harbor"]);
    let other = PullContext { namespace: "line-2", ..naming(&["harbor"]) };
    assert_eq!(users(&bench.find(&other)), ["two"]);
    assert_eq!(users(&bench.find(&PullContext { namespace: "line-3", ..other })), [""; 0]);
    // Failures are not kept here, so what was put right counts at once.
    bench.find(&naming(&["late"]));
    bench.server.pull_secret("line-1", "late", REGISTRY, "late", "p");
    assert_eq!(users(&bench.find(&naming(&["late"]))), ["late"]);
}

#[test]
fn failures_are_kept_for_a_while_and_changes_count_after_it() {
    let bench = Bench::keeping(Duration::ZERO, LONG);
    for _ in 0..3 {
        bench.find(&naming(&["late"]));
    }
    assert_eq!(bench.server.asked().len(), 1);
    bench.server.pull_secret("line-1", "harbor", REGISTRY, "old", "p");
    assert_eq!(users(&bench.find(&naming(&["harbor"]))), ["old"]);
    bench.server.pull_secret("line-1", "harbor", REGISTRY, "new", "p");
    assert_eq!(users(&bench.find(&naming(&["harbor"]))), ["new"]);
    assert!(KEEP <= Duration::from_secs(30) && KEEP_FAILURE < KEEP);
}

#[test]
fn many_who_ask_at_once_share_one_request() {
    let bench = Bench::keeping(LONG, LONG);
    bench.server.pull_secret("line-1", "harbor", REGISTRY, "alice", "p");
    bench.server.misbehave("", Fault::Delay(Duration::from_millis(200)));
    thread::scope(|scope| {
        let asking: Vec<_> = (0..16).map(|_| scope.spawn(|| users(&bench.find(&naming(&["harbor"]))))).collect();
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
    let found = bench.secrets.get(&naming(&["a", "b", "c"]), deadline);
    assert!(deadline.remaining().is_some());
    assert_eq!(found.problems.len(), 3, "{found:?}");
    assert!(found.problems[0].contains("did not answer in time"), "{found:?}");
    assert!(found.problems[2].contains("no time"), "{found:?}");
    // That one asker had no time says nothing to the next.
    bench.server.behave();
    bench.server.pull_secret("line-1", "a", REGISTRY, "alice", "p");
    assert_eq!(users(&bench.find(&naming(&["a"]))), ["alice"]);
}
