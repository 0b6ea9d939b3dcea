use super::*;
use crate::oci::candidates::{COSIGN_PREDICATE, bundle_candidates};

const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";

/// An entry of a list.
fn entry(number: usize, kind: Option<&str>, annotations: &[(&str, &str)]) -> Descriptor {
    Descriptor {
        media_type: OCI_MANIFEST.to_owned(),
        digest: Sha256::of(&number.to_le_bytes()),
        size: 878,
        artifact_type: kind.map(str::to_owned),
        annotations: annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

fn signature(number: usize) -> Descriptor {
    entry(number, Some(SIGSTORE_BUNDLE), &[(PREDICATE_TYPE, COSIGN_PREDICATE)])
}

/// The places of the candidates in the list.
fn places(list: &[Descriptor]) -> Vec<usize> {
    let candidates = bundle_candidates(list).unwrap();
    let place = |candidate: &Descriptor| list.iter().position(|entry| entry == candidate).unwrap();
    candidates.into_iter().map(place).collect()
}

#[test]
fn scheme_row_018_the_configs_type_in_the_list_says_nothing() {
    for kind in [Some(OCI_EMPTY), None] {
        for annotations in [&[(PREDICATE_TYPE, COSIGN_PREDICATE)][..], &[("a", "b")], &[]] {
            assert_eq!(places(&[entry(0, kind, annotations)]), [0], "{kind:?} {annotations:?}");
        }
    }
}

#[test]
fn what_is_certainly_of_another_kind_is_left_out() {
    let large = Descriptor { size: (256 << 10) + 1, ..signature(1) };
    let index = Descriptor { media_type: OCI_INDEX.to_owned(), ..signature(2) };
    let list = [
        large,
        index,
        entry(3, Some("application/vnd.cncf.notary.signature"), &[]),
        entry(4, Some("application/spdx+json"), &[(PREDICATE_TYPE, COSIGN_PREDICATE)]),
        entry(5, Some(SIGSTORE_BUNDLE), &[(PREDICATE_TYPE, "https://spdx.dev/Document")]),
        entry(6, Some(OCI_EMPTY), &[(PREDICATE_TYPE, "https://slsa.dev/provenance/v1")]),
        entry(7, None, &[(PREDICATE_TYPE, "")]),
        signature(8),
        Descriptor { size: 256 << 10, ..signature(9) },
        entry(10, Some("application/vnd.dev.sigstore.bundle+json;version=0.2"), &[]),
        entry(11, Some(SIGSTORE_BUNDLE), &[("dev.sigstore.bundle.content", "message-signature")]),
    ];
    assert_eq!(places(&list), [7, 8, 9, 10]);
    assert!(places(&[]).is_empty());
}

#[test]
fn scheme_row_020_three_hundred_foreign_referrers_and_one_signature() {
    let kinds: [fn(usize) -> Descriptor; 4] = [
        // As registries list what oras attaches, what cosign attests, and both with the config's type.
        |n| entry(n, Some("application/spdx+json"), &[("org.opencontainers.image.created", "2026-11-30T16:52:15Z")]),
        |n| entry(n, Some(SIGSTORE_BUNDLE), &[(PREDICATE_TYPE, "https://spdx.dev/Document")]),
        |n| entry(n, Some(OCI_EMPTY), &[("org.opencontainers.image.created", "2026-11-30T16:52:15Z")]),
        |n| entry(n, Some(OCI_EMPTY), &[(PREDICATE_TYPE, "https://spdx.dev/Document")]),
    ];
    for foreign in kinds {
        for kind in [SIGSTORE_BUNDLE, OCI_EMPTY] {
            for at in [0, 150, 300] {
                let mut list: Vec<_> = (0..300).map(foreign).collect();
                list.insert(at, entry(1000, Some(kind), &[(PREDICATE_TYPE, COSIGN_PREDICATE)]));
                assert_eq!(places(&list), [at]);
            }
        }
    }
}

#[test]
fn scheme_row_021_more_candidates_than_are_looked_at_are_refused() {
    let list: Vec<_> = (0..33).map(signature).collect();
    assert_eq!(bundle_candidates(&list[..32]).unwrap().len(), 32);
    let error = bundle_candidates(&list).unwrap_err();
    assert_eq!((error.code(), &error), ("too-many-signatures", &OciError::TooMany { limit: MAX_CANDIDATES }));
    assert!(error.to_string().contains("more than 32 signatures"));
    let unmarked: Vec<_> = (0..33).map(|number| entry(number, Some(OCI_EMPTY), &[])).collect();
    assert_eq!(bundle_candidates(&unmarked[..32]).unwrap().len(), 32);
    assert_eq!(bundle_candidates(&unmarked), Err(OciError::TooMany { limit: MAX_CANDIDATES }));
    // Those of no kind count as long as there is room for them.
    let mixed = [&unmarked[..20], &list[20..32]].concat();
    assert_eq!(places(&mixed), (0..32).collect::<Vec<_>>());
    let mixed = [&unmarked[..21], &list[21..33]].concat();
    assert_eq!(places(&mixed), (21..33).collect::<Vec<_>>());
}

#[test]
fn a_repeated_entry_is_one_candidate() {
    let list = vec![signature(1); 1000];
    assert_eq!(places(&list), [0]);
    assert_eq!(places(&[vec![signature(1); 100], vec![signature(2); 100]].concat()), [0, 100]);
}
