//! Versions that a thief has raised, and how their owner recovers (TUF 1.0 §5.3.11): with other keys only, and without a way
//! back for data that the old keys have signed.

use portreeve_test_support::certificates::Leaf;

use super::content::failed_refresh;
use super::*;

const ROLES: [&str; 5] = ["timestamp", "snapshot", "targets", "targets/releases", "targets/alice"];
/// A version that no owner reaches.
const HIGH: u64 = u32::MAX as u64;

/// The result of a refresh after `held`, with alice and her key in this repository as required signer.
fn judged(repo: &Repo, held: &Repository) -> &'static str {
    match again(repo, held) {
        Ok(opened) => opened.find_target(tag("v1"), &[as_alice(repo)], now()).map_or_else(|r| r.code(), |_| "accepted"),
        Err(error) => code::<()>(Err(error)),
    }
}

/// A repository with a role at a version that a thief of its keys has signed, and its verified data.
fn driven_up(role: &str) -> (Repo, Repository) {
    let base = plant().publish();
    let driven = base.update(|s| s.version(role, HIGH));
    let held = again(&driven, &open(&base).unwrap()).unwrap();
    assert_eq!(judged(&driven, &held), "accepted");
    (driven, held)
}

#[test]
fn other_keys_begin_below_what_a_thief_drove_up() {
    for role in ROLES {
        let (driven, held) = driven_up(role);
        assert_eq!(judged(&driven.update(|s| s.version(role, 2)), &held), "rollback", "{role}");
        let recovered = driven.update(|s| s.rotate(role, vec![Key::p256()]).version(role, 2));
        assert_eq!(judged(&recovered, &held), "accepted", "{role}");
        // From there on the versions of the new keys count.
        let held = again(&recovered, &held).unwrap();
        assert_eq!(judged(&recovered.update(|s| s.version(role, 1)), &held), "rollback", "{role}");
        assert_eq!(judged(&recovered.update(|s| s.version(role, 3)), &held), "accepted", "{role}");
        let other = recovered.update(|s| s.expires(role, now() + hours(33)).version(role, 2));
        assert_eq!(judged(&other, &held), "equivocation", "{role}");
        // The thief's files do not become valid again when the versions reach theirs.
        assert_ne!(judged(&driven, &held), "accepted", "{role}");
    }
}

/// A thief of the old keys and of the timestamp's lists the known snapshot again. It is verified again with the role's present
/// keys, although it has not changed. Otherwise its version would bind these keys as well.
#[test]
fn row_069_a_held_snapshot_counts_for_nothing_under_other_keys() {
    let (driven, held) = driven_up("snapshot");
    let recovered = driven.update(|s| s.rotate("snapshot", vec![Key::p256()]).version("snapshot", 2));
    // The root with the other keys is verified, and nothing below it.
    let mut server = Server::of(&recovered);
    server.files.remove(&recovered.file_of("snapshot"));
    let (failure, held) = failed_refresh(&mut server, &held);
    assert_eq!(failure, "missing");

    let timestamp: serde_json::Value = serde_json::from_slice(&driven.bytes("timestamp")).unwrap();
    let listed = timestamp["signed"]["meta"]["snapshot"].clone();
    let relisted = recovered
        .update(|s| s.touch("timestamp").edit("timestamp", move |signed| signed["meta"]["snapshot"] = listed.clone()));
    let mut server = Server::of(&relisted);
    server.files.insert(driven.file_of("snapshot"), driven.bytes("snapshot"));
    let (failure, held) = failed_refresh(&mut server, &held);
    assert_eq!(failure, "signature");
    assert!(server.asked.contains(&driven.file_of("snapshot")), "{:?}", server.asked);

    let next = recovered.update(|s| s.version("timestamp", 9).version("snapshot", 3));
    assert_eq!(judged(&next, &held), "accepted");
}

#[test]
fn as_long_as_one_key_is_shared_the_floor_holds() {
    for role in ROLES {
        let (driven, held) = driven_up(role);
        let (old, new) = (driven.keys(role), Key::p256());
        let both = [old.clone(), vec![new.clone()]].concat();
        let at = |keys: &[Key], threshold: u64| {
            driven.update(|s| s.rotate(role, keys.to_vec()).threshold(role, threshold).version(role, 2))
        };
        assert_eq!(judged(&at(&both, 1), &held), "rollback", "{role}");
        assert_eq!(judged(&at(&both, 2), &held), "rollback", "{role}: whatever the threshold");
        assert_eq!(judged(&at(&old, 1), &held), "rollback", "{role}: a newer root alone changes nothing");
        // The same key in a certificate is the same key.
        let wrapped: Vec<Key> = old.iter().map(|key| key.with_bundle(Leaf::new("alice").self_signed(key))).collect();
        assert_eq!(judged(&at(&wrapped, 1), &held), "rollback", "{role}: a certificate is no other key");
        assert_eq!(judged(&at(&[new], 1), &held), "accepted", "{role}");
    }
}

