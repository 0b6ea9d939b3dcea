//! The payload of the old format (SCHEMES.md, section 2): simple signing with cosign's type.
//!
//! It has exactly the members that cosign writes. A reader that passed over others, or over a second spelling of a name, could be
//! told another digest than the next reader.

use super::claim::Claim;
use super::{MAX_PAYLOAD, read_json};
use crate::image::{Digest, Reference};
use crate::json::Value;
use crate::not_counted::NotCounted;

/// `critical.type`. Payloads of other types are other statements, such as those of simple signing with OpenPGP.
const TYPE: &str = "cosign container image signature";

/// Reads a payload.
pub(super) fn read(bytes: &[u8]) -> Result<Claim, NotCounted> {
    let document = read_json(bytes, MAX_PAYLOAD, "the payload")?;
    let root = document.root();
    only(root, &["critical", "optional"])?;
    let critical = root.get("critical").ok_or(NotCounted::Shape("the payload has no \"critical\""))?;
    only(critical, &["identity", "image", "type"])?;
    let text = |value: Option<Value<'_>>| value.and_then(Value::string).map(str::to_owned);
    match text(critical.get("type")) {
        Some(found) if found == TYPE => {}
        found => return Err(NotCounted::value("the payload's \"critical.type\"", found.as_deref(), TYPE)),
    }
    let image = critical.get("image").ok_or(NotCounted::Shape("the payload has no \"critical.image\""))?;
    only(image, &["docker-manifest-digest"])?;
    let digest = image.get("docker-manifest-digest").and_then(Value::string).map(Digest::parse);
    let Some(Ok(Digest::Sha256(digest))) = digest else {
        return Err(NotCounted::Shape("the payload's \"docker-manifest-digest\" is no sha256 digest in lower case"));
    };
    let identity = critical.get("identity").ok_or(NotCounted::Shape("the payload has no \"critical.identity\""))?;
    only(identity, &["docker-reference"])?;
    let reference = identity.get("docker-reference").and_then(Value::string);
    let reference = reference.ok_or(NotCounted::Shape("the payload has no \"docker-reference\""))?;
    // Its tag and digest mean nothing: cosign writes whatever the signer typed. Only the repository is compared.
    let repository = Reference::parse(reference).ok().map(|reference| reference.repository().to_owned());
    let mut claim = Claim { subjects: Vec::new(), repository };
    claim.add(digest, root.get("optional")).ok_or(NotCounted::ANNOTATIONS)?;
    Ok(claim)
}

/// Is this an object without other members than these?
fn only(value: Value<'_>, names: &[&str]) -> Result<(), NotCounted> {
    let mut members =
        value.object().ok_or(NotCounted::Shape("the payload has something else where an object belongs"))?;
    match members.find(|(name, _)| !names.contains(name)) {
        None => Ok(()),
        Some((name, _)) => Err(NotCounted::unknown_member(name)),
    }
}
