//! Policies of namespaces, in ConfigMaps of their own: what one namespace does concerns that namespace alone.

use std::path::PathBuf;
use std::process::Command;

use portreeve_test_support::temp::TempDir;
use serde_json::{Value, json};

use crate::https::http;
use crate::mount::Mount;
use crate::notary::needs_notary;
use crate::pki::Pki;
use crate::plant::{Guarded, PASSWORD, PLC, USER};
use crate::process::{free_port, run, skip_for_want_of, wait_patiently};
use crate::product::{Serving, Site, executable};
use crate::review::{assert_allowed, assert_denied, in_namespace, pod, pod_review, policy_for, warnings};

const IMAGE: &str = "registry.local:9001/plant/plc:v1";

/// The mounted ConfigMaps of namespaces.
struct Owners {
    dir: TempDir,
    site: Site,
}

impl Owners {
    /// A site whose own policy lets everything in unchecked.
    fn new() -> Self {
        let dir = TempDir::new();
        let mut site = Site::new(&Pki::new());
        site.config["namespacePolicies"] = json!(dir.path());
        site.policies(&[cluster("everything", json!([{ "name": "*" }]))]);
        Self { dir, site }
    }

    fn mount(&self, namespace: &str, files: &[(&str, &str)]) {
        Mount::at(self.dir.path().join(namespace)).swap(files);
    }

    fn serve(&self) -> Serving {
        self.site.serve()
    }
}

fn cluster(name: &str, repositories: Value) -> Value {
    json!({ "apiVersion": "portreeve/v1", "kind": "ClusterImagePolicy", "metadata": { "name": name },
        "spec": { "repositories": repositories } })
}

/// An ImagePolicy that denies every image, with this message.
fn denial(namespace: &str, message: &str) -> String {
    let rule = json!([{ "name": "*", "policy": { "deny": { "message": message } } }]);
    in_namespace(cluster("own", rule), namespace).to_string()
}

/// Reviews a Pod of a namespace.
fn admit(serving: &Serving, namespace: &str) -> Value {
    let mut review = pod_review(IMAGE);
    review["request"]["namespace"] = json!(namespace);
    serving.admit("/admit", &review)
}

/// Reviews a ConfigMap of Portreeve's namespace.
fn apply(serving: &Serving, name: &str, data: &Value) -> Value {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": { "uid": "u", "kind": { "group": "", "version": "v1", "kind": "ConfigMap" }, "namespace": "portreeve",
            "name": name, "operation": "UPDATE", "userInfo": { "username": "alice" },
            "object": { "metadata": { "name": name, "namespace": "portreeve" }, "data": data } },
    });
    serving.admit("/validate-policy", &review)
}

#[test]
fn a_namespace_s_mistakes_are_its_own() {
    let owners = Owners::new();
    owners.mount("line-1", &[("p.yaml", &denial("line-1", "by line-1"))]);
    owners.mount("line-2", &[("p.yaml", &denial("line-2", "by line-2"))]);
    owners.mount("line-3", &[]);
    let serving = owners.serve();
    assert_denied(&admit(&serving, "line-1"), &["by line-1"]);
    assert_denied(&admit(&serving, "line-2"), &["by line-2"]);
    for others in ["line-3", "line-4"] {
        assert_allowed(&admit(&serving, others));
    }

    // A mistake leaves the last good policies of this namespace in force.
    let reloads = |result: &str| {
        serving.metric(&format!("portreeve_reloads_total{{what=\"namespace_policies\",result=\"{result}\"}}")).unwrap()
    };
    assert_eq!((reloads("ok"), reloads("failed")), (2, 0));
    let unusable = |serving: &Serving, state: &str| {
        serving.metric(&format!("portreeve_namespace_policies_unusable{{state=\"{state}\"}}")).unwrap()
    };
    owners.mount("line-1", &[("p.yaml", "kind: [")]);
    wait_patiently("the mistake to be found", || reloads("failed") == 1);
    assert_eq!((unusable(&serving, "last_good"), unusable(&serving, "denied")), (1, 0));
    assert_denied(&admit(&serving, "line-1"), &["by line-1"]);
    assert_denied(&admit(&serving, "line-2"), &["by line-2"]);
    assert!(serving.log().contains("its last good ones stay in force"), "{}", serving.log());
    let failed = serving.metric("portreeve_reloads_total{what=\"policies\",result=\"failed\"}");
    assert_eq!(failed, Some(0), "the site's policies are good");

    // A pod that starts with the mistake is ready, and denies that namespace alone: its cluster policies ask for less.
    let again = owners.serve();
    assert_denied(&admit(&again, "line-1"), &["unavailable: ", "portreeve-policies-line-1", "line-1/p.yaml:1:"]);
    assert_denied(&admit(&again, "line-2"), &["by line-2"]);
    assert_allowed(&admit(&again, "line-4"));
    assert_eq!((unusable(&again, "last_good"), unusable(&again, "denied")), (0, 1));
    assert!(again.log().contains("all of its images are denied until they are corrected"), "{}", again.log());
    let file = owners.site.file("pod.json", &pod(IMAGE).to_string());
    let reviewed = owners.site.review(&[], &file);
    assert_eq!(reviewed.status, Some(3), "the commands decide as the webhook does: {reviewed:?}");
    assert!(reviewed.stderr.contains("line-1/p.yaml:1:"), "{reviewed:?}");

    // Corrected, and then emptied: the namespace has no ImagePolicy.
    owners.mount("line-1", &[("p.yaml", &denial("line-1", "once more"))]);
    for serving in [&serving, &again] {
        wait_patiently("the correction to be found", || admit(serving, "line-1").to_string().contains("once more"));
        assert_eq!((unusable(serving, "last_good"), unusable(serving, "denied")), (0, 0));
    }
    owners.mount("line-1", &[]);
    wait_patiently("the policies to be gone", || admit(&serving, "line-1")["response"]["allowed"] == true);
}

