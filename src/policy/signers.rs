//! `signers` and `signerSecrets`, which every scheme with keys has. Each scheme reads the keys itself.

use super::fault::Fault;
use super::fields::Problems;
use crate::kube::object_name::is_dns_subdomain;
use crate::yaml::tree::{At, Node};

/// The most entries of each of the two lists. Each signer is compared with all others, and each of them must have signed.
pub(super) const MAX_SIGNERS: usize = 100;

/// An entry of `signers`. A part is `None` if it cannot be used; the reason is in the problems.
pub(super) struct Entry<'n> {
    pub(super) at: At,
    /// The fields, also those that the caller knows and this module does not.
    pub(super) node: &'n Node,
    pub(super) name: Option<(At, &'n str)>,
    pub(super) key: Option<(At, &'n str)>,
}

/// The entries of `signers`, with what they say. Every entry must have a `name`, and a `publicKey` unless it has another of the
/// `known` fields instead.
pub(super) fn entries<'n>(
    check: &'n Node,
    inside: &'static str,
    known: &[&'static str],
    problems: &mut Problems,
) -> Vec<Entry<'n>> {
    let mut entries = Vec::new();
    let list = problems.list_within(check, "signers", MAX_SIGNERS);
    if problems.has_too_many_keys(list.len(), check.at) {
        return entries;
    }
    for node in list {
        let readable = problems.mapping(node, inside, known).is_some();
        let is_other =
            || known.iter().any(|&field| field != "name" && field != "publicKey" && node.entry(field).is_some());
        let name = readable.then(|| problems.required(node, "name", inside)).flatten();
        let key = (readable && !is_other()).then(|| problems.required(node, "publicKey", inside)).flatten();
        entries.push(Entry { at: node.at, node, name, key });
    }
    entries
}

/// The names of `signerSecrets`, each once.
pub(super) fn read_secrets(check: &Node, inside: &'static str, problems: &mut Problems) -> Vec<String> {
    let mut secrets: Vec<String> = Vec::new();
    for entry in problems.list_within(check, "signerSecrets", MAX_SIGNERS) {
        if problems.mapping(entry, inside, &["name"]).is_none() {
            continue;
        }
        let Some((at, name)) = problems.required(entry, "name", inside) else { continue };
        // The name becomes part of a path below the mounted secrets.
        if !is_dns_subdomain(name) {
            problems.report(at, Fault::Name { field: "name", found: name.to_owned() });
        } else if !secrets.iter().any(|known| known == name) {
            secrets.push(name.to_owned());
        }
    }
    secrets
}
