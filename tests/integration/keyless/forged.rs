//! Bundles that a registry has put together from real ones: every part is genuine, and they do not belong together.

use std::io::Write as _;

use portreeve_test_support::cosign::{Artifact, Image};
use serde_json::{Value, json};

use super::{BUILD, Plant};
use crate::https::{connect_tls, https_with, read_response};
use crate::sigstore::Services;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A change of a bundle, with another bundle of the same signer at hand, of another image.
type Forgery = fn(&mut Value, &Value);

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

/// Name, change, and whether cosign itself refuses it. It does not read the proof's own index and root.
const FORGERIES: [(&str, Forgery, bool); 18] = [
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

impl Plant {
    fn port(&self) -> u16 {
        self.registry.host().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    fn get(&self, path: &str, accept: &str) -> String {
        let response = https_with(&self.producers.pki, self.port(), "GET", path, &[("Accept", accept)], b"");
        assert_eq!(response.status, 200, "{path}: {response:?}");
        response.body
    }

    /// The bundle of an image that was signed once.
    fn bundle(&self, path: &str, pinned: &str) -> Value {
        let digest = pinned.split_once('@').unwrap().1;
        let index = "application/vnd.oci.image.index.v1+json";
        let list: Value =
            serde_json::from_str(&self.get(&format!("/v2/plant/{path}/referrers/{digest}"), index)).unwrap();
        let manifest = list["manifests"][0]["digest"].as_str().unwrap();
        let manifest = self.get(&format!("/v2/plant/{path}/manifests/{manifest}"), MANIFEST);
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        let blob = manifest["layers"][0]["digest"].as_str().unwrap();
        serde_json::from_str(&self.get(&format!("/v2/plant/{path}/blobs/{blob}"), "*/*")).unwrap()
    }

    fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) {
        let mut stream = connect_tls(&self.producers.pki, self.port()).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        stream.flush().unwrap();
        let response = read_response(&mut stream).unwrap();
        assert_eq!(response.status, 201, "{path}: {response:?}");
    }

    /// Copies an image to another repository, with this bundle as its only signature. Returns `<name>:v1`, and `<name>@<digest>`.
    fn copy_with(&self, pinned: &str, path: &str, bundle: &Value) -> (String, String) {
        let name = format!("{}/plant/{path}", self.registry.host());
        let tagged = format!("{name}:v1");
        self.producers.crane(&["copy", pinned, &tagged]);
        let digest = pinned.split_once('@').unwrap().1;
        let manifest = self.get(&format!("/v2/plant/{path}/manifests/{digest}"), MANIFEST);
        let artifact = Artifact::bundle(&Image::new(manifest.as_bytes()), bundle.to_string().into_bytes());
        for blob in &artifact.blobs {
            let target =
                format!("/v2/plant/{path}/blobs/uploads/?digest={}", portreeve_test_support::cosign::digest(blob));
            self.send("POST", &target, "application/octet-stream", blob);
        }
        self.send("PUT", &format!("/v2/plant/{path}/manifests/{}", artifact.digest()), MANIFEST, &artifact.manifest);
        (tagged, format!("{name}@{digest}"))
    }
}

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
    let mut problems = Vec::new();
    for (name, forge, is_refused_by_cosign) in FORGERIES {
        let mut forged = bundle.clone();
        forge(&mut forged, &other);
        assert_ne!(forged, bundle, "{name}");
        let copy = plant.copy_with(&image.1, name, &forged);
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
    plant.assert_admitted(&plant.copy_with(&image.1, "whole", &bundle));
}
