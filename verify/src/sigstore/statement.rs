//! in-toto statements, as `cosign sign` puts them into bundles (SCHEMES.md, section 3).
//!
//! Only the predicate type of `cosign sign` is a signature of an image. An attestation, such as an SBOM or a scan report, is
//! signed by the same key and says something else (SCHEMES.md, row 59).

use super::claim::Claim;
use super::{MAX_BUNDLE, read_json};
use crate::image::Sha256;
use crate::json::Value;
use crate::not_counted::NotCounted;
use crate::oci::candidates::COSIGN_PREDICATE;

const TYPES: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];
/// The most images that one statement is about.
const MAX_SUBJECTS: usize = 64;

/// Reads a statement. `any_predicate`: it may be of any type.
pub(super) fn read(bytes: &[u8], any_predicate: bool) -> Result<Claim, NotCounted> {
    let document = read_json(bytes, MAX_BUNDLE, "the statement")?;
    let root = document.root();
    let text = |name: &str| root.get(name).and_then(Value::string);
    let kind = text("_type");
    if !kind.is_some_and(|kind| TYPES.contains(&kind)) {
        return Err(NotCounted::value("the statement's \"_type\"", kind, "https://in-toto.io/Statement/v1"));
    }
    match text("predicateType") {
        Some(COSIGN_PREDICATE) => {}
        Some(_) if any_predicate => {}
        found => return Err(NotCounted::predicate(found)),
    }
    let subjects = root.get("subject").and_then(Value::array);
    let subjects = subjects.ok_or(NotCounted::Shape("the statement has no list \"subject\""))?;
    let mut claim = Claim::default();
    for (index, subject) in subjects.enumerate() {
        if index == MAX_SUBJECTS {
            return Err(NotCounted::Shape("the statement has more than 64 subjects"));
        }
        let digests = subject.get("digest").filter(|digests| digests.object().is_some());
        let digests = digests.ok_or(NotCounted::Shape("a subject of the statement has no \"digest\""))?;
        // A subject with other digests alone is about something else (SCHEMES.md, row 63).
        if let Some(digest) = digests.get("sha256").and_then(Value::string).and_then(Sha256::from_hex) {
            claim.add(digest, subject.get("annotations")).ok_or(NotCounted::ANNOTATIONS)?;
        }
    }
    if claim.subjects.is_empty() {
        return Err(NotCounted::Shape("no subject of the statement has a sha256 digest"));
    }
    Ok(claim)
}
