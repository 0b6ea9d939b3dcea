//! `portreeve review --cluster` against an API server in this process: pages, what is left out, and what cannot be read. The real
//! API server is in `cluster/reviewing.rs`.

use portreeve_test_support::api_server::ApiServer;
use portreeve_test_support::trust_server::Fault;
use serde_json::{Value, json};

use crate::pki::Pki;
use crate::process::run;
use crate::product::Site;
use crate::review::policy_for;

const ALLOWED: i32 = 0;
const DENIED: i32 = 1;
const BAD_INPUT: i32 = 2;
const UNDECIDED: i32 = 3;

const RESOURCES: [&str; 8] = [
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/daemonsets",
    "/apis/apps/v1/statefulsets",
    "/apis/apps/v1/replicasets",
    "/api/v1/replicationcontrollers",
    "/apis/batch/v1/cronjobs",
    "/apis/batch/v1/jobs",
    "/api/v1/pods",
];

/// An API server of an empty cluster, and a site that lets in what is below `registry.local:9001/open/`.
fn cluster() -> (ApiServer, Site) {
    let api = ApiServer::start("t");
    let mut site = Site::new(&Pki::new());
    let (token, ca) = (site.file("token", "t"), site.file("ca.crt", api.ca_pem()));
    site.config["credentials"]["api"] = json!({ "server": api.url(), "token": token, "ca": ca });
    site.policies(&[policy_for("registry.local:9001/open/*", json!({ "enabled": false }))]);
    for path in RESOURCES {
        api.list(path, Vec::new());
    }
    api.list(
        "/api/v1/namespaces",
        vec![json!({ "metadata": { "name": "kube-system", "labels": { "checked": "no" } } })],
    );
    (api, site)
}

/// An item of a list, which has neither `apiVersion` nor `kind`.
fn pod(namespace: &str, name: &str, folder: &str) -> Value {
    let container = json!({ "name": "c", "image": format!("registry.local:9001/{folder}/plc:v1") });
    json!({
        "metadata": { "name": name, "namespace": namespace, "uid": format!("uid-{name}") },
        "spec": { "containers": [container] },
        "status": { "phase": "Running" },
    })
}

fn template(namespace: &str, name: &str, folder: &str) -> Value {
    let mut object = pod(namespace, name, folder);
    object["spec"] = json!({ "template": { "spec": object["spec"] } });
    object
}

fn review(site: &Site, args: &[&str]) -> crate::process::Run {
    run(&mut site.command("review", &[&["--cluster"], args].concat()), "")
}

