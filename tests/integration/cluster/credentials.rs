//! Pull secrets in tenants' namespaces, which Portreeve reads from the real API server with its own ServiceAccount's
//! rights, for a Notary server that demands sign-in.

use serde_json::json;

use super::Cluster;
use super::kubectl::assert_denied;
use super::policies::image_policy;
use super::tenant::{SIGNED, images, object};
use crate::notary::{Digest, RealNotary};
use crate::plant::PLC;
use crate::process::wait_patiently;
use crate::review::pinned;
use crate::token::TokenService;

const USER: &str = "robot$plant";
const PASSWORD: &str = "pass:word";

pub(super) fn pull_secrets(cluster: &Cluster) {
    let tenant = cluster.tenant("pull");
    let pki = &cluster.plant.pki;
    let tokens = TokenService::start(pki, USER, PASSWORD);
    let notary = RealNotary::with_tokens(pki, &tokens);
    let digest = Digest::of("pull v1");
    notary.repository(PLC).add_signer(&cluster.plant.alice).sign("v1", &digest, &["targets/releases"]);
    let trust = json!({ "enabled": true, "trustServer": notary.url() });
    cluster.add_policies("pull.yaml", &[image_policy("pull", trust)]);

    let alice = tenant.alice();
    let secret = |name: &str, password: &str| {
        let password = format!("--docker-password={password}");
        let registry = ["--docker-server=registry.local:9001", "--docker-username", USER, &password];
        alice.ok(&[&["create", "secret", "docker-registry", name], &registry[..]].concat());
    };
    let deployment = |name: &str| alice.run(&["create", "deployment", name, "--image", SIGNED]);
    assert_denied(&deployment("plc"), &["plc:v1: unavailable: ", "401"]);

    secret("harbor", PASSWORD);
    let account = json!({ "imagePullSecrets": [{ "name": "harbor" }] }).to_string();
    alice.ok(&["patch", "serviceaccount", "default", "--patch", &account]);
    wait_patiently("the pull secret to count", || deployment("plc").status == Some(0));
    let made = tenant.pods_of("ReplicaSet", 1).remove(0);
    assert_eq!(images(&made["spec"]), [&pinned(PLC, &digest)]);
    let read = tokens.issued();
    assert!(read > 0);

    // If a Pod names a secret, its ServiceAccount's secrets do not count.
    secret("wrong", "another");
    let pod = |name: &str, secret: &str| {
        tenant.create(&object(
            "v1",
            "Pod",
            name,
            json!({
                "containers": [{ "name": "c", "image": "registry.local:9001/plant/other:v1" }],
                "imagePullSecrets": [{ "name": secret }],
            }),
        ))
    };
    assert_denied(&pod("wrong", "wrong"), &["other:v1: unavailable: ", "wrong", "401"]);
    // With the right credentials the server answers that it has no such repository.
    assert_denied(&pod("right", "harbor"), &["other:v1: rejected: "]);

    // Its rights are GETs by name; it may not list.
    let can = |verb: &str| {
        let portreeve = "--as=system:serviceaccount:portreeve:portreeve";
        cluster.admin().run(&["auth", "can-i", verb, "secrets", "--namespace=pull", portreeve]).status == Some(0)
    };
    assert!(can("get") && !can("list") && !can("watch") && !can("update"));
}
