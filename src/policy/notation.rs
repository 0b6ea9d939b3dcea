//! `policy.notation`: the fields of Notation's signatures.
//!
//! A rule without a trust store or without an identity is an error: it is never a rule that any signature meets. The stores are
//! the site's, also for a policy of a namespace: their names are checked here, and whether they are there when an image is
//! judged, because they are mounted and may change.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::fields::Problems;
use super::unavailable;
use crate::schemes::notation::{Rule, StoreKind, StoreName};
use crate::yaml::tree::{Node, Value};
use portreeve_verify::notation::Identity;

const INSIDE: &str = "policy.notation";
const NOTATION: &[&str] =
    &["trustStores", "trustedIdentities", "verifyTimestamp", "revocation", "metadata", "whenUnavailable", "maxStale"];

/// The most entries of each list. Each identity is compared with each signature.
const MAX_ENTRIES: usize = 100;

/// Reads `notation`. `None` if it cannot be used; the reason is in `problems`.
pub(super) fn read(notation: &Node, problems: &mut Problems) -> Option<Rule> {
    problems.mapping(notation, INSIDE, NOTATION)?;
    problems.refuse_empty(notation, &["trustStores", "trustedIdentities", "metadata"]);
    for field in ["trustStores", "trustedIdentities"] {
        if notation.entry(field).is_none() {
            problems.report(notation.at, Fault::Missing { field, inside: INSIDE });
        }
    }
    let stores = read_stores(notation, problems);
    let (identities, identity_texts) = read_identities(notation, problems);
    let after_cert_expiry_only = problems.choice(
        notation,
        "verifyTimestamp",
        &[("always", false), ("afterCertExpiry", true)],
        "\"always\" or \"afterCertExpiry\"",
    );
    if let Some(node) = notation.get("verifyTimestamp")
        && stores.iter().all(|store| store.kind != StoreKind::Tsa)
    {
        let (field, inside) = ("a trust store of the type tsa", "policy.notation.trustStores");
        problems.report(node.at, Fault::Missing { field, inside });
    }
    let revocation =
        problems.choice(notation, "revocation", &[("strict", false), ("skip", true)], "\"strict\" or \"skip\"");
    Some(Rule {
        stores,
        identities,
        identity_texts,
        after_cert_expiry_only: after_cert_expiry_only.unwrap_or(false),
        skips_revocation: revocation.unwrap_or(false),
        metadata: read_metadata(notation, problems),
        when_unavailable: unavailable::read_rule(notation, problems),
        max_stale: unavailable::read_max_stale(notation, problems),
    })
}

/// The entries of a list of texts, each once.
fn texts<'n>(notation: &'n Node, field: &'static str, problems: &mut Problems) -> Vec<&'n Node> {
    let mut found: Vec<&Node> = Vec::new();
    for node in problems.list_within(notation, field, MAX_ENTRIES) {
        match node.text() {
            None => problems.wrong_type(field, "a string", node),
            text if found.iter().any(|known| known.text() == text) => {}
            Some(_) => found.push(node),
        }
    }
    found
}

/// Reads `trustStores`. With time stamps' stores alone no signature could count.
fn read_stores(notation: &Node, problems: &mut Problems) -> Vec<StoreName> {
    const FIELD: &str = "trustStores";
    let mut stores = Vec::new();
    let written = texts(notation, FIELD, problems);
    for node in &written {
        let text = node.text().unwrap_or_default();
        match StoreName::parse(text) {
            Some(store) => stores.push(store),
            None => {
                let expected = "a type (ca, signingAuthority or tsa) and the name of a store, such as \"ca:plant\"";
                problems.report(node.at, Fault::Value { field: FIELD, found: text.to_owned(), expected });
            }
        }
    }
    if !stores.is_empty()
        && stores.len() == written.len()
        && stores.iter().all(|store| store.kind == StoreKind::Tsa)
        && let Some(node) = written.first()
    {
        let (field, inside) = ("a trust store of the type ca or signingAuthority", "policy.notation.trustStores");
        problems.report(node.at, Fault::Missing { field, inside });
    }
    stores
}

/// Reads `trustedIdentities` (SCHEMES.md, row 112). Beside `*`, no other entry would have an effect.
fn read_identities(notation: &Node, problems: &mut Problems) -> (Vec<Identity>, Vec<String>) {
    const FIELD: &str = "trustedIdentities";
    let (mut identities, mut read) = (Vec::new(), Vec::new());
    let written = texts(notation, FIELD, problems);
    // Without quotes, `x509.subject: C=US, ST=WA` is a mapping and the rest of a subject.
    let list = notation.get(FIELD).map(|list| &list.value);
    let is_unquoted =
        matches!(list, Some(Value::List(list)) if list.iter().any(|node| matches!(node.value, Value::Map(_))));
    for node in &written {
        let text = node.text().unwrap_or_default();
        if text == "*" && written.len() > 1 {
            let expected = "\"*\" alone, or a list of subjects";
            problems.report(node.at, Fault::Value { field: FIELD, found: text.to_owned(), expected });
        }
        match Identity::parse(text) {
            Ok(identity) => {
                identities.push(identity);
                read.push(text.to_owned());
            }
            Err(_) if is_unquoted => {}
            Err(error) => problems.report(node.at, Fault::Identity(error)),
        }
    }
    (identities, read)
}

/// Reads `metadata`. Only strings are signed.
fn read_metadata(notation: &Node, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::new();
    let Some(node) = notation.get("metadata") else { return metadata };
    let Value::Map(entries) = &node.value else {
        problems.wrong_type("metadata", "a mapping", node);
        return metadata;
    };
    if entries.len() > MAX_ENTRIES {
        problems.report(node.at, Fault::TooManyEntries { field: "metadata", limit: MAX_ENTRIES });
        return metadata;
    }
    for (key, value) in entries {
        let name = key.text.clone();
        match value.text() {
            // A field of `notation` that is indented too far.
            _ if NOTATION.contains(&name.as_str()) => {
                let (inside, belongs) = ("policy.notation.metadata", INSIDE);
                problems.report(key.at, Fault::Misplaced { field: name, inside, belongs });
            }
            Some(text) => drop(metadata.insert(name, text.to_owned())),
            None => problems.wrong_type(&name, "a string", value),
        }
    }
    metadata
}

#[cfg(test)]
mod tests;