#[test]
fn every_page_is_read_and_what_would_be_denied_is_told() {
    let (api, site) = cluster();
    let told = review(&site, &[]).expect(ALLOWED).stdout;
    assert!(told.starts_with("0 objects reviewed: "), "an empty cluster: {told}");
    let mut pods: Vec<Value> = (0..250).map(|number| pod("line-1", &format!("plc-{number}"), "open")).collect();
    pods.push(pod("line-1", "last", "closed"));
    api.list("/api/v1/pods", pods);
    let mut owned = template("line-1", "hmi-1", "closed");
    owned["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "apps/v1", "kind": "Deployment", "controller": true }]);
    api.list("/apis/apps/v1/replicasets", vec![owned]);
    api.list(
        "/apis/apps/v1/deployments",
        vec![template("line-1", "hmi", "open"), template("portreeve", "own", "closed")],
    );
    // The token of the third page is too old: the refusal has a new one.
    api.expire("200");
    let run = review(&site, &["--output", "json"]).expect(DENIED);
    let answers: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let named = |name: &str| answers.iter().find(|answer| answer["request"]["name"] == name);
    assert_eq!(answers.len(), 253, "{}", run.stderr);
    assert_eq!(named("last").unwrap()["response"]["allowed"], false);
    assert_eq!(named("last").unwrap()["request"]["uid"], "uid-last");
    assert_eq!(named("last").unwrap()["request"]["kind"], json!({ "group": "", "version": "v1", "kind": "Pod" }));
    assert_eq!(
        named("hmi").unwrap()["request"]["kind"],
        json!({ "group": "apps", "version": "v1", "kind": "Deployment" })
    );
    assert!(named("hmi-1").is_none(), "its Deployment and its Pods stand for it");
    // There is no webhook configuration, so only Portreeve's own namespace is exempt.
    assert!(!named("own").unwrap()["response"]["auditAnnotations"]["skipped"].is_null());
    let asked = api.requests();
    assert!(asked.iter().all(|request| request.method == "GET"));
    assert!(asked.iter().any(|request| request.target.contains("pods?limit=100&continue=200%3D")), "{asked:?}");
}

#[test]
fn a_page_that_is_too_large_is_asked_for_again_with_fewer_objects() {
    let (api, site) = cluster();
    let mut large = pod("line-1", "plc", "open");
    large["metadata"]["annotations"] = json!({ "note": "x".repeat(200 << 10) });
    api.list("/api/v1/pods", vec![large; 100]);
    let told = review(&site, &[]).expect(ALLOWED).stdout;
    assert!(told.contains("\n100 objects reviewed: 100 allowed"), "{told}");
    let pods = api.requests().into_iter().filter(|request| request.target.contains("pods?"));
    let asked: Vec<String> = pods.map(|request| request.target).collect();
    assert_eq!(asked.len(), 11, "{asked:?}");
    assert!(asked[0].ends_with("limit=100") && asked[10].ends_with("limit=10&continue=90"), "{asked:?}");
}

/// A page of small values takes much more memory than bytes. The CronJob has 256 MiB.
#[test]
fn an_object_that_is_too_large_is_named_and_the_others_are_reviewed() {
    let (api, site) = cluster();
    let with_variables = |name: &str, count: usize| {
        let mut object = template("line-1", name, "open");
        object["spec"]["template"]["spec"]["containers"][0]["env"] = json!(vec![json!({ "name": "a" }); count]);
        object
    };
    // Two values each. One that has more than a page may have, one that is read and has more than a review may have, and others.
    let mut deployments = vec![with_variables("huge", 80_000), with_variables("large", 55_000)];
    deployments.extend((0..3).map(|number| with_variables(&format!("plc-{number}"), 30_000)));
    api.list("/apis/apps/v1/deployments", deployments);
    // Deeper than what is read.
    let mut deep = template("line-1", "deep", "open");
    deep["metadata"]["deep"] = (0..200).fold(json!(1), |inner, _| json!([inner]));
    api.list("/apis/apps/v1/daemonsets", vec![deep, template("line-1", "hmi", "open")]);
    let summary = site.file("summary", "");
    let run = review(&site, &["--summary", summary.to_str().unwrap()]).expect(BAD_INPUT);
    for (object, why) in [
        (
            "deployments: Deployment line-1/huge",
            "it has more values, or more levels of them, than are read of an object",
        ),
        ("deployments: Deployment line-1/large", "110"),
        ("daemonsets: DaemonSet line-1/deep", "it has more values, or more levels"),
    ] {
        let told = run.stderr.lines().find(|line| line.contains(object)).unwrap_or_else(|| panic!("{object}: {run:?}"));
        assert!(told.contains(" is not reviewed: ") && told.contains(why), "{told}");
    }
    let last =
        "4 objects reviewed: 4 allowed, 0 let in with a warning, 0 denied, 0 undecided; 0 skipped; 3 not reviewed\n";
    assert!(run.stdout.ends_with(last), "{run:?}");
    let written = std::fs::read_to_string(&summary).unwrap();
    let named = "not reviewed: Deployment line-1/huge\nnot reviewed: Deployment line-1/large\nnot reviewed: DaemonSet line-1/deep\n";
    assert_eq!(written, [last, named].concat());
    // No two of them in one page, and pages are no smaller than they must be after the huge one.
    let asked = api.requests().into_iter().filter(|request| request.target.contains("deployments?"));
    let asked: Vec<String> = asked.map(|request| request.target).collect();
    let limits: Vec<&str> = asked.iter().map(|target| target.split(['=', '&']).nth(1).unwrap()).collect();
    assert_eq!(limits, ["100", "10", "1", "100", "10", "1", "1", "1", "1"], "{asked:?}");
    // In JSON each of them is named, and denied.
    let told = review(&site, &["--output", "json"]).expect(BAD_INPUT).stdout;
    let answers: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let denied: Vec<&Value> = answers.iter().filter(|answer| answer["response"]["allowed"] == false).collect();
    let names: Vec<&str> = denied.iter().filter_map(|answer| answer["request"]["name"].as_str()).collect();
    assert_eq!((answers.len(), names), (7, vec!["huge", "large", "deep"]));
    assert!(!denied[0]["response"]["auditAnnotations"]["notReviewed"].is_null(), "{}", denied[0]);
    // A file's object has its name as well.
    let mut large = with_variables("large", 55_000);
    large["apiVersion"] = json!("apps/v1");
    large["kind"] = json!("Deployment");
    let file = site.file("large.json", &large.to_string());
    let told = site.review(&[], &file).expect(BAD_INPUT);
    assert!(told.stderr.contains("large.json: Deployment line-1/large is not reviewed: "), "{}", told.stderr);
    assert!(told.stdout.ends_with("0 skipped; 1 not reviewed\n"), "{}", told.stdout);
}

#[test]
fn the_webhooks_say_what_is_exempt() {
    let (api, site) = cluster();
    let mut mirror = pod("kube-system", "apiserver", "closed");
    mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "h" });
    api.list("/api/v1/pods", vec![mirror.clone(), pod("kube-system", "dns", "closed"), pod("line-1", "plc", "open")]);
    let told = review(&site, &[]).expect(DENIED).stdout;
    assert!(told.contains("skipped  Pod kube-system/apiserver: the mirror of a static pod"), "{told}");
    assert!(told.contains("denied   Pod kube-system/dns: "), "{told}");
    for (kind, plural, path) in [
        ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "/admit"),
        ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "/validate"),
    ] {
        let expressions = json!([{ "key": "checked", "operator": "NotIn", "values": ["no"] }]);
        let webhook = json!({
            "clientConfig": { "service": { "path": path } }, "namespaceSelector": { "matchExpressions": expressions },
        });
        let object = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "webhooks": [webhook] });
        api.put_at(&format!("/apis/admissionregistration.k8s.io/v1/{plural}/portreeve"), object);
    }
    let told = review(&site, &[]).expect(ALLOWED).stdout;
    assert!(told.contains("skipped  Pod kube-system/dns: namespace kube-system is exempt by the webhooks'"), "{told}");
    assert!(
        told.ends_with("1 object reviewed: 1 allowed, 0 let in with a warning, 0 denied, 0 undecided; 2 skipped\n"),
        "{told}"
    );
    // One namespace needs no right to others.
    api.forbid("", "pods");
    api.put_at("/api/v1/namespaces/line-1", json!({ "kind": "Namespace", "metadata": { "name": "line-1" } }));
    for path in RESOURCES {
        let (api_path, plural) = path.rsplit_once('/').unwrap();
        let items = if plural == "pods" { vec![pod("line-1", "plc", "closed")] } else { Vec::new() };
        api.list(&format!("{api_path}/namespaces/line-1/{plural}"), items);
    }
    api.forbid_nothing();
    api.forget_requests();
    let told = review(&site, &["--namespace", "line-1"]).expect(DENIED).stdout;
    assert!(told.starts_with("denied   Pod line-1/plc: "), "{told}");
    let lists = api.requests().into_iter().filter(|request| request.target.contains("limit="));
    assert!(lists.into_iter().all(|request| request.target.contains("/namespaces/line-1/")));
}

