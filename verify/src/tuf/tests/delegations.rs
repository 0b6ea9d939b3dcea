//! Rows 66 to 83: releases, signers and the tags that they may sign.

use serde_json::{Value, json};

use super::*;

fn find_target(repo: &Repo, wanted: TargetQuery<'_>, signers: &[RequiredSigner]) -> Result<SignedTarget, Rejection> {
    open(repo).unwrap().find_target(wanted, signers, now())
}

fn why(result: Result<SignedTarget, Rejection>) -> NotSigned {
    match result {
        Err(Rejection::NotSignedBy { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn row_066_a_releases_role_does_not_vanish() {
    let base = plant().target("targets", "v1", OTHER, 9).publish();
    let held = open(&base).unwrap();
    let gone = base.update(|s| s.withhold("targets/releases"));
    assert_eq!(code(again(&gone, &held)), "vanished");
    let undelegated = base.update(|s| s.undelegate("targets/releases"));
    assert_eq!(code(again(&undelegated, &held)), "vanished");
    // Removing a signer removes only that signer's signature.
    let without_alice = base.update(|s| s.undelegate("targets/alice"));
    let opened = again(&without_alice, &held).unwrap();
    assert!(opened.find_target(tag("v1"), &[], now()).is_ok());
    assert_eq!(why(opened.find_target(tag("v1"), &[as_alice(&base)], now())), NotSigned::NoRole);
}

#[test]
fn row_067_without_releases_plain_targets_count() {
    let repo = Signer::new_at(GUN, now()).target("targets", "v1", DIGEST, 9).publish();
    let judged = find_target(&repo, tag("v1"), &[]).unwrap();
    assert_eq!((judged.digest.sha256(), judged.released_by), (Sha256::new(DIGEST), "targets"));
    // Delegated, and never published.
    let repo = plant().withhold("targets/releases").target("targets", "v1", DIGEST, 9).publish();
    assert_eq!(find_target(&repo, tag("v1"), &[as_alice(&repo)]).unwrap().released_by, "targets");
}

#[test]
fn row_070_a_broken_releases_role_is_no_reason_to_fall_back() {
    let both = || plant().target("targets", "v1", DIGEST, 9);
    assert_eq!(v1_by_alice(&both().publish()), "accepted");
    assert_eq!(v1_by_alice(&both().expires("targets/releases", now()).publish()), "expired");
    assert_eq!(v1_by_alice(&both().threshold("targets/releases", 2).publish()), "signature");
    assert_eq!(v1_by_alice(&both().sign_with("targets/releases", vec![Key::p256()]).publish()), "signature");
    assert_eq!(v1_by_alice(&both().edit_bytes("targets/releases", |_| b"{}".to_vec()).publish()), "structure");
}

#[test]
fn a_delegation_is_verified_again_under_other_keys() {
    let base = plant().publish();
    let held = open(&base).unwrap();
    // The file is the same, but `targets` now lists another key for it.
    for role in ["targets/alice", "targets/releases"] {
        let stranger = Key::p256();
        let rekeyed = base.update(|s| {
            s.edit("targets", move |signed| {
                signed["delegations"]["keys"][stranger.id()] = stranger.json();
                for entry in signed["delegations"]["roles"].as_array_mut().unwrap() {
                    if entry["name"] == role {
                        entry["keyids"] = json!([stranger.id()]);
                    }
                }
            })
        });
        assert_eq!(rekeyed.file_of(role), base.file_of(role));
        let judged = again(&rekeyed, &held).map(|opened| opened.find_target(tag("v1"), &[as_alice(&base)], now()));
        let found = judged.map_or_else(|error| code::<()>(Err(error)), |judged| judged.unwrap_err().code());
        assert_eq!(found, "signature", "{role}");
    }
}

#[test]
fn row_071_somebody_elses_broken_role_is_theirs() {
    let repo = plant().signer("bob").release("v2", DIGEST, 1, &["bob"]).expires("targets/bob", now()).publish();
    assert_eq!(v1_by_alice(&repo), "accepted");
    let signers = Set::from([RoleName::of_signer("alice").unwrap(), RoleName::of_signer("bob").unwrap()]);
    let opened = Repository::refresh(&mut Server::of(&repo), &gun(), &first_use(), None, &signers, now()).unwrap();
    assert!(opened.find_target(tag("v1"), &[as_alice(&repo)], now()).is_ok());
    let bob = signer("bob", &[&repo.keys("targets/bob")[0]]);
    assert_eq!(opened.find_target(tag("v2"), &[bob], now()).unwrap_err().code(), "expired");
    // It was invalid when it was fetched, so it is fetched again.
    let broken = plant().edit_bytes("targets/alice", |_| b"no".to_vec()).publish();
    let opened = open(&broken).unwrap();
    assert!(opened.find_target(tag("v1"), &[], now()).is_ok());
    let mended = broken.update(|s| s.unedit("targets/alice"));
    assert!(again(&mended, &opened).unwrap().find_target(tag("v1"), &[as_alice(&broken)], now()).is_ok());
}

#[test]
fn row_072_a_damaged_required_role_denies() {
    let edited = |edit: fn(&mut Value)| v1_by_alice(&plant().edit_envelope("targets/alice", edit).publish());
    assert_eq!(edited(|e| e["signatures"] = json!([])), "signature");
    assert_eq!(edited(|e| e["signatures"] = json!(null)), "structure");
    assert_eq!(v1_by_alice(&plant().edit_bytes("targets/alice", |_| b"<html>".to_vec()).publish()), "json");
    // Alice's key under an alias.
    let repo = plant().edit("targets", |signed| {
        let keys = signed["delegations"]["keys"].as_object_mut().unwrap();
        let alice = keys.values().next().unwrap().clone();
        keys.insert("0".repeat(64), alice);
        for role in signed["delegations"]["roles"].as_array_mut().unwrap() {
            if role["name"] == "targets/alice" {
                role["keyids"] = json!(["0".repeat(64)]);
            }
        }
    });
    let repo = repo.edit_envelope("targets/alice", |e| e["signatures"][0]["keyid"] = json!("0".repeat(64))).publish();
    assert_eq!(v1_by_alice(&repo), "signature");
}

/// Edits the entry of `targets/alice` among the delegations.
fn delegated(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> &'static str {
    let repo = plant().edit("targets", move |signed| {
        for role in signed["delegations"]["roles"].as_array_mut().unwrap() {
            if role["name"] == "targets/alice" {
                edit(role);
            }
        }
    });
    v1_by_alice(&repo.publish())
}

#[test]
fn row_073_delegations_are_direct_children() {
    for name in ["targets/Alice", "targets/..", "targets/a/b", "targets", "root", "snapshot/a", "targets/", "alice", ""]
    {
        assert_eq!(delegated(move |role| role["name"] = json!(name)), "structure", "{name}");
    }
    // The same rules hold for the delegations of a delegation, although these are never used.
    let repo = plant().edit("targets/alice", |s| s["delegations"]["roles"] = json!([{"name": "targets/x"}])).publish();
    assert_eq!(v1_by_alice(&repo), "structure");
    let child = json!([{"name": "targets/alice/x", "threshold": 1, "keyids": [], "paths": [""]}]);
    let repo = plant().edit("targets/alice", move |s| s["delegations"]["roles"] = child.clone()).publish();
    assert_eq!(v1_by_alice(&repo), "accepted");
}

#[test]
fn row_074_delegations_have_a_threshold_and_known_keys() {
    for threshold in [json!(0), json!(-1), json!(null), json!("1"), json!(1.5)] {
        let expected = if threshold.is_f64() { "json" } else { "structure" };
        assert_eq!(delegated(move |role| role["threshold"] = threshold.clone()), expected);
    }
    assert_eq!(delegated(|role| role["keyids"] = json!(["unknown"])), "structure");
    assert_eq!(delegated(|role| role["keyids"] = json!([1])), "structure");
    assert_eq!(delegated(|role| role["paths"] = json!("")), "structure");
    assert_eq!(delegated(|role| role["extra"] = json!(1)), "accepted");
}

#[test]
fn delegations_are_an_object() {
    let repo = plant().edit("targets/alice", |s| s["delegations"] = json!([])).publish();
    assert_eq!(v1_by_alice(&repo), "structure");
}

#[test]
fn a_delegation_is_verified_again_under_a_higher_threshold() {
    let base = plant().publish();
    let held = open(&base).unwrap();
    let raised = base.update(|s| s.threshold("targets/alice", 2));
    assert_eq!(raised.file_of("targets/alice"), base.file_of("targets/alice"));
    let opened = again(&raised, &held).unwrap();
    assert_eq!(opened.find_target(tag("v1"), &[as_alice(&base)], now()).unwrap_err().code(), "signature");
}

/// The neutral element as a key, for which the neutral element and zero are a signature of any message.
#[test]
fn row_104_a_key_of_small_order_signs_nothing() {
    use base64::Engine as _;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let (mut neutral, mut signature) = ([0; 32], [0; 64]);
    (neutral[0], signature[0]) = (1, 1);
    let key = json!({"keytype": "ed25519", "keyval": {"private": null, "public": encode(&neutral)}});
    let id = portreeve_test_support::signer::sha256_hex(&portreeve_test_support::signer::canonical(&key));
    for role in ["targets/releases", "targets/alice"] {
        let (listed, key) = (id.clone(), key.clone());
        let forged = json!({"keyid": id, "method": "eddsa", "sig": encode(&signature)});
        let repo = plant().edit("targets", move |signed| {
            signed["delegations"]["keys"][&listed] = key.clone();
            for entry in signed["delegations"]["roles"].as_array_mut().unwrap() {
                if entry["name"] == role {
                    entry["keyids"] = json!([listed]);
                }
            }
        });
        let repo = repo.edit_envelope(role, move |envelope| envelope["signatures"] = json!([forged])).publish();
        assert_eq!(v1_by_alice(&repo), "signature", "{role}");
    }
}

#[test]
fn row_075_no_role_entry_is_null() {
    assert_eq!(delegated(|role| *role = json!(null)), "structure");
    let repo = plant().edit("root", |s| s["roles"]["mirror"] = json!(null)).publish();
    assert_eq!(v1_by_alice(&repo), "structure");
    for role in ["targets/releases", "targets/alice", "targets/unasked", "mirror"] {
        let repo = plant().edit("snapshot", move |s| s["meta"][role] = json!(null)).publish();
        assert_eq!(v1_by_alice(&repo), "structure", "{role}");
    }
}

#[test]
fn row_076_no_role_is_delegated_twice() {
    assert_eq!(delegated(|role| role["name"] = json!("targets/releases")), "structure");
    let repo = plant().edit("targets", |s| {
        let roles = s["delegations"]["roles"].as_array_mut().unwrap();
        roles.extend(roles.clone());
    });
    assert_eq!(v1_by_alice(&repo.publish()), "structure");
}

#[test]
fn row_077_a_threshold_that_cannot_be_met_is_never_met() {
    assert_eq!(delegated(|role| role["keyids"] = json!([])), "signature");
    assert_eq!(delegated(|role| drop(role.as_object_mut().unwrap().remove("keyids"))), "signature");
    assert_eq!(delegated(|role| role["threshold"] = json!(2)), "signature");
    assert_eq!(delegated(|role| role["threshold"] = json!(1_i64 << 53)), "signature");
}

#[test]
fn row_078_paths_are_prefixes_of_tags() {
    assert_eq!(delegated(|role| role["paths"] = json!(["v"])), "accepted");
    assert_eq!(delegated(|role| role["paths"] = json!(["x", "v1"])), "accepted");
    assert_eq!(delegated(|role| role["paths"] = json!(["v1."])), "not-signed-by");
    assert_eq!(delegated(|role| role["paths"] = json!([])), "not-signed-by");
    assert_eq!(delegated(|role| drop(role.as_object_mut().unwrap().remove("paths"))), "not-signed-by");
    let repo = plant().paths("targets/releases", &["w"]).publish();
    assert_eq!(v1_by_alice(&repo), "no-such-tag");
    let digest = TargetQuery { tag: None, digest: Some(Sha256::new(DIGEST)) };
    assert_eq!(find_target(&repo, digest, &[]).unwrap_err().code(), "no-such-digest");
}

/// A child of `targets/alice` with this tag, signed, listed and served as in Notary, and the requests that the server got.
fn with_grandchild(signer: Signer, paths: &'static [&'static str], released: &'static str) -> (Repo, Server) {
    let key = Key::p256();
    let (id, json) = (key.id(), key.json());
    let target = json!({released: {"hashes": {"sha256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, "length": 1}});
    let signed = json!({
        "_type": "Targets", "version": 1, "expires": "2031-01-01T00:00:00Z", "delegations": {"keys": {}, "roles": []},
        "targets": target,
    });
    let file = serde_json::to_vec(&json!({"signed": signed, "signatures": [key.sign(&signed)]})).unwrap();
    let meta = portreeve_test_support::signer::file_meta(&file);
    let repo = signer
        .edit("targets/alice", move |s| {
            s["delegations"]["keys"][&id] = json.clone();
            let role = json!({"name": "targets/alice/x", "threshold": 1, "keyids": [id], "paths": paths});
            s["delegations"]["roles"] = json!([role]);
        })
        .edit("snapshot", move |s| s["meta"]["targets/alice/x"] = meta.clone())
        .publish();
    let mut server = Server::of(&repo);
    server.files.insert(format!("targets/alice/x.{}", Sha256::of(&file).hex()), file);
    (repo, server)
}

/// Only the child of a delegation could have wider paths than its parent, and no such child is ever used. `targets`, the
/// parent of all roles that are used, may sign all tags.
#[test]
fn row_079_a_child_has_no_wider_authority_than_its_parent() {
    let narrow = plant().paths("targets/alice", &["v1"]);
    let (repo, mut server) = with_grandchild(narrow, &[""], "w1");
    let opened = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now()).unwrap();
    assert!(opened.find_target(tag("v1"), &[as_alice(&repo)], now()).is_ok());
    assert_eq!(opened.find_target(tag("w1"), &[], now()).unwrap_err().code(), "no-such-tag");
    assert!(!server.asked.iter().any(|name| name.starts_with("targets/alice/x")), "{:?}", server.asked);
    // No role name reaches it.
    assert_eq!(RoleName::parse("targets/alice/x"), None);
    assert_eq!(RoleName::of_signer("alice/x"), None);
}

/// The only parent of a role that is used is `targets`. When it has expired, nothing below it is read. The children of a
/// delegation are never used, whether it has expired or not.
#[test]
fn row_080_children_of_an_expired_parent_are_out_of_reach() {
    let expired = plant().target("targets", "v1", DIGEST, 9).expires("targets", now()).publish();
    let mut server = Server::of(&expired);
    let result = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now());
    assert_eq!(code(result), "expired");
    assert!(!server.asked.iter().any(|name| name.starts_with("targets/")), "{:?}", server.asked);

    let (repo, mut server) = with_grandchild(plant().expires("targets/alice", now()), &[""], "v1");
    let opened = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now()).unwrap();
    assert_eq!(opened.find_target(tag("v1"), &[as_alice(&repo)], now()).unwrap_err().code(), "expired");
    assert!(!server.asked.iter().any(|name| name.starts_with("targets/alice/x")), "{:?}", server.asked);
}

#[test]
fn row_081_releases_come_before_targets() {
    let repo = plant().target("targets", "v1", OTHER, 9).publish();
    let judged = find_target(&repo, tag("v1"), &[]).unwrap();
    assert_eq!((judged.digest.sha256(), judged.released_by), (Sha256::new(DIGEST), "targets/releases"));
}

#[test]
fn row_082_no_other_role_releases() {
    let repo = plant().target("targets/alice", "v2", OTHER, 9).publish();
    for missing in ["v2", "v", "v1 ", "V1", ""] {
        assert_eq!(find_target(&repo, tag(missing), &[]).unwrap_err().code(), "no-such-tag", "{missing}");
    }
    let digest = TargetQuery { tag: None, digest: Some(Sha256::new(OTHER)) };
    assert_eq!(find_target(&repo, digest, &[]).unwrap_err().code(), "no-such-digest");
}

/// Signed with the repository's own key, before the first delegation was made.
fn with_old_release() -> Signer {
    plant().target("targets", "v0", OTHER, 9)
}

#[test]
fn row_101_a_tag_that_releases_does_not_list_is_looked_for_in_targets() {
    let repo = with_old_release().publish();
    let judged = find_target(&repo, tag("v0"), &[]).unwrap();
    assert_eq!((judged.digest.sha256(), judged.released_by), (Sha256::new(OTHER), "targets"));
    assert_eq!(find_target(&repo, tag("v1"), &[]).unwrap().released_by, "targets/releases");
    // A tag outside the paths of `targets/releases` is not listed there: it has no authority over it (row 78).
    let narrow = with_old_release().target("targets/releases", "v0", DIGEST, 9).paths("targets/releases", &["v1"]);
    assert_eq!(find_target(&narrow.publish(), tag("v0"), &[]).unwrap().digest.sha256(), Sha256::new(OTHER));
    // An unusable entry there is an entry too.
    let unusable = with_old_release().target("targets/releases", "v0", OTHER, 9);
    let unusable = unusable.edit("targets/releases", |s| s["targets"]["v0"]["hashes"] = json!({})).publish();
    assert_eq!(find_target(&unusable, tag("v0"), &[]).unwrap_err().code(), "unusable-target");
    // `targets` is not used instead: row 70.
    let broken = [
        with_old_release().expires("targets/releases", now()),
        with_old_release().threshold("targets/releases", 2),
        with_old_release().edit_bytes("targets/releases", |_| b"{}".to_vec()),
    ];
    let codes = broken.map(|signer| code(open(&signer.publish())));
    assert_eq!(codes, ["expired", "signature", "structure"]);
    let held = open(&repo).unwrap();
    assert_eq!(code(again(&repo.update(|s| s.withhold("targets/releases")), &held)), "vanished");
    // A required signer must have signed this digest (rule 8).
    assert_eq!(why(find_target(&repo, tag("v0"), &[as_alice(&repo)])), NotSigned::NoTag { tag: "v0".to_owned() });
    let other = with_old_release().target("targets/alice", "v0", DIGEST, 9).publish();
    assert!(matches!(why(find_target(&other, tag("v0"), &[as_alice(&other)])), NotSigned::OtherDigest { .. }));
    let same = with_old_release().target("targets/alice", "v0", OTHER, 9).publish();
    assert!(find_target(&same, tag("v0"), &[as_alice(&same)]).is_ok());
    let refusal = find_target(&repo, tag("v9"), &[]).unwrap_err().to_string();
    assert!(refusal.ends_with("it is not listed in targets/releases or in targets"), "{refusal}");
}

#[test]
fn row_102_a_digest_counts_if_either_role_lists_it() {
    let repo = with_old_release().publish();
    let digest = |digest| TargetQuery { tag: None, digest: Some(Sha256::new(digest)) };
    let judged = find_target(&repo, digest(OTHER), &[]).unwrap();
    assert_eq!((judged.tag.as_str(), judged.released_by), ("v0", "targets"));
    assert_eq!(find_target(&repo, digest(DIGEST), &[]).unwrap().released_by, "targets/releases");
    // Also where `targets/releases` has moved the tag since.
    let moved = with_old_release().target("targets/releases", "v0", DIGEST, 9).publish();
    assert_eq!(find_target(&moved, digest(OTHER), &[]).unwrap().released_by, "targets");
    let both = TargetQuery { tag: Some("v0"), ..digest(OTHER) };
    assert_eq!(find_target(&moved, both, &[]).unwrap_err().code(), "digest-mismatch");
    assert!(find_target(&repo, both, &[]).is_ok());
    assert_eq!(why(find_target(&repo, digest(OTHER), &[as_alice(&repo)])), NotSigned::NoTag { tag: "v0".to_owned() });
    // The signer's tag may be in either role.
    let later = with_old_release().release("v2", OTHER, 9, &["alice"]).publish();
    assert_eq!(find_target(&later, digest(OTHER), &[as_alice(&later)]).unwrap().tag, "v2");
    let expired = with_old_release().expires("targets/releases", now()).publish();
    assert_eq!(code(open(&expired)), "expired");
}

#[test]
fn row_083_targets_without_a_usable_digest() {
    let edited = |edit: fn(&mut Value)| {
        v1_by_alice(&plant().edit("targets/releases", move |s| edit(&mut s["targets"]["v1"])).publish())
    };
    assert_eq!(edited(|t| t["hashes"] = json!({"sha512": "A".repeat(86) + "=="})), "unusable-target");
    assert_eq!(edited(|t| t["hashes"]["sha256"] = json!("AAAA")), "structure");
    assert_eq!(edited(|t| t["hashes"] = json!({})), "unusable-target");
    assert_eq!(edited(|t| t["hashes"] = json!([])), "structure");
    assert_eq!(edited(|t| t["length"] = json!(-1)), "structure");
    assert_eq!(edited(|t| *t = json!(null)), "structure");
    assert_eq!(edited(|t| t["custom"] = json!({"any": ["thing"]})), "accepted");
    let repo = plant().edit("targets/releases", |s| s["targets"] = json!(null)).publish();
    assert_eq!(v1_by_alice(&repo), "structure");
    let repo = plant().edit("targets/alice", |s| s["targets"]["v1"]["hashes"] = json!({})).publish();
    let why = why(find_target(&repo, tag("v1"), &[as_alice(&repo)]));
    assert!(matches!(why, NotSigned::OtherDigest { signed: None, .. }), "{why}");
}

#[test]
fn digests_are_looked_up_among_released_tags() {
    let repo = plant().release("latest", DIGEST, 9, &[]).release("v2", OTHER, 9, &["alice"]).publish();
    let wanted = |tag, digest| TargetQuery { tag, digest: Some(Sha256::new(digest)) };
    assert_eq!(find_target(&repo, wanted(None, DIGEST), &[]).unwrap().tag, "latest");
    // With a signer, a tag that the signer has signed: not the first one.
    let judged = find_target(&repo, wanted(None, DIGEST), &[as_alice(&repo)]).unwrap();
    assert_eq!((judged.tag.as_str(), judged.digest.sha256()), ("v1", Sha256::new(DIGEST)));
    assert_eq!(find_target(&repo, wanted(Some("v1"), DIGEST), &[]).unwrap().tag, "v1");
    let refusal = find_target(&repo, wanted(Some("v1"), OTHER), &[]).unwrap_err();
    assert_eq!(refusal.code(), "digest-mismatch");
    assert_eq!(find_target(&repo, wanted(None, [9; 32]), &[]).unwrap_err().code(), "no-such-digest");
    let nothing = TargetQuery { tag: None, digest: None };
    assert_eq!(find_target(&repo, nothing, &[]).unwrap_err().code(), "nothing-asked");
    let refusal = find_target(&repo, tag("latest"), &[as_alice(&repo)]);
    assert_eq!(why(refusal), NotSigned::NoTag { tag: "latest".to_owned() });
}

#[test]
fn a_signer_has_signed_with_the_configured_key() {
    let repo = plant().publish();
    let key = repo.keys("targets/alice").remove(0);
    let stranger = Key::p256();
    assert!(find_target(&repo, tag("v1"), &[signer("alice", &[&stranger, &key])]).is_ok());
    assert_eq!(why(find_target(&repo, tag("v1"), &[signer("alice", &[&stranger])])), NotSigned::OtherKey);
    assert_eq!(why(find_target(&repo, tag("v1"), &[signer("alice", &[])])), NotSigned::OtherKey);
    // The right key is listed, but another key has signed.
    let listed = plant().delegate("targets/alice", vec![key.clone(), stranger.clone()]);
    let listed = listed.sign_with("targets/alice", vec![stranger.clone()]).publish();
    assert_eq!(why(find_target(&listed, tag("v1"), &[signer("alice", &[&key])])), NotSigned::OtherKey);
    assert!(find_target(&listed, tag("v1"), &[signer("alice", &[&stranger])]).is_ok());
    // A key that signed, and is not listed, does not count either.
    let unlisted = plant().delegate("targets/alice", vec![key.clone()]);
    let unlisted = unlisted.sign_with("targets/alice", vec![key.clone(), stranger.clone()]).publish();
    assert_eq!(why(find_target(&unlisted, tag("v1"), &[signer("alice", &[&stranger])])), NotSigned::OtherKey);
    // In a certificate, it is the same key.
    let leaf = portreeve_test_support::certificates::Leaf::new("alice").ca().self_signed(&key);
    let wrapped = plant().delegate("targets/alice", vec![key.with_bundle(leaf)]).publish();
    assert!(find_target(&wrapped, tag("v1"), &[signer("alice", &[&key])]).is_ok());
    // Both of two must have signed.
    let two = plant().signer("bob").target("targets/bob", "v1", OTHER, 1).publish();
    let mut wanted = alice();
    wanted.insert(RoleName::of_signer("bob").unwrap());
    let opened = Repository::refresh(&mut Server::of(&two), &gun(), &first_use(), None, &wanted, now()).unwrap();
    let bob = signer("bob", &[&two.keys("targets/bob")[0]]);
    let refusal = opened.find_target(tag("v1"), &[as_alice(&two), bob], now());
    assert!(matches!(why(refusal), NotSigned::OtherDigest { .. }));
}
