//! Payloads of cosign's old format, compared with a slow reading of the same tree. The input is a payload. It is signed, so that
//! what it says counts if it is read at all.

use portreeve_test_support::cosign::{Artifact, Layer};
use portreeve_verify::sigstore::Signature;

use crate::claim::{Claim, compare, is_hex, is_limit, key, manifest};
use crate::strict_json::{self, Json};

pub fn check(data: &[u8]) {
    let artifact = Artifact::layers(&[Layer::new(data.to_vec(), key())]);
    let manifest = manifest(&artifact.manifest);
    let found = Signature::from_layer(&manifest, &manifest.layers[0], data.into());
    if found.as_ref().is_err_and(is_limit) {
        return;
    }
    let expected = strict_json::read(data).and_then(|json| read(&json));
    match (&found, &expected) {
        (Ok(signature), Some(claim)) => compare(signature, claim, true),
        (Err(_), None) => {}
        _ => panic!("{found:?}\n{expected:?}"),
    }
    // The same payload under a signature over something else.
    if found.is_ok() {
        let foreign = Artifact::layers(&[Layer::with_signature(data.to_vec(), &key().sign(b"something else"))]);
        let manifest = self::manifest(&foreign.manifest);
        let foreign = Signature::from_layer(&manifest, &manifest.layers[0], data.into()).expect("the same payload");
        compare(&foreign, &expected.expect("a claim"), false);
    }
}

/// `None` if it must be refused.
fn read(payload: &Json) -> Option<Claim> {
    let critical = exactly(payload, &["critical"], &["optional"])?.get("critical")?;
    exactly(critical, &["identity", "image", "type"], &[])?;
    (critical.get("type")?.text()? == "cosign container image signature").then_some(())?;
    let digest = exactly(critical.get("image")?, &["docker-manifest-digest"], &[])?.get("docker-manifest-digest")?;
    let hex = digest.text()?.strip_prefix("sha256:").filter(|hex| is_hex(hex))?;
    let identity = exactly(critical.get("identity")?, &["docker-reference"], &[])?;
    let reference = identity.get("docker-reference")?.text()?;
    let mut claim = Claim { images: Vec::new(), reference: Some(reference.to_owned()) };
    claim.add(hex, payload.get("optional"))?;
    Some(claim)
}

/// The object, if it has all of these members and no others than those that it may have.
fn exactly<'j>(json: &'j Json, must: &[&str], may: &[&str]) -> Option<&'j Json> {
    let Json::Object(members) = json else { return None };
    let has_all = must.iter().all(|name| json.get(name).is_some());
    let is_known = |name: &str| must.contains(&name) || may.contains(&name);
    (has_all && members.iter().all(|(name, _)| is_known(name))).then_some(json)
}