/// A Rollout as an item of a list.
fn rollout(namespace: &str, name: &str, folder: &str) -> Value {
    template(namespace, name, folder)
}

/// The name, the kind, and whether its objects belong to namespaces.
type Served = (&'static str, &'static str, bool);

/// An API group with its versions, the preferred one first, and the resources of each.
fn serve_group(api: &ApiServer, group: &str, versions: &[(&str, &[Served])]) -> Value {
    for (version, resources) in versions {
        let resources = resources.iter().map(|(name, kind, namespaced)| {
            json!({ "name": name, "kind": kind, "namespaced": namespaced, "verbs": ["get", "list"] })
        });
        let resources: Vec<Value> = resources.collect();
        let list =
            json!({ "kind": "APIResourceList", "groupVersion": format!("{group}/{version}"), "resources": resources });
        api.put_at(&format!("/apis/{group}/{version}"), list);
    }
    let version = |name: &&str| json!({ "groupVersion": format!("{group}/{name}"), "version": name });
    // A server lists them in an order of its own.
    let all: Vec<Value> = versions.iter().map(|(name, _)| version(name)).rev().collect();
    json!({ "name": group, "versions": all, "preferredVersion": version(&versions[0].0) })
}

fn serve_groups(api: &ApiServer, groups: &[Value]) {
    api.put_at("/apis", json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }));
}

