//! Pull secrets and signers' keys that the real executable reads from a Kubernetes API server. The server runs in this
//! process; its responses have kube-apiserver's form, or are faults.

use std::fs;
use std::path::PathBuf;

use portreeve_test_support::api_server::ApiServer;
use portreeve_test_support::trust_server::Fault;
use serde_json::{Value, json};

use crate::notary::needs_notary;
use crate::pki::Pki;
use crate::plant::{Guarded, PASSWORD, PLC, USER};
use crate::product::Site;
use crate::review::{assert_allowed, assert_denied, pod_review, policy};

const REGISTRY: &str = "registry.local:9001";

/// An installation that reads pull secrets from an API server, which knows the credentials for its Notary server.
struct Cluster {
    api: ApiServer,
    token_file: PathBuf,
    guarded: Guarded,
}

impl Cluster {
    fn new() -> Self {
        let mut guarded = Guarded::new();
        let api = ApiServer::start("first");
        let site = &mut guarded.site;
        let (token_file, ca) = (site.file("token", "first"), site.file("ca.crt", api.ca_pem()));
        site.config["credentials"]["kubernetes"] = json!(true);
        site.config["credentials"]["api"] = json!({ "server": api.url(), "token": token_file, "ca": ca });
        site.config["trust"]["refreshAfter"] = json!("0s");
        Self { api, token_file, guarded }
    }

    /// A pull secret for the plant's registry, with the right password.
    fn good(&self, name: &str) {
        self.api.pull_secret("line-1", name, REGISTRY, USER, PASSWORD);
    }

    #[track_caller]
    fn assert_pinned(&self, answer: &Value) {
        assert_allowed(answer);
        self.guarded.assert_pinned(answer);
    }
}

/// A Pod with the signed image and these pull secrets.
fn pod_with(pull_secrets: &[&str]) -> Value {
    let mut review = pod_review(&format!("{PLC}:v1"));
    let references: Value = pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    review["request"]["object"]["spec"]["imagePullSecrets"] = references;
    review
}

#[test]
fn pull_secrets_are_found_and_the_token_is_read_as_it_rotates() {
    needs_notary!();
    let cluster = Cluster::new();
    let (api, serving) = (&cluster.api, cluster.guarded.site.serve());
    for name in ["own", "of-account", "after-rotation"] {
        cluster.good(name);
    }
    api.service_account("line-1", "default", &["of-account"]);
    cluster.assert_pinned(&serving.admit("/admit?timeout=10s", &pod_with(&["own"])));
    let mut deployment = pod_with(&[]);
    deployment["request"]["kind"] = json!({ "group": "apps", "version": "v1", "kind": "Deployment" });
    let template = deployment["request"]["object"].clone();
    deployment["request"]["object"] = json!({ "metadata": {}, "spec": { "template": template } });
    cluster.assert_pinned(&serving.admit("/admit?timeout=10s", &deployment));
    let expected = ["line-1/secrets/own", "line-1/serviceaccounts/default", "line-1/secrets/of-account"];
    assert_eq!(api.asked(), expected);
    // The Secrets that were read a moment ago are used again, and so is the registry's token.
    let issued = cluster.guarded.tokens.issued();
    cluster.assert_pinned(&serving.admit("/admit?timeout=10s", &deployment));
    assert_eq!((api.asked().len(), cluster.guarded.tokens.issued()), (3, issued));

    api.accept_only("second");
    let denied = serving.admit("/admit?timeout=10s", &pod_with(&["with-the-old-token"]));
    assert_denied(&denied, &["pull secret line-1/with-the-old-token could not be read", "401 Unauthorized"]);
    // kubelet replaces the whole file.
    let next = cluster.token_file.with_extension("next");
    fs::write(&next, "second\n").unwrap();
    fs::rename(next, &cluster.token_file).unwrap();
    cluster.assert_pinned(&serving.admit("/admit?timeout=10s", &pod_with(&["after-rotation"])));
    assert!(!serving.log().contains(PASSWORD) && !serving.log().contains("second"), "{}", serving.log());
}