/// The usual way to change keys: the new key is added, and then the old key is removed.
#[test]
fn a_version_is_not_carried_over_to_a_key_that_was_added_later() {
    for role in ROLES {
        let (driven, held) = driven_up(role);
        let new = Key::p256();
        let both = [driven.keys(role), vec![new.clone()]].concat();
        // The raised version stays. Files that must be signed again continue from there, signed by both keys.
        let added = driven
            .update(|s| s.rotate(role, both).version(role, HIGH + u64::from(matches!(role, "timestamp" | "snapshot"))));
        let held = again(&added, &held).unwrap();
        assert_eq!(judged(&added, &held), "accepted", "{role}");
        assert_eq!(judged(&added.update(|s| s.version(role, 2)), &held), "rollback", "{role}");
        let recovered = added.update(|s| s.rotate(role, vec![new]).version(role, 2));
        assert_eq!(judged(&recovered, &held), "accepted", "{role}");
    }
}

#[test]
fn a_key_that_comes_back_finds_its_floor() {
    for role in ROLES {
        let (driven, held) = driven_up(role);
        let old = driven.keys(role);
        let rotated = driven.update(|s| s.rotate(role, vec![Key::p256()]).version(role, 2));
        let held = again(&rotated, &held).unwrap();
        let back = rotated.update(|s| s.rotate(role, old.clone()).version(role, 3));
        assert_eq!(judged(&back, &held), "rollback", "{role}");
        assert_eq!(judged(&back.update(|s| s.version(role, HIGH + 1)), &held), "accepted", "{role}");
        // Also if one refresh follows both rotations.
        let (driven, held) = driven_up(role);
        let there_and_back = driven.update(|s| s.rotate(role, vec![Key::p256()]));
        let there_and_back = there_and_back.update(|s| s.rotate(role, driven.keys(role)).version(role, 3));
        assert_eq!(judged(&there_and_back, &held), "rollback", "{role}");
    }
}

/// A thief of the keys of `targets`, without alice's, cannot lower alice's minimum version to offer older data of hers.
#[test]
fn a_thief_of_the_parent_does_not_sink_a_delegations_floor() {
    let old = plant().publish();
    let alice_signed = old.bytes("targets/alice");
    let new = old.update(|s| s.release("v1", OTHER, 5, &["alice"]));
    let held = again(&new, &open(&old).unwrap()).unwrap();
    let taken = new.update(|s| s.rotate("targets/alice", vec![Key::p256()]).version("targets/alice", 1));
    let held = again(&taken, &held).unwrap();
    let given_back = taken.update(|s| {
        let s = s.rotate("targets/alice", old.keys("targets/alice"));
        s.edit_bytes("targets/alice", move |_| alice_signed.clone())
    });
    assert_eq!(given_back.file_of("targets/alice"), old.file_of("targets/alice"));
    assert_eq!(judged(&given_back, &held), "rollback");
}

/// All data of the old keys, listed and signed by a thief of all other present keys.
#[test]
fn nothing_that_the_old_keys_signed_comes_back() {
    for role in ROLES {
        let mut history = vec![plant().version(role, 3).publish()];
        for version in [7, HIGH, HIGH - 1, 1, 9] {
            let next = history.last().unwrap().update(|s| s.version(role, version).expires(role, now() + hours(300)));
            history.push(next);
        }
        let held = open(&history[0]).unwrap();
        let rotated = history.last().unwrap().update(|s| s.rotate(role, vec![Key::p256()]).version(role, 2));
        let held = again(&rotated, &held).unwrap();
        for repo in &history {
            let bytes = repo.bytes(role);
            let replayed = rotated.update(|s| s.edit_bytes(role, move |_| bytes.clone()));
            for held in [&held, &open(&rotated).unwrap()] {
                assert_eq!(judged(&replayed, held), "signature", "{role}");
            }
            // With all other files of that time as well.
            assert_ne!(judged(repo, &held), "accepted", "{role}");
        }
    }
}

#[test]
fn a_root_that_was_seen_in_a_refresh_that_failed_counts_for_the_floor() {
    for role in ROLES {
        let (driven, held) = driven_up(role);
        let recovered = driven.update(|s| s.rotate(role, vec![Key::p256()]).version(role, 2));
        for away in ["timestamp", "snapshot"] {
            let mut server = Server::of(&recovered);
            server.away.insert(recovered.file_of(away));
            let result =
                Repository::refresh_with_state(&mut server, &gun(), &first_use(), Some(&held), &alice(), now());
            let failed = *result.unwrap_err();
            let noted = held.with_state(&failed.state.unwrap());
            assert_eq!(judged(&recovered, &noted), "accepted", "{role}: {away}");
            // Whether or not the server offers the new root again, the thief's data is rejected once a root has changed.
            if !role.contains('/') && away != "timestamp" {
                assert_ne!(judged(&driven.update(|s| s.version(role, HIGH + 1)), &noted), "accepted", "{role}: {away}");
            }
        }
    }
}
