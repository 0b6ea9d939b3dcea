//! Bundles that a registry has put together from real ones: every part is genuine, and they do not belong together.

use portreeve_test_support::cosign::Artifact;
use serde_json::{Value, json};

use super::{BUILD, Plant};
use crate::sigstore::Services;

/// A change of a bundle, with another bundle of the same signer at hand, of another image.
type Forgery = fn(&mut Value, &Value);

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

/// Name, change, and whether cosign itself refuses it. It does not read the proof's own index and root.
const FORGERIES: [(&str, Forgery, bool); 19] = [
    ("other-place", |bundle, _| entry(bundle)["logIndex"] = json!("0"), true),
    ("no-entry", |bundle, _| bundle["verificationMaterial"]["tlogEntries"] = json!([]), true),
    ("no-time", |bundle, _| bundle["verificationMaterial"]["timestampVerificationData"] = json!({}), true),
    ("other-entry", |bundle, other| *entry(bundle) = other["verificationMaterial"]["tlogEntries"][0].clone(), true),
    (
        "other-time",
        |bundle, other| {
            let name = "timestampVerificationData";
            bundle["verificationMaterial"][name] = other["verificationMaterial"][name].clone();
        },
        true,
    ),
    (
        "other-certificate",
        |bundle, other| {
            bundle["verificationMaterial"]["certificate"] = other["verificationMaterial"]["certificate"].clone();
        },
        true,
    ),
    (
        "other-signature",
        |bundle, other| bundle["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"].clone(),
        true,
    ),
    ("other-payload", |bundle, other| bundle["dsseEnvelope"] = other["dsseEnvelope"].clone(), true),
    (
        "other-proof",
        |bundle, other| {
            entry(bundle)["inclusionProof"] = other["verificationMaterial"]["tlogEntries"][0]["inclusionProof"].clone();
        },
        true,
    ),
    (
        "other-checkpoint",
        |bundle, other| {
            let checkpoint = &other["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"];
            entry(bundle)["inclusionProof"]["checkpoint"] = checkpoint.clone();
        },
        true,
    ),
    (
        "no-checkpoint",
        |bundle, _| drop(entry(bundle)["inclusionProof"].as_object_mut().unwrap().remove("checkpoint")),
        true,
    ),
    ("no-proof", |bundle, _| drop(entry(bundle).as_object_mut().unwrap().remove("inclusionProof")), true),
    ("other-index", |bundle, _| entry(bundle)["inclusionProof"]["logIndex"] = json!("0"), false),
    ("other-root", |bundle, _| entry(bundle)["inclusionProof"]["rootHash"] = json!("A".repeat(43) + "="), false),
    ("no-hashes", |bundle, _| entry(bundle)["inclusionProof"]["hashes"] = json!([]), true),
    ("other-log", |bundle, _| entry(bundle)["logId"]["keyId"] = json!("A".repeat(43) + "="), true),
    (
        "unsigned-time",
        |bundle, _| {
            entry(bundle)["integratedTime"] = json!("1796171474");
            bundle["verificationMaterial"]["timestampVerificationData"] = json!({});
        },
        true,
    ),
    (
        "entry-twice",
        |bundle, _| {
            let entry = entry(bundle).clone();
            bundle["verificationMaterial"]["tlogEntries"] = json!([entry, entry]);
        },
        true,
    ),
    (
        "many-entries",
        |bundle, _| {
            let entry = entry(bundle).clone();
            bundle["verificationMaterial"]["tlogEntries"] = vec![entry; 33].into();
        },
        true,
    ),
];

#[test]
fn parts_of_real_bundles_that_do_not_belong_together_do_not_count() {
    let Some(mut plant) = Plant::new(true, true) else { return };
    let (image, other) = (plant.push("plc"), plant.push("other"));
    // The other one first, so that the proofs of both differ.
    plant.instance.sign_as_build(BUILD, &other.1, Services::All);
    plant.instance.sign_as_build(BUILD, &image.1, Services::All);
    plant.instance.stop();
    plant.require(plant.signers(&[plant.build(BUILD)]));
    let (bundle, other) = (plant.bundle("plc", &image.1), plant.bundle("other", &other.1));
    let (issuer, subject) = (plant.instance.builds.url(), plant.instance.subject_of(BUILD));
    let copy = |name: &str, bundle: &Value| {
        let bundle = bundle.to_string().into_bytes();
        plant.copy_with(&image.1, name, |image| (Artifact::bundle(image, bundle), None))
    };
    let mut problems = Vec::new();
    for (name, forge, is_refused_by_cosign) in FORGERIES {
        let mut forged = bundle.clone();
        forge(&mut forged, &other);
        assert_ne!(forged, bundle, "{name}");
        let copy = copy(name, &forged);
        let (status, answer) = plant.review(&copy.0);
        let is_refused =
            !plant.instance.is_verified_by_cosign(plant.instance.trusted_root(), &issuer, &subject, &copy.1);
        if status != Some(1) || is_refused != is_refused_by_cosign {
            problems
                .push(format!("{name}: {status:?} {}, refused by cosign: {is_refused}", answer["response"]["status"]));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    // Not because of the copy.
    plant.assert_admitted(&copy("whole", &bundle));
}
