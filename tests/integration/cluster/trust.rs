//! Trust data, and its absence, as a user of kubectl sees it.

use serde_json::json;

use super::Cluster;
use super::kubectl::assert_denied;
use super::policies::image_policy;
use super::tenant::{UNSIGNED, images};
use crate::notary::{Digest, RealNotary};
use crate::plant::{HMI, PLC};
use crate::process::wait_patiently;
use crate::review::{DID_NOT_ANSWER, pinned};

pub(super) fn warn_mode(cluster: &Cluster) {
    let tenant = cluster.tenant("warned");
    let trust = json!({ "enabled": true, "trustServer": cluster.plant.notary.url() });
    let mut policy = image_policy("warned", trust);
    policy["spec"]["repositories"][0]["policy"]["mode"] = json!("warn");
    cluster.add_policies("warned.yaml", &[policy]);
    let alice = tenant.alice();
    let warned = alice.run(&["run", "bad", "--image", UNSIGNED]).expect(0).stderr;
    // Both webhooks return the warning; kubectl prints it once.
    let warning = "Warning: portreeve lets this in only because it is set to warn: container \"bad\", image \
                   registry.local:9001/plant/plc:unsigned: rejected: ";
    assert_eq!(warned.matches(warning).count(), 1, "{warned}");
    let signed = alice.run(&["run", "plc", "--image", &format!("{PLC}:v1")]).expect(0).stderr;
    assert_eq!(signed, "");
    let pods = tenant.pods();
    let run: Vec<&str> = pods.iter().flat_map(|pod| images(&pod["spec"])).collect();
    assert_eq!(run, [UNSIGNED, &pinned(PLC, &cluster.plant.plc)]);
}

pub(super) fn stored_data_stands_in(cluster: &Cluster) {
    let tenant = cluster.tenant("stored");
    let mut notary = RealNotary::start(&cluster.plant.pki);
    let digest = Digest::of("stored v1");
    notary.repository(PLC).add_signer(&cluster.plant.alice).sign("v1", &digest, &["targets/releases", "targets/alice"]);
    let trust = json!({
        "enabled": true, "trustServer": notary.url(), "whenUnavailable": "useCached", "maxStale": "1h",
    });
    cluster.add_policies("stored.yaml", &[image_policy("stored", trust)]);
    let alice = tenant.alice();
    let signed = ["create", "deployment", "plc", "--image", "registry.local:9001/plant/plc:v1"];
    assert_eq!(alice.run(&signed).expect(0).stderr, "");
    notary.stop();
    // Before `refreshAfter` has passed, the trust server is not asked.
    let try_it = [&signed[..], &["--dry-run=server"]].concat();
    let try_it: Vec<&str> = try_it.iter().map(|word| if *word == "plc" { "again" } else { word }).collect();
    let warning = "Warning: portreeve: the trust server did not answer; registry.local:9001/plant/plc:v1 was verified \
                   with stored trust data, last confirmed ";
    wait_patiently("stored data to stand in", || alice.run(&try_it).expect(0).stderr.contains(warning));
    alice.denied(&["run", "bad", "--image", UNSIGNED], &["plc:unsigned"]);
}

pub(super) fn the_server_is_away(cluster: &Cluster) {
    let tenant = cluster.tenant("away");
    let mut notary = RealNotary::start(&cluster.plant.pki);
    notary.stop();
    let trust = json!({ "enabled": true, "trustServer": notary.url() });
    cluster.add_policies("away.yaml", &[image_policy("away", trust)]);
    let signed = format!("{PLC}:v1");
    tenant.alice().denied(&["run", "plc", "--image", &signed], &["unavailable: ", DID_NOT_ANSWER, &notary.url()]);
}

/// `manifests/examples/signer-secrets.yaml`, for the namespace that it names.
pub(super) fn signers_from_secrets(cluster: &Cluster) {
    let tenant = cluster.tenant("line-1");
    let run = |image: &str| tenant.alice().run(&["run", "plc", "--image", image, "--dry-run=server"]);
    let key = |name: &str, key: &str| {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "line-1-alice-key", "namespace": "portreeve" },
            "stringData": { "name": name, "publicKey": key },
        });
        cluster.admin().feed(&["apply", "--filename=-"], &secret.to_string()).expect(0);
        cluster.installation.mount(&cluster.control);
    };
    let trust = json!({
        "enabled": true, "trustServer": cluster.plant.notary.url(), "signerSecrets": [{ "name": "alice-key" }],
    });
    cluster.add_policies("line-1.yaml", &[image_policy("line-1", trust)]);
    assert_denied(&run(&format!("{PLC}:v1")), &["alice-key"]);
    key("alice", cluster.plant.alice.public_key());
    wait_patiently("the Secret to count", || run(&format!("{PLC}:v1")).status == Some(0));
    // The right name with another key.
    key("alice", cluster.plant.bob.public_key());
    wait_patiently("the other key to count", || run(&format!("{HMI}:v1")).status == Some(1));
}