/// Policies that are as costly as a ConfigMap's people can make them, in many namespaces.
#[test]
fn hostile_policies_of_many_namespaces_fit_into_a_pod() {
    let owners = Owners::new();
    let secrets: Vec<Value> = (0..15).map(|n| json!({ "name": format!("{}{n:02}", "s".repeat(8)) })).collect();
    let rule = |n: usize| json!({ "name": format!("r.io/{}-{n}*:v*", "p".repeat(100)), "policy": { "cosign": { "signerSecrets": secrets } } });
    for namespace in 0..20 {
        let name = format!("line-{namespace}");
        let rules: Vec<Value> = (0..250).map(rule).collect();
        owners.mount(&name, &[("p.yaml", &in_namespace(cluster("own", json!(rules)), &name).to_string())]);
    }
    let serving = owners.serve();
    assert_allowed(&admit(&serving, "other"));
    assert_denied(&admit(&serving, "line-7"), &["no repository pattern"]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", serving.id())).unwrap();
    let kib = |name: &str| -> usize {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let (now, peak) = (kib("VmRSS:"), kib("VmHWM:"));
    println!("resident: {now} KiB, at most {peak} KiB");
    assert!(peak < 80 << 10, "resident {now} KiB, at most {peak} KiB, of the 128 MiB of a pod");
}

/// Whoever names a server chooses who receives credentials. Those that are mounted serve every namespace.
#[test]
fn mounted_credentials_go_to_no_server_that_a_namespace_names() {
    needs_notary!();
    let own = TempDir::new();
    let mut guarded = Guarded::new();
    guarded.site.pull_secret("harbor", "registry.local:9001", USER, PASSWORD);
    let url = guarded.site.config["trust"]["servers"]["registry.local:9001"].clone();
    let trust = json!({ "enabled": true, "trustServer": url });
    let named = policy_for("registry.local:9001/plant/*", trust);
    let mine = in_namespace(named.clone(), "line-1").to_string();
    guarded.site.config["namespacePolicies"] = json!(own.path());
    guarded.site.config["trust"].as_object_mut().unwrap().remove("cache");
    let file = guarded.site.file("pod.json", &pod(&format!("{PLC}:v1")).to_string());

    // The configuration names the same server for this registry.
    guarded.site.policies(&[cluster("none", json!([]))]);
    Mount::at(own.path().join("line-1")).swap(&[("p.yaml", &mine)]);
    let (status, answers) = guarded.site.answers(&file);
    assert_eq!(status, Some(0), "{answers:#?}");
    guarded.assert_pinned(&answers[0]);

    // It does not, and only the namespace's people name the server.
    guarded.site.config["trust"]["servers"] = json!({});
    let (issued, refused) = (guarded.tokens.issued(), guarded.tokens.refused());
    let (status, answers) = guarded.site.answers(&file);
    assert_eq!(status, Some(3), "{answers:#?}");
    assert_denied(&answers[0], &["the site's credentials are not sent to", "a policy of namespace line-1 names"]);
    assert_eq!(guarded.tokens.issued(), issued, "no password was sent");
    assert!(guarded.tokens.refused() > refused, "it was asked, anonymously");

    // The site's own policy may name any server.
    Mount::at(own.path().join("line-1")).swap(&[]);
    guarded.site.policies(&[named]);
    let (status, answers) = guarded.site.answers(&file);
    assert_eq!(status, Some(0), "{answers:#?}");
}

/// CASES.md, F3 and F7, as `kubectl apply` over the first policy has it.
#[test]
fn a_first_policy_that_stays_is_told_everywhere() {
    let owners = Owners::new();
    let site_s =
        cluster("site", json!([{ "name": "registry.local:9001/*", "policy": { "deny": { "message": "no" } } }]));
    let gauge = |serving: &Serving| serving.metric("portreeve_everything_unchecked{scope=\"cluster\"}").unwrap();
    let serving = owners.serve();
    assert_eq!(gauge(&serving), 0, "alone, it is what somebody wanted");
    let first = cluster("first-install", json!([{ "name": "*" }])).to_string();
    let both = json!({ "first-install.yaml": first, "site.yaml": site_s.to_string() });
    let answer = apply(&serving, "portreeve-policies", &both);
    assert_allowed(&answer);
    let told = "ClusterImagePolicy first-install stands beside 1 other policy";
    assert!(warnings(&answer).contains(told), "{answer}");

    owners.site.policies(&[cluster("first-install", json!([{ "name": "*" }])), site_s]);
    wait_patiently("the policies to be read", || gauge(&serving) == 1);
    assert!(serving.log().contains(told), "{}", serving.log());

    let unmounted = apply(&serving, "portreeve-policies-line-9", &json!({ "p.yaml": denial("line-9", "no") }));
    assert!(warnings(&unmounted).contains("portreeve-policies-line-9 is not mounted"), "{unmounted}");
    assert_allowed(&unmounted);
    assert_denied(&apply(&serving, "portreeve-policies-line-9", &json!({ "p.yaml": "kind: [" })), &["p.yaml:1:"]);
    assert_allowed(&apply(&serving, "kube-root-ca.crt", &json!({ "ca.crt": "kind: [" })));
}

#[test]
fn lint_holds_a_namespace_s_config_map_to_its_own() {
    let dir = TempDir::new();
    let manifest = |namespace: &str| {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "portreeve-policies-line-1", "namespace": "portreeve" },
            "data": { "p.yaml": denial(namespace, "no") } })
    };
    let lint = |files: &[(&str, Value)]| {
        let paths: Vec<PathBuf> = files.iter().map(|(name, value)| dir.write(name, value.to_string())).collect();
        run(executable().arg("lint").args(paths), "")
    };
    lint(&[("a.json", manifest("line-1"))]).expect(0);
    let empty = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "portreeve-policies-line-1" } });
    lint(&[("a.json", empty), ("b.json", cluster("site", json!([{ "name": "r.io/*" }])))]).expect(0);
    let refused = lint(&[("a.json", manifest("line-2"))]).expect(2);
    let told = "ImagePolicy line-2/own does not belong here: there are only ImagePolicies of namespace line-1";
    assert!(refused.stdout.contains(told), "{refused:?}");
}

