//! The table of tags: by name, by digest, and from files that are canonical or not.

use serde_json::{Value, json};

use super::*;
use crate::ordered::{Map, Set};
use crate::tuf::repository::Delegation;
use crate::tuf::targets::Tags;

/// Digests whose leading bits are all kinds of the same.
fn digest_of(number: u32) -> [u8; 32] {
    match number % 4 {
        0 => *Sha256::of(&number.to_be_bytes()).as_bytes(),
        1 => [7; 32],
        2 => {
            let mut digest = [7; 32];
            digest[4..8].copy_from_slice(&(u32::MAX - number).to_be_bytes());
            digest
        }
        _ => {
            let mut digest = [0; 32];
            digest[31] = u8::try_from(number % 256).unwrap();
            digest
        }
    }
}

fn releases(repository: &Repository) -> &Tags {
    match repository.delegations().get(&RoleName::releases()) {
        Some(Delegation::Verified(role)) => role.tags(),
        other => panic!("{other:?}"),
    }
}

/// A repository with so many tags, and what it must say.
fn with_tags(count: u32) -> (Signer, Map<String, Sha256>) {
    let mut expected = Map::from([("v1".to_owned(), Sha256::new(DIGEST))]);
    let mut signer = plant();
    for number in 0..count {
        let (tag, digest) = (format!("v{}", number.reverse_bits()), digest_of(number));
        signer = signer.release(&tag, digest, 5, &[]);
        expected.insert(tag, Sha256::new(digest));
    }
    (signer, expected)
}

fn assert_has(tags: &Tags, expected: &Map<String, Sha256>) {
    for (tag, digest) in expected {
        assert_eq!(tags.get(tag), Some(Some(*digest)), "{tag}");
    }
    assert_eq!((tags.get("v"), tags.get("w")), (None, None));
    let digests: Set<Sha256> = expected.values().copied().collect();
    for digest in &digests {
        let found: Vec<_> = tags.with_digest(*digest).collect();
        let wanted: Vec<_> =
            expected.iter().filter(|(_, known)| *known == digest).map(|(tag, _)| tag.as_str()).collect();
        assert_eq!(found, wanted, "{digest}");
    }
    for absent in [[0xff; 32], [7; 32].map(|byte: u8| byte + 1)] {
        assert_eq!(tags.with_digest(Sha256::new(absent)).count(), 0);
    }
}

#[test]
fn tags_are_found_by_name_and_by_digest_in_files_of_any_form() {
    for count in [0, 1, 2, 3, 65, 700] {
        let (signer, expected) = with_tags(count);
        let files = [
            signer.clone(),
            // Not canonical: the whole file is read before its targets are.
            signer.clone().edit_bytes("targets/releases", |bytes| {
                let envelope: Value = serde_json::from_slice(&bytes).unwrap();
                serde_json::to_vec_pretty(&envelope).unwrap()
            }),
            // Not canonical from somewhere in the middle.
            signer.edit_bytes("targets/releases", |bytes| {
                String::from_utf8(bytes).unwrap().replacen(r#""v1":"#, r#""\u00761":"#, 1).into_bytes()
            }),
        ];
        for repo in files.map(Signer::publish) {
            assert_has(releases(&open(&repo).unwrap()), &expected);
        }
    }
}

#[test]
fn a_fault_in_a_target_has_one_message_in_files_of_any_form() {
    let faults: [fn(&mut Value); 6] = [
        |target| *target = json!([]),
        |target| target["length"] = json!(-1),
        |target| target["hashes"] = json!(null),
        |target| target["hashes"]["sha256"] = json!("AA\n=="),
        |target| target["hashes"]["sha256"] = json!("AAAA"),
        |target| target["hashes"]["sha512"] = json!(7),
    ];
    for fault in faults {
        let signer = plant().release("v2", OTHER, 5, &[]).edit("targets/releases", move |signed| {
            fault(&mut signed["targets"]["v2"]);
        });
        let spaced = signer.clone().edit_bytes("targets/releases", |bytes| [b" ", bytes.as_slice(), b"\n"].concat());
        let pretty = signer.clone().edit_bytes("targets/releases", |bytes| {
            let envelope: Value = serde_json::from_slice(&bytes).unwrap();
            serde_json::to_vec_pretty(&envelope).unwrap()
        });
        let messages = [signer, spaced, pretty].map(|signer| {
            let found = open(&signer.publish()).and_then(|held| Ok(held.find_target(tag("v1"), &[], now())?));
            let Err(RefreshError::Rejected(rejection)) = found else { panic!("{fault:?}") };
            assert_eq!(rejection.code(), "structure", "{rejection}");
            rejection.to_string()
        });
        assert!(messages.iter().all(|message| *message == messages[0]), "{messages:?}");
    }
}
