//! A running webhook whose trusted roots are replaced, and evidence of images that identities have signed.

use serde_json::json;

use super::{BUILD, Plant};
use crate::process::wait_until;
use crate::review::{assert_allowed, assert_denied, patch, pod_review};
use crate::sigstore::{Instance, Services};

const FAILING: &str = "portreeve_reload_failing{what=\"trusted_roots\"}";

/// A plant whose build has signed one image, which the policy requires. The instance has ended.
fn signed_plant() -> Option<(Plant, (String, String))> {
    let mut plant = Plant::new(true, true)?;
    let image = plant.push("plc");
    plant.instance.sign_as_build(BUILD, &image.1, Services::All);
    plant.instance.stop();
    plant.require(plant.signers(&[plant.build(BUILD)]));
    Some((plant, image))
}

#[test]
fn a_trusted_root_that_is_replaced_counts_at_once_and_a_broken_one_never() {
    let Some((plant, (tagged, pinned))) = signed_plant() else { return };
    let serving = plant.site.serve();
    let admit = || serving.admit("/admit?timeout=10s", &pod_review(&tagged));
    let is_allowed = || admit()["response"]["allowed"] == true;
    assert_eq!(patch(&admit())[0]["value"], pinned.replacen('@', ":v1@", 1));

    // What cannot be read leaves the last good one in force, and is told of.
    plant.mount(&[("plant.json", "{ \"mediaType\": \"application/vnd.dev.sigstore.trustedroot+json;version=0.1\", ")]);
    wait_until("the broken file to be seen", || is_allowed() && serving.metric(FAILING) == Some(1));
    assert!(serving.log().contains("plant.json"), "{}", serving.log());
    assert_allowed(&admit());

    // Another root takes effect, for what was verified before as well.
    plant.trust(&plant.root(|root| root["tlogs"] = json!([])));
    wait_until("the root without the log to be read", || !is_allowed());
    assert_denied(&admit(), &["the trusted root of ", "knows no log "]);
    assert_denied(&serving.admit("/admit?timeout=10s", &pod_review(&pinned)), &["knows no log "]);
    assert_eq!(serving.metric(FAILING), Some(0));

    plant.trust(plant.instance.trusted_root());
    wait_until("the first root to be read again", is_allowed);
    // Under another name it is not what the policy names.
    plant.mount(&[("other.json", &plant.instance.trusted_root().to_string())]);
    wait_until("the root to be gone", || !is_allowed());
    assert_denied(&admit(), &["the trusted root \"plant\"", "is not there"]);
}

#[test]
fn a_digest_that_an_identity_has_signed_needs_no_registry_once_it_was_verified() {
    let Some((mut plant, (tagged, pinned))) = signed_plant() else { return };
    let mut serving = plant.site.serve();
    assert_allowed(&serving.admit("/admit?timeout=10s", &pod_review(&tagged)));
    plant.registry.go_away();
    assert_allowed(&serving.admit("/admit?timeout=5s", &pod_review(&pinned)));
    assert_eq!(serving.terminate(), Some(0));

    let serving = plant.site.serve_again(&serving);
    let is_allowed = || serving.admit("/admit?timeout=5s", &pod_review(&pinned))["response"]["allowed"] == true;
    assert!(is_allowed(), "{}", serving.log());
    // It is verified again at every use, under the identities and the root of the moment.
    plant.require(plant.signers(&[plant.build("release.yml")]));
    wait_until("the other identity to be required", || !is_allowed());
    plant.require(plant.signers(&[plant.build(BUILD)]));
    wait_until("the identity to be required again", is_allowed);
    plant.trust(&plant.root(|root| root["timestampAuthorities"] = json!([])));
    wait_until("the root without the authority to be read", || !is_allowed());
    plant.trust(plant.instance.trusted_root());
    wait_until("the first root to be read again", is_allowed);
}

/// The services of a plant begin anew, with new keys. Images of both times run under a root that has both.
#[test]
fn a_root_that_grew_has_images_of_both_times() {
    let Some((mut plant, before)) = signed_plant() else { return };
    let Some(next) = Instance::start(&plant.producers, true) else { return };
    let past = std::mem::replace(&mut plant.instance, next);
    let after = plant.push("after");
    plant.instance.sign_as_build(BUILD, &after.1, Services::All);
    plant.instance.stop();
    // Another issuer as well: each instance has its own.
    let mut builds = plant.signers(&[plant.build(BUILD)]);
    builds["signers"][0]["issuer"] = json!("https://localhost:*");
    plant.require(builds);
    let serving = plant.site.serve();
    let admit = |image: &(String, String)| serving.admit("/admit?timeout=10s", &pod_review(&image.0));
    assert_allowed(&admit(&before));
    assert_denied(&admit(&after), &["the trusted root of ", "knows no log "]);
    plant.trust(plant.instance.trusted_root());
    wait_until("the new root to be read", || admit(&after)["response"]["allowed"] == true);
    assert_denied(&admit(&before), &["knows no log "]);
    // Both, as cosign writes them when it is told of both.
    let both = plant.root(|root| {
        for list in ["tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"] {
            let old = past.trusted_root()[list].as_array().unwrap().clone();
            root[list].as_array_mut().unwrap().extend(old);
        }
    });
    plant.trust(&both);
    wait_until("the root with both to be read", || admit(&before)["response"]["allowed"] == true);
    assert_allowed(&admit(&after));
}
