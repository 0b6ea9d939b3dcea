//! Lists of referrers, compared with a slow reading of the same tree, and what is chosen of them.

use portreeve_verify::oci::candidates::{COSIGN_PREDICATE, bundle_candidates};
use portreeve_verify::oci::{Descriptor, MAX_CANDIDATES, MAX_SIGNATURE_MANIFEST, read_referrers};

use crate::oci::{OCI_INDEX, OCI_MANIFEST, descriptor, is_limit, media_type, parts};
use crate::strict_json;

pub fn check(data: &[u8]) {
    let list = strict_json::read(data).filter(|list| media_type(list, Some(OCI_INDEX)) == Some(OCI_INDEX));
    let expected = list.map(|list| {
        let entries = list.get("manifests").and_then(|entries| entries.list()).unwrap_or_default();
        entries.iter().filter_map(descriptor).collect::<Vec<_>>()
    });
    match read_referrers(data) {
        Err(error) if is_limit(&error) => {}
        found => {
            assert_eq!(found.as_ref().ok().map(|list| list.iter().map(parts).collect::<Vec<_>>()), expected);
            found.iter().for_each(|list| choose(list));
        }
    }
}

/// What the choice promises, whatever the list.
fn choose(list: &[Descriptor]) {
    let possible: Vec<&Descriptor> = list.iter().filter(|entry| is_possible(entry)).collect();
    let mut digests: Vec<String> = possible.iter().map(|entry| entry.digest.to_string()).collect();
    digests.sort();
    digests.dedup();
    let marked = possible.iter().any(|entry| is_marked(entry));
    match bundle_candidates(list) {
        Ok(chosen) => {
            let mut places = chosen.iter().map(|entry| list.iter().position(|other| std::ptr::eq(other, *entry)));
            assert!(
                places.clone().is_sorted() && places.all(|place| place.is_some()),
                "the list's own entries, in order"
            );
            assert!(chosen.len() <= MAX_CANDIDATES && chosen.iter().all(|entry| is_possible(entry)));
            let mut found: Vec<String> = chosen.iter().map(|entry| entry.digest.to_string()).collect();
            found.sort();
            assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "each once");
            if digests.len() <= MAX_CANDIDATES {
                assert_eq!(found, digests, "nothing is left out where there is room");
            } else {
                assert!(marked && chosen.iter().all(|entry| is_marked(entry)));
                let all = possible.iter().filter(|entry| is_marked(entry));
                assert!(
                    all.clone().all(|entry| found.contains(&entry.digest.to_string())),
                    "no marked one is left out"
                );
            }
        }
        Err(_) => assert!(digests.len() > MAX_CANDIDATES),
    }
}

/// Is it perhaps a bundle with a signature?
fn is_possible(entry: &Descriptor) -> bool {
    let predicate = entry.annotations.get("dev.sigstore.bundle.predicateType");
    let kind = entry.artifact_type.as_deref().unwrap_or("application/vnd.oci.empty.v1+json");
    let is_kind =
        kind == "application/vnd.oci.empty.v1+json" || kind.starts_with("application/vnd.dev.sigstore.bundle");
    is_kind
        && entry.media_type == OCI_MANIFEST
        && entry.size <= MAX_SIGNATURE_MANIFEST as u64
        && predicate.is_none_or(|predicate| predicate == COSIGN_PREDICATE)
}

/// Is it called a bundle?
fn is_marked(entry: &Descriptor) -> bool {
    let kind = entry.artifact_type.as_deref().unwrap_or_default();
    kind.starts_with("application/vnd.dev.sigstore.bundle")
        || entry.annotations.keys().any(|name| name.starts_with("dev.sigstore.bundle."))
}