/// Kinds that the configuration names are found where the API server says that it serves them.
#[test]
fn custom_kinds_are_listed_where_they_are_served() {
    let (api, mut site) = cluster();
    let workload = |group: &str, kind: &str| json!({ "group": group, "kind": kind, "podSpec": "/spec/template/spec" });
    site.config["admission"]["workloads"] = json!([
        workload("argoproj.io", "Rollout"),
        workload("apps.kruise.io", "CloneSet"),
        workload("apps.kruise.io", "Clusterset"),
        workload("absent.io", "Thing"),
    ]);
    let argo: &[Served] =
        &[("rollies/status", "Rollout", true), ("workflows", "Workflow", true), ("rollies", "Rollout", true)];
    let kruise: &[Served] = &[("clonesets", "CloneSet", true)];
    let groups = [
        serve_group(&api, "argoproj.io", &[("v1", argo), ("v1alpha1", argo)]),
        // Only the older version has the kind, and another one has nearly the same name.
        serve_group(&api, "apps.kruise.io", &[("v2", &[("clustersets", "ClusterSets", false)]), ("v1beta1", kruise)]),
    ];
    serve_groups(&api, &groups);
    api.list(
        "/apis/argoproj.io/v1/rollies",
        vec![rollout("line-1", "plc", "open"), rollout("line-1", "hmi", "closed")],
    );
    api.list("/apis/apps.kruise.io/v1beta1/clonesets", vec![rollout("line-1", "clones", "open")]);
    let mut made = template("line-1", "plc-1", "closed");
    made["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "plc", "controller": true }]);
    api.list("/apis/apps/v1/replicasets", vec![made]);
    let summary = site.file("summary", "");
    let run = review(&site, &["--summary", summary.to_str().unwrap()]).expect(DENIED);
    let told = run.stdout;
    assert!(told.contains("allowed  Rollout line-1/plc: "), "{told}");
    assert!(told.contains("denied   Rollout line-1/hmi: "), "{told}");
    assert!(told.contains("allowed  CloneSet line-1/clones: "), "{told}");
    assert!(!told.contains("plc-1"), "its Rollout stands for it: {told}");
    assert!(
        told.contains(
            "skipped  Clusterset.apps.kruise.io: the API server has no such kind in this API group; admission.workloads \
             probably means ClusterSets\n"
        ),
        "{told}"
    );
    assert!(told.contains("skipped  Thing.absent.io: the API server has no such API group\n"), "{told}");
    assert!(
        told.ends_with("3 objects reviewed: 2 allowed, 0 let in with a warning, 1 denied, 0 undecided; 0 skipped\n")
    );
    let written = std::fs::read_to_string(&summary).unwrap();
    assert!(written.contains("\nnot served: Thing.absent.io\n"), "{written}");
    let asked: Vec<String> = api.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(asked.iter().filter(|target| *target == "/apis").count(), 1, "{asked:?}");
    assert!(!asked.iter().any(|target| target.contains("argoproj.io/v1alpha1")), "{asked:?}");
    // In JSON the object is named in its own group and version.
    let told = review(&site, &["--output", "json"]).expect(DENIED).stdout;
    let answers: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let hmi = answers.iter().find(|answer| answer["request"]["name"] == "hmi").unwrap();
    assert_eq!(hmi["request"]["kind"], json!({ "group": "argoproj.io", "version": "v1", "kind": "Rollout" }));
    // One namespace.
    for (path, items) in [
        ("/apis/argoproj.io/v1/namespaces/line-1/rollies", vec![rollout("line-1", "plc", "open")]),
        ("/apis/apps.kruise.io/v1beta1/namespaces/line-1/clonesets", Vec::new()),
    ] {
        api.list(path, items);
    }
    for path in RESOURCES {
        let (api_path, plural) = path.rsplit_once('/').unwrap();
        api.list(&format!("{api_path}/namespaces/line-1/{plural}"), Vec::new());
    }
    let told = review(&site, &["--namespace", "line-1"]).expect(ALLOWED).stdout;
    assert!(told.contains("1 object reviewed: 1 allowed"), "{told}");
}

/// A custom kind that could not be read is not taken for nothing, and what its controller made is then reviewed itself.
#[test]
fn a_custom_kind_that_cannot_be_read_leaves_it_undecided() {
    let (api, mut site) = cluster();
    site.config["admission"]["workloads"] =
        json!([{ "group": "argoproj.io", "kind": "Rollout", "podSpec": "/spec/template/spec" }]);
    // Discovery itself.
    let told = review(&site, &[]).expect(UNDECIDED).stderr;
    assert!(told.contains("the list of API groups does not exist"), "{told}");
    let rollouts: &[Served] = &[("rollouts", "Rollout", true)];
    serve_groups(&api, &[serve_group(&api, "argoproj.io", &[("v1", rollouts)])]);
    api.list("/apis/argoproj.io/v1/rollouts", Vec::new());
    review(&site, &[]).expect(ALLOWED);
    let mut made = template("line-1", "plc-1", "open");
    made["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "plc", "controller": true }]);
    api.list("/apis/apps/v1/replicasets", vec![made]);
    api.forbid("", "rollouts");
    let run = review(&site, &[]).expect(UNDECIDED);
    assert!(run.stderr.contains("does not let Portreeve \"list\" \"rollouts\" in the cluster"), "{run:?}");
    assert!(run.stderr.contains("manifests/examples/custom-workloads/review-rights.yaml"), "{run:?}");
    assert!(run.stdout.contains("allowed  ReplicaSet line-1/plc-1: "), "{run:?}");
    api.forbid_nothing();
    // What is no list of groups, or names a path, is not followed.
    for (path, object) in [
        ("/apis", json!({ "kind": "Status", "groups": [] })),
        (
            "/apis/argoproj.io/v1",
            json!({ "kind": "APIResourceList", "resources": [{ "name": "a?b", "kind": "Rollout" }] }),
        ),
        ("/apis/argoproj.io/v1", json!({ "resources": [] })),
    ] {
        serve_groups(&api, &[serve_group(&api, "argoproj.io", &[("v1", rollouts)])]);
        api.put_at(path, object);
        let told = review(&site, &[]).expect(UNDECIDED).stderr;
        assert!(told.contains("answered with something that is not this object"), "{told}");
    }
    serve_groups(&api, &[json!({ "name": "argoproj.io", "versions": [{ "version": "../../api" }] })]);
    review(&site, &[]).expect(UNDECIDED);
    assert!(!api.requests().iter().any(|request| request.target.contains("..")));
}

/// What could not be read is never taken for nothing.
#[test]
fn what_cannot_be_read_leaves_it_undecided() {
    let (api, site) = cluster();
    let summary = site.file("summary", "");
    api.list("/api/v1/pods", vec![pod("line-1", "plc", "open")]);
    api.forbid("", "deployments");
    let run = review(&site, &["--summary", summary.to_str().unwrap()]).expect(UNDECIDED);
    assert!(
        run.stderr.contains("does not let Portreeve \"list\" \"deployments\" in the cluster (403 Forbidden)"),
        "{run:?}"
    );
    assert!(run.stderr.contains("manifests/components/review-cronjob"), "{run:?}");
    assert!(run.stdout.contains("allowed  Pod line-1/plc: "), "{run:?}");
    assert!(std::fs::read_to_string(&summary).unwrap().contains("\nnot read: deployments\n"));
    // A denial is the worse news.
    api.list("/api/v1/pods", vec![pod("line-1", "plc", "closed")]);
    review(&site, &[]).expect(DENIED);
    api.forbid_nothing();
    api.list("/api/v1/pods", Vec::new());
    api.misbehave("/api/v1/pods", Fault::Status(500));
    let told = review(&site, &[]).expect(UNDECIDED).stderr;
    assert!(told.contains("pods could not be read: "), "{told}");
    api.behave();
    // Namespaces that cannot be read: it is not known what is exempt.
    api.put_at(
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/portreeve",
        json!({
            "kind": "ValidatingWebhookConfiguration",
            "webhooks": [{ "clientConfig": { "service": { "path": "/validate" } } }],
        }),
    );
    api.forbid("", "namespaces");
    review(&site, &[]).expect(UNDECIDED);
    // Outside a cluster, the configuration must say where the API server is.
    let outside = Site::new(&Pki::new());
    outside.policies(&[policy_for("registry.local:9001/open/*", json!({ "enabled": false }))]);
    let told = review(&outside, &[]).expect(BAD_INPUT).stderr;
    assert!(told.contains("review --cluster runs in a pod (components/review-cronjob). Here: kubectl get "), "{told}");
    assert!(!told.contains("credentials.kubernetes"), "{told}");
}
