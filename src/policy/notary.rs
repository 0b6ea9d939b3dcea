//! `policy.trust`: the fields of Notary v1.
//!
//! A field that asks for a check is refused while trust is off (PORTIERIS.md, fault 21). A pin or a signer that cannot be
//! read is an error. It is never ignored.

use super::fault::Fault;
use super::fields::Problems;
use super::{signers, unavailable};
use crate::http::url::PlainHttp;
use crate::schemes::notary::trust_server::TrustServer;
use crate::schemes::notary::{Remap, Rule};
use crate::yaml::tree::Node;
use portreeve_verify::image::{MAX_NAME, check_path, normal_host, one_spelling};
use portreeve_verify::tuf::{KeyId, RequiredSigner, RoleName, RootPin, SignerKey};

const TRUST: &[&str] =
    &["enabled", "trustServer", "signers", "signerSecrets", "roots", "remap", "whenUnavailable", "maxStale"];
/// The fields of [`TRUST`] that ask for a check. They are refused if no check is made.
const DEMANDS: [&str; 3] = ["signers", "signerSecrets", "roots"];

/// Reads `trust`. `None` if it cannot be used; the reason is in `problems`. `Some(None)` if trust is off.
pub(super) fn read(trust: &Node, problems: &mut Problems) -> Option<Option<Rule>> {
    if trust.is_null() {
        problems.report(trust.at, Fault::NoSwitch); // the body is missing or misplaced
        return None;
    }
    // Without a signer any signature is enough, and without a pin the first root is trusted. Portieris allows an empty
    // `signerSecrets`.
    problems.refuse_empty(trust, &["signers", "roots"]);
    problems.mapping(trust, "policy.trust", TRUST)?;
    let enabled = problems.boolean(trust, "enabled");
    let rule = Rule {
        server: read_server(trust, problems),
        signers: read_signers(trust, problems),
        signer_secrets: signers::read_secrets(trust, "an entry of policy.trust.signerSecrets", problems),
        roots: read_roots(trust, problems).into(),
        remap: read_remap(trust, problems),
        when_unavailable: unavailable::read_rule(trust, problems),
        max_stale: unavailable::read_max_stale(trust, problems),
    };
    if enabled == Some(true) {
        return Some(Some(rule));
    }
    refuse_disabled_demands(trust, problems);
    Some(None)
}

/// Refuses fields that ask for a check if trust is off, or `enabled` is missing (PORTIERIS.md, fault 21).
fn refuse_disabled_demands(trust: &Node, problems: &mut Problems) {
    let demands: Vec<_> = DEMANDS.iter().filter_map(|&field| trust.get(field).map(|node| (field, node))).collect();
    for (field, node) in &demands {
        problems.report(node.at, Fault::NotEnabled { field });
    }
    if demands.is_empty() && trust.get("enabled").is_none() {
        problems.report(trust.at, Fault::NoSwitch);
    }
}

fn read_server(trust: &Node, problems: &mut Problems) -> Option<TrustServer> {
    let (at, url) = problems.text(trust, "trustServer")?;
    // For Portieris, an empty URL means that there is none.
    if url.is_empty() {
        return None;
    }
    // What is wrong with a directory would tell the policy's author which directories there are.
    if problems.budget().is_delegated && TrustServer::is_directory_url(url) {
        problems.report(at, Fault::DelegatedDirectory);
        return None;
    }
    TrustServer::parse(url, PlainHttp::Refused).map_err(|error| problems.report(at, Fault::Server(error))).ok()
}

/// Reads `signers`. A signer may be listed twice only with the same key: with Portieris the last key won (PORTIERIS.md,
/// fault 8).
fn read_signers(trust: &Node, problems: &mut Problems) -> Vec<RequiredSigner> {
    let mut known: Vec<(usize, RequiredSigner)> = Vec::new();
    for entry in signers::entries(trust, "an entry of policy.trust.signers", &["name", "publicKey"], problems) {
        let role = entry.name.and_then(|(at, name)| {
            let role = RoleName::of_signer(name);
            if role.is_none() {
                problems.report(at, Fault::SignerName { found: name.to_owned(), rule: RoleName::SIGNER_RULE });
            }
            role
        });
        let key = entry.key.and_then(|(at, pem)| {
            SignerKey::from_pem(pem).map_err(|error| problems.report(at, Fault::SignerKey(error))).ok()
        });
        let (Some(role), Some(key)) = (role, key) else { continue };
        match known.iter().find(|(_, signer)| signer.role == role) {
            None => known.push((entry.at.line, RequiredSigner { role, keys: vec![key] })),
            Some((_, signer)) if signer.keys.contains(&key) => {}
            Some(&(first, _)) => {
                problems.report(entry.at, Fault::SignerTwice { name: role.signer().to_owned(), first });
            }
        }
    }
    known.into_iter().map(|(_, signer)| signer).collect()
}

fn read_roots(trust: &Node, problems: &mut Problems) -> Vec<RootPin> {
    const FIELDS: &[&str] = &["certificate", "keyId", "ca"];
    let mut pins = Vec::new();
    for entry in problems.list(trust, "roots") {
        if problems.mapping(entry, "an entry of policy.trust.roots", FIELDS).is_none() {
            continue;
        }
        let given: Vec<_> = FIELDS.iter().copied().filter(|field| entry.get(field).is_some()).collect();
        let &[field] = given.as_slice() else {
            problems.report(entry.at, Fault::RootKinds { found: given.len() });
            continue;
        };
        let Some((at, text)) = problems.text(entry, field) else { continue };
        let pin = match field {
            "certificate" => RootPin::certificate_from_pem(text).map_err(Fault::Pin),
            "ca" => RootPin::ca_from_pem(text).map_err(Fault::Pin),
            _ => KeyId::from_hex(text).map(RootPin::KeyId).ok_or_else(|| Fault::Value {
                field: "keyId",
                found: text.to_owned(),
                expected: "64 lowercase hexadecimal digits",
            }),
        };
        match pin {
            Ok(pin) if pins.contains(&pin) => {}
            Ok(pin) => pins.push(pin),
            Err(fault) => problems.report(at, fault),
        }
    }
    pins
}

fn read_remap(trust: &Node, problems: &mut Problems) -> Option<Remap> {
    const INSIDE: &str = "policy.trust.remap";
    let remap = problems.mapping(trust.get("remap")?, INSIDE, &["prefix", "signedPrefix"])?;
    let prefix = read_prefix(remap, "prefix", problems);
    let signed_prefix = read_prefix(remap, "signedPrefix", problems);
    Some(Remap { prefix: prefix?, signed_prefix: signed_prefix? })
}

/// Reads a prefix of normalised names. It ends in a slash, so that `reg.io/team` does not match `reg.io/team-evil`.
fn read_prefix(remap: &Node, field: &'static str, problems: &mut Problems) -> Option<String> {
    let (at, text) = problems.required(remap, field, "policy.trust.remap")?;
    let normal = text.strip_suffix('/').and_then(|name| {
        let (host, path) = name.split_once('/').map_or((name, None), |(host, path)| (host, Some(path)));
        let host = normal_host(host).ok()?;
        let host = one_spelling(&host);
        match path {
            None => Some(format!("{host}/")),
            Some(path) => check_path(path).is_ok().then(|| format!("{host}/{path}/")),
        }
    });
    let normal = normal.filter(|prefix| prefix.len() < MAX_NAME);
    if normal.is_none() {
        problems.report(at, Fault::RemapPrefix { field, found: text.to_owned() });
    }
    normal
}

#[cfg(test)]
mod tests;
