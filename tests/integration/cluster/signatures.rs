//! Images that real cosign has signed, under a tenant's policy.

use serde_json::{Value, json};

use super::Cluster;
use super::kubectl::assert_denied;
use super::policies::image_policy;
use super::tenant::images;
use crate::notary::KeyKind;
use crate::producers::{FORMATS, Producers};
use crate::registries::RealRegistry;

/// The policy is in a ConfigMap, and the signer's key in it. kubectl shows what was pinned, and why an image is denied.
pub(super) fn signed_by_cosign(cluster: &Cluster) {
    let tenant = cluster.tenant("cosign");
    let Some(producers) = Producers::find(&cluster.plant.pki) else { return };
    let registry = RealRegistry::with_referrers(&producers);
    let release = producers.key("release", KeyKind::P256);
    let host = registry.host();
    let mut policy = image_policy("cosign", Value::Null);
    policy["spec"]["repositories"] = json!([
        { "name": format!("{host}/plant/*"), "policy": { "cosign": { "signers": [release.in_policy()] } } },
    ]);
    cluster.add_policies("cosign.yaml", &[policy]);

    let alice = tenant.alice();
    for format in FORMATS {
        let name = format!("plc-{format:?}").to_lowercase();
        let image = format!("{host}/plant/{name}:v1");
        let digest = producers.push(&image, &name);
        let run = || alice.run(&["create", "deployment", &name, "--image", &image]);
        let words = [format!("{name}:v1: rejected: "), "is not signed".into(), format!("{host}/plant/{name}@{digest}")];
        assert_denied(&run(), &words.each_ref().map(String::as_str));
        producers.sign(&release, &format!("{host}/plant/{name}@{digest}"), format);
        // A denial holds for two seconds, so that a workload that is tried again and again costs little.
        crate::process::wait_patiently("the signature to count", || run().status == Some(0));
        let deployment = tenant.get("/apis/apps/v1", &format!("deployments/{name}")).unwrap();
        assert_eq!(images(&deployment["spec"]["template"]["spec"]), [format!("{image}@{digest}")]);
    }
    let made = tenant.pods_of("ReplicaSet", FORMATS.len());
    assert!(made.iter().all(|pod| images(&pod["spec"])[0].contains("@sha256:")), "{made:#?}");
    let decided = cluster.decided("cosign", "deployments", "create");
    let last = &decided.last().unwrap().1;
    assert_eq!(last["decision"], "allowed", "{last}");
    assert!(last["schemes"].as_str().is_some_and(|schemes| schemes.ends_with("=cosign")), "{last}");
    assert!(last["signers"].as_str().is_some_and(|signers| signers.ends_with("=release")), "{last}");
}