/// CASES.md, F17: a system without IPv6, which `strace` plays.
#[test]
fn without_ipv6_it_listens_on_ipv4() {
    if !std::path::Path::new("/usr/bin/strace").exists() {
        return skip_for_want_of("strace (Debian package strace)");
    }
    for is_without in [false, true] {
        let (port, plain_port) = (free_port(), free_port());
        let mut owners = Owners::new();
        owners.site.config["listen"] = json!(format!("[::]:{port}"));
        owners.site.config["metricsListen"] = json!(format!("[::]:{plain_port}"));
        let serve = owners.site.command("serve", &[]);
        let mut command = Command::new("/usr/bin/strace");
        command.env_clear().args(["-D", "-o", "/dev/null", "-e", "trace=socket"]);
        if is_without {
            // The main thread makes its sockets in this order: TLS by IPv6, by IPv4, then the plain one by IPv6, by IPv4.
            command.args(["-e", "inject=socket:error=EAFNOSUPPORT:when=1..3+2"]);
        }
        command.arg(serve.get_program()).args(serve.get_args());
        let serving = Serving::start(command, port, plain_port, &Pki::new());
        wait_patiently("the webhook to answer on 127.0.0.1", || {
            http(plain_port, "GET", "/health/liveness", b"").is_some_and(|response| response.status == 200)
        });
        let address = if is_without { "0.0.0.0" } else { "[::]" };
        wait_patiently("the addresses to be logged", || {
            serving.log().contains(&format!("listening on {address}:{plain_port} (metrics"))
                && serving.log().contains(&format!("listening on {address}:{port} (TLS)"))
        });
    }
}