#[test]
fn an_api_server_that_does_not_give_them_is_told_beside_the_trust_server() {
    needs_notary!();
    let mut cluster = Cluster::new();
    let serving = cluster.guarded.site.serve();
    cluster.good("harbor");
    cluster.api.forbid("line-1", "secrets");
    let component = "manifests/components/api-credentials";
    let words =
        ["refused every sign-in", "pull secret line-1/forbidden", "\"get\" \"secrets\" in namespace line-1", component];
    assert_denied(&serving.admit("/admit?timeout=10s", &pod_with(&["forbidden"])), &words);
    cluster.api.forbid_nothing();
    for (name, fault, words) in [
        ("huge", Fault::HugeChunked(1 << 40), "sent more than 3145728 bytes"),
        ("drip", Fault::Drip, "did not answer in time"),
        ("stall", Fault::Stall, "did not answer in time"),
        ("page", Fault::Html, "something that is not this object"),
        ("redirect", Fault::Redirect, "answered 302"),
        ("error", Fault::Status(500), "answered 500"),
        ("absent", Fault::FailAfter(1), "does not exist"),
    ] {
        if fault == Fault::Drip {
            cluster.good(name); // so that the fault has a body to send
        }
        cluster.api.misbehave(name, fault);
        // Good Secrets beside it are used. Alone it is named in the denial.
        let denied = serving.admit("/admit?timeout=6s", &pod_with(&[name]));
        assert_denied(&denied, &["refused every sign-in", &format!("pull secret line-1/{name} "), words]);
        cluster.assert_pinned(&serving.admit("/admit?timeout=10s", &pod_with(&[name, "harbor"])));
    }
    cluster.api.stop();
    let denied = serving.admit("/admit?timeout=10s", &pod_with(&["away"]));
    assert_denied(
        &denied,
        &["refused every sign-in", "line-1/away could not be read: the Kubernetes API server https://127.0.0.1"],
    );
    cluster.guarded.site.pull_secret("mounted", REGISTRY, USER, PASSWORD);
    let file = cluster.guarded.site.file("pod.json", &pod_with(&["away"]).to_string());
    assert_eq!(cluster.guarded.site.review(&[], &file).status, Some(0), "mounted credentials need no API server");
}

#[test]
fn a_signer_s_key_is_absent_or_out_of_reach() {
    needs_notary!();
    let mut cluster = Cluster::new();
    cluster.guarded.site.pull_secret("mounted", REGISTRY, USER, PASSWORD);
    cluster.guarded.site.config["namespace"] = json!("doors");
    let mut policy = policy(&[]);
    policy["spec"]["repositories"][0]["policy"]["trust"]["signerSecrets"] = json!([{ "name": "alice-key" }]);
    cluster.guarded.site.policies(&[policy]);
    let file = cluster.guarded.site.file("pod.json", &pod_with(&[]).to_string());
    let review = |cluster: &Cluster, status: i32, words: &[&str]| {
        let (ended, answers) = cluster.guarded.site.answers(&file);
        assert_eq!(ended, Some(status), "{answers:#?}");
        assert_denied(&answers[0], words);
    };
    review(&cluster, 1, &["the signer's secret doors/alice-key cannot be used: it does not exist"]);
    let signer = cluster.guarded.alice.in_policy();
    let [name, key] = ["name", "publicKey"].map(|field| signer[field].as_str().unwrap());
    cluster.api.secret("doors", "alice-key", "Opaque", &[("name", name), ("publicKey", key)]);
    let (ended, answers) = cluster.guarded.site.answers(&file);
    assert_eq!(ended, Some(0), "{answers:#?}");
    cluster.assert_pinned(&answers[0]);
    cluster.api.forbid("doors", "secrets");
    review(
        &cluster,
        3,
        &["the signer's secret doors/alice-key could not be read", "in namespace doors (403 Forbidden)"],
    );
    cluster.api.stop();
    review(&cluster, 3, &["the signer's secret doors/alice-key could not be read"]);
}

#[test]
fn outside_a_pod_the_api_server_must_be_named() {
    let mut site = Site::new(&Pki::new());
    site.config["credentials"]["kubernetes"] = json!(true);
    site.policies(&[policy(&[])]);
    let file = site.file("pod.json", &pod_with(&[]).to_string());
    let run = site.review(&[], &file);
    assert_eq!(run.status, Some(2), "{run:?}");
    assert!(run.stderr.contains("KUBERNETES_SERVICE_HOST") && run.stderr.contains("credentials.api.server"), "{run:?}");
}
