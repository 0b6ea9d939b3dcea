//! Rows 1 to 48: the root, its certificates, pins and rotations.

use portreeve_test_support::certificates::{Authority, Leaf};
use serde_json::json;

use super::*;

/// A repository whose root keys are these.
fn rooted(keys: Vec<Key>) -> Repo {
    plant().rotate("root", keys.clone()).version("root", 1).sign_with("root", keys).publish()
}

fn named(common_name: &str) -> Repo {
    rooted(vec![Key::root(common_name)])
}

fn distrust<T>(result: Result<T, RefreshError>) -> Option<RootDistrust> {
    match result {
        Err(RefreshError::Rejected(Rejection::RootNotTrusted { why, .. })) => Some(why),
        _ => None,
    }
}

#[test]
fn row_001_and_002_first_use_only_where_allowed() {
    let repo = plant().publish();
    assert_eq!(code(open(&repo)), "accepted");
    let forbidden = Anchor { pins: Vec::new(), first_use: FirstUse::Forbidden };
    assert_eq!(distrust(open_at(&repo, &forbidden, now())), Some(RootDistrust::NoAnchor));
}

#[test]
fn row_003_to_005_the_common_name_is_the_gun_or_a_prefix() {
    for good in [GUN, "*", "registry.local:9001/plant/*", "registry.local:9001/plant/plc*", "reg*"] {
        assert_eq!(code(open(&named(good))), "accepted", "{good}");
    }
    for bad in [
        "registry.local:9001/plant/other",
        "registry.local:9001/plant",
        "registry.local:9001/*/plc",
        "REGISTRY.local:9001/plant/plc",
        "",
        "registry.local:9001/plant/plc/",
        "registry.local:9001/plant/plc/*",
        "*plc",
        "**",
    ] {
        assert_eq!(distrust(open(&named(bad))), Some(RootDistrust::Certificate), "{bad}");
    }
}

#[test]
fn row_006_to_010_pins_decide_by_kind() {
    let ca = Authority::new();
    let key = Key::p256();
    let key = key.with_bundle(Leaf::new(GUN).server_auth().signed_by(&key, &ca));
    let repo = rooted(vec![key.clone()]);
    let id = || RootPin::KeyId(Sha256::from_hex(&key.id()).unwrap());
    let certificate = || RootPin::certificate_from_pem(&repo.root_certificate_pem()).unwrap();
    let ca_pin = || RootPin::ca_from_pem(&ca.pem()).unwrap();
    let wrong_id = || RootPin::KeyId(Sha256::new([1; 32]));
    let wrong_certificate = || RootPin::Certificate(b"other".to_vec());
    let bare = || RootPin::KeyId(Sha256::from_hex(&key.bare().id()).unwrap());
    for (row, pins, expected) in [
        (6, vec![id()], "accepted"),
        (6, vec![wrong_id(), id()], "accepted"),
        (6, vec![certificate()], "accepted"),
        (7, vec![wrong_id()], "root-not-trusted"),
        (7, vec![wrong_certificate()], "root-not-trusted"),
        (8, vec![bare()], "root-not-trusted"),
        (10, vec![wrong_id(), ca_pin()], "root-not-trusted"),
        (10, vec![ca_pin(), wrong_certificate()], "root-not-trusted"),
        (11, vec![ca_pin()], "accepted"),
    ] {
        assert_eq!(code(open_at(&repo, &pinned(pins.clone()), now())), expected, "row {row}: {pins:?}");
    }
}

#[test]
fn a_pinned_certificate_that_is_only_listed_proves_nothing() {
    let (honest, attacker) = (Key::root(GUN), Key::root(GUN));
    let repo = rooted(vec![honest.clone(), attacker.clone()])
        .update(|s| s.sign_with("root", vec![attacker]).version("root", 1));
    let pin = RootPin::KeyId(Sha256::from_hex(&honest.id()).unwrap());
    assert_eq!(code(open(&repo)), "accepted");
    assert_eq!(distrust(open_at(&repo, &pinned(vec![pin]), now())), Some(RootDistrust::NotPinned));
}

#[test]
fn row_011_to_013_ca_pins_build_a_chain() {
    let (from, until) = (now() - hours(1000), now() + hours(1000));
    let ca = Authority::named("site");
    let middle = ca.intermediate("middle");
    let old = Authority::valid("old", from - hours(1000), from);
    let key = Key::p256();
    let leaf = |leaf: Leaf, issuer: &Authority, rest: &str| key.with_bundle(leaf.signed_by(&key, issuer) + rest);
    let sound = || Leaf::new(GUN).server_auth().valid(from, until);
    for (row, key, pin, expected) in [
        (11, leaf(sound(), &middle, &middle.pem()), &ca, "accepted"),
        (11, leaf(Leaf::new(GUN).any_purpose(), &middle, &middle.pem()), &ca, "accepted"),
        (12, leaf(sound(), &middle, &middle.pem()), &Authority::named("site"), "root-not-trusted"),
        (12, leaf(sound(), &middle, ""), &ca, "root-not-trusted"),
        (12, leaf(sound(), &old, ""), &old, "root-not-trusted"),
        (13, leaf(Leaf::new(GUN), &middle, &middle.pem()), &ca, "root-not-trusted"),
    ] {
        let pins = vec![RootPin::ca_from_pem(&pin.pem()).unwrap()];
        let result = open_at(&rooted(vec![key]), &pinned(pins), now());
        assert_eq!(code(result), expected, "row {row}");
    }
}

#[test]
fn row_014_to_018_certificates_are_in_date() {
    let leaf = |from: i64, until: i64| {
        let key = Key::p256();
        key.with_bundle(Leaf::new(GUN).valid(now() + hours(from), now() + hours(until)).self_signed(&key))
    };
    let signed_by = |keys: Vec<Key>, signing: Vec<Key>| {
        plant().rotate("root", keys).version("root", 1).sign_with("root", signing).publish()
    };
    assert_eq!(distrust(open(&rooted(vec![leaf(-100, -1)]))), Some(RootDistrust::OutOfDate));
    assert_eq!(distrust(open(&rooted(vec![leaf(25, 100)]))), Some(RootDistrust::OutOfDate));
    assert_eq!(code(open(&rooted(vec![leaf(23, 100)]))), "accepted");
    let (expired, valid) = (leaf(-100, -1), leaf(-100, 100));
    let both = vec![expired.clone(), valid.clone()];
    assert_eq!(code(open(&signed_by(both.clone(), vec![expired]))), "root-not-trusted"); // row 16
    assert_eq!(code(open(&signed_by(both, vec![valid]))), "accepted"); // row 17
    let ca = Authority::new();
    let middle = ca.intermediate_valid("middle", now() - hours(100), now() - hours(1));
    let key = Key::p256();
    let key = key.with_bundle(Leaf::new(GUN).signed_by(&key, &middle) + &middle.pem());
    assert_eq!(distrust(open(&rooted(vec![key]))), Some(RootDistrust::OutOfDate)); // row 18
}

#[test]
fn a_certificate_that_ends_while_we_remember_ends_the_answer() {
    let key = Key::p256();
    let key = key.with_bundle(Leaf::new(GUN).valid(now() - hours(1), now() + hours(1)).self_signed(&key));
    let opened = open(&rooted(vec![key])).unwrap();
    assert!(opened.judge(tag("v1"), &[], now()).is_ok());
    let refusal = opened.judge(tag("v1"), &[], now() + hours(2)).unwrap_err();
    assert!(matches!(refusal, Rejection::RootNotTrusted { why: RootDistrust::OutOfDate, .. }));
    assert_eq!(opened.expiries()[0].expires, now() + hours(1));
}

#[test]
fn row_019_to_022_a_root_key_is_a_sound_bundle() {
    let ca = Authority::new();
    let key = Key::p256();
    let leaf = Leaf::new(GUN).signed_by(&key, &ca);
    let other = Leaf::new(GUN).self_signed(&Key::p256());
    let junk = format!("{leaf}\n");
    let above = format!("junk\n{leaf}");
    let crlf = leaf.replace('\n', "\r\n");
    for (what, pem, expected) in [
        ("leaf and CA", leaf.clone() + &ca.pem(), "accepted"),
        ("CA first", ca.pem() + &leaf, "signature"),
        ("two leaves", leaf.clone() + &other, "root-not-trusted"),
        ("CA as leaf", Leaf::new(GUN).ca().self_signed(&key), "root-not-trusted"),
        ("CRLF", crlf, "signature"),
        ("junk after", junk, "signature"),
        ("junk before", above, "signature"),
        ("nothing", String::new(), "signature"),
    ] {
        assert_eq!(code(open(&rooted(vec![key.with_bundle(pem)]))), expected, "{what}");
    }
    assert_eq!(distrust(open(&rooted(vec![Key::p256()]))), Some(RootDistrust::Certificate)); // row 20
    // Row 21: an ECDSA certificate that calls itself RSA. The ID is right for that name, and still it never counts.
    let key = Key::root(GUN);
    let mut lie = key.json();
    lie["keytype"] = json!("rsa-x509");
    let id = portreeve_test_support::signer::sha256_hex(&portreeve_test_support::signer::canonical(&lie));
    let (lied, lied_id, old_id) = (lie.clone(), id.clone(), key.id());
    let repo = plant()
        .rotate("root", vec![key])
        .version("root", 1)
        .edit("root", move |signed| {
            signed["keys"][&lied_id] = lied.clone();
            signed["roles"]["root"]["keyids"] = json!([lied_id]);
        })
        .edit_envelope("root", move |envelope| {
            for signature in envelope["signatures"].as_array_mut().unwrap() {
                if signature["keyid"] == json!(old_id) {
                    signature["keyid"] = json!(id);
                }
            }
        })
        .publish();
    assert_eq!(code(open(&repo)), "signature");
}

#[test]
fn row_023_to_025_thresholds_count_distinct_keys() {
    let (one, two) = (Key::root(GUN), Key::root(GUN));
    let with = |keys: Vec<Key>, signing: Vec<Key>| {
        let signer = plant().rotate("root", keys).version("root", 1).threshold("root", 2);
        signer.version("root", 1).sign_with("root", signing).publish()
    };
    let both = || vec![one.clone(), two.clone()];
    assert_eq!(code(open(&with(both(), both()))), "accepted");
    assert_eq!(code(open(&with(both(), vec![one.clone()]))), "signature");
    assert_eq!(code(open(&with(both(), vec![one.clone(), one.clone()]))), "signature");
    let repeated = with(vec![one.clone()], vec![one.clone()]).update(|signer| {
        signer.version("root", 1).edit("root", |signed| {
            let id = signed["roles"]["root"]["keyids"][0].clone();
            signed["roles"]["root"]["keyids"] = json!([id, id]);
        })
    });
    assert_eq!(code(open(&repeated)), "signature");
    // Row 24: two certificates of one key are two IDs, and one key.
    let twin = one.with_bundle(Leaf::new("*").self_signed(&one));
    assert_ne!(one.id(), twin.id());
    assert_eq!(code(open(&with(vec![one.clone(), twin.clone()], vec![one.clone(), twin]))), "signature");
    // Row 25: an alias.
    let alias = "0".repeat(64);
    let (id, signed_alias, old_id) = (one.id(), alias.clone(), one.id());
    let repo = plant()
        .rotate("root", vec![one.clone()])
        .version("root", 1)
        .sign_with("root", vec![one.clone()])
        .edit("root", move |signed| {
            signed["keys"][&alias] = signed["keys"][&id].take();
            signed["keys"].as_object_mut().unwrap().remove(&id);
            signed["roles"]["root"]["keyids"] = json!([alias]);
        })
        .edit_envelope("root", move |envelope| {
            assert_eq!(envelope["signatures"][0]["keyid"], json!(old_id));
            envelope["signatures"][0]["keyid"] = json!(signed_alias);
        })
        .publish();
    assert_eq!(code(open(&repo)), "signature");
}

#[test]
fn row_026_and_027_structure_and_room_for_more() {
    let edited = |edit: fn(&mut serde_json::Value)| code(open(&plant().edit("root", edit).publish()));
    assert_eq!(edited(|s| s["roles"]["root"]["threshold"] = json!(0)), "structure");
    assert_eq!(edited(|s| s["roles"]["timestamp"]["threshold"] = json!(0)), "structure");
    assert_eq!(edited(|s| s["version"] = json!(0)), "structure");
    assert_eq!(edited(|s| s["version"] = json!(-1)), "structure");
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let repo = plant().edit("root", move |s| drop(s["roles"].as_object_mut().unwrap().remove(role))).publish();
        assert_eq!(code(open(&repo)), "structure", "{role}");
    }
    assert_eq!(edited(|s| s["roles"]["mirror"] = json!(null)), "structure"); // row 75
    assert_eq!(edited(|s| s["roles"]["snapshot"]["keyids"] = json!(["unknown"])), "structure");
    let repeated = |times: usize| {
        plant().edit("root", move |s| {
            let id = s["roles"]["snapshot"]["keyids"][0].clone();
            s["roles"]["snapshot"]["keyids"] = json!(vec![id; times]);
        })
    };
    assert_eq!(code(open(&repeated(64).publish())), "accepted");
    assert_eq!(code(open(&repeated(65).publish())), "structure");
    assert_eq!(edited(|s| s["roles"]["snapshot"]["keyids"] = json!(null)), "signature"); // row 77
    assert_eq!(edited(|s| s["roles"]["snapshot"]["threshold"] = json!(2)), "signature"); // row 77
    assert_eq!(
        edited(|s| {
            s["roles"]["mirror"] = json!({"keyids": [], "threshold": 1, "extra": true});
            s["keys"]["0"] = json!({"keytype": "unheard-of"});
            s["x-extra"] = json!([1, null]);
        }),
        "accepted"
    );
}

#[test]
fn row_028_to_032_rotations_are_signed_by_old_and_new() {
    let (old, new, third) = (Key::root(GUN), Key::root(GUN), Key::root(GUN));
    let base = rooted(vec![old.clone()]).update(|s| s.sign_with("root", vec![old.clone()]).version("root", 1));
    let first = open(&base).unwrap();
    let rotated = |keys: Vec<Key>, threshold: u64, signing: Vec<Key>| {
        let next = base.update(|s| {
            s.rotate("root", keys).threshold("root", threshold).version("root", 2).sign_with("root", signing)
        });
        code(again(&next, &first))
    };
    assert_eq!(rotated(vec![new.clone()], 1, vec![old.clone(), new.clone()]), "accepted"); // row 28
    assert_eq!(rotated(vec![new.clone()], 1, vec![new.clone()]), "signature"); // row 29
    assert_eq!(rotated(vec![new.clone()], 1, vec![old.clone()]), "signature"); // row 30
    let two = vec![old.clone(), new.clone()];
    assert_eq!(rotated(two.clone(), 2, vec![old.clone()]), "signature"); // row 31
    assert_eq!(rotated(two.clone(), 2, two.clone()), "accepted");
    // Row 32: from two of two to one of one; one of the old ones is not enough.
    let base =
        base.update(|s| s.rotate("root", two.clone()).threshold("root", 2).version("root", 2).sign_with("root", two));
    let second = again(&base, &first).unwrap();
    assert_eq!(second.root_version(), 2);
    let lowered = |signing: Vec<Key>| {
        let next = base.update(|s| {
            s.rotate("root", vec![third.clone()]).threshold("root", 1).version("root", 3).sign_with("root", signing)
        });
        code(again(&next, &second))
    };
    assert_eq!(lowered(vec![old.clone(), third.clone()]), "signature");
    assert_eq!(lowered(vec![old, new, third.clone()]), "accepted");
}

#[test]
fn a_key_that_could_not_sign_this_root_cannot_sign_the_next() {
    let (fit, new) = (Key::root(GUN), Key::root(GUN));
    for unfit in [Key::p256(), Key::root("registry.local:9001/plant/other")] {
        let keys = vec![fit.clone(), unfit.clone()];
        let base = rooted(keys);
        let held = open(&base).unwrap();
        let next = |old: &Key| {
            let signing = vec![old.clone(), new.clone()];
            let next = base.update(|s| s.rotate("root", vec![new.clone()]).sign_with("root", signing));
            code(again(&next, &held))
        };
        assert_eq!(next(&unfit), "signature");
        assert_eq!(next(&fit), "accepted");
    }
}

/// Versions 1 to `last`, a new key in each; the first publication and the newest.
fn chain(last: u64) -> (Repo, Repo) {
    let first = plant().publish();
    let mut newest = first.clone();
    for version in 2..=last {
        newest = newest.update(|s| s.rotate("root", vec![Key::root(GUN)]).version("root", version));
    }
    (first, newest)
}

#[test]
fn row_033_to_036_the_chain_is_walked_without_gaps() {
    let (first, newest) = chain(5);
    let held = open(&first).unwrap();
    assert_eq!(again(&newest, &held).unwrap().root_version(), 5);
    let mut server = Server::of(&newest);
    server.files.remove("3.root"); // row 34
    let gap = Repository::refresh(&mut server, &gun(), &first_use(), Some(&held), &alice(), now());
    assert_eq!(code(gap), "hash");
    // Row 35: the third root is nobody's.
    let stranger = rooted(vec![Key::root(GUN)]).update(|s| s.version("root", 3));
    let mut server = Server::of(&newest);
    server.files.insert("3.root".to_owned(), stranger.bytes("root"));
    let gap = Repository::refresh(&mut server, &gun(), &first_use(), Some(&held), &alice(), now());
    assert_eq!(code(gap), "signature");
    // Row 36: an intermediate root has expired, metadata and certificate.
    let key = Key::p256();
    let ended = key.with_bundle(Leaf::new(GUN).valid(now() - hours(9), now() - hours(2)).self_signed(&key));
    let middle = first.update(|s| s.rotate("root", vec![ended]).expires("root", now() - hours(1)).version("root", 2));
    let last =
        middle.update(|s| s.rotate("root", vec![Key::root(GUN)]).expires("root", now() + hours(9)).version("root", 3));
    assert_eq!(again(&last, &held).unwrap().root_version(), 3);
    assert_eq!(code(again(&middle, &held)), "root-not-trusted"); // row 48
}

#[test]
fn row_037_to_041_each_root_has_exactly_the_next_version() {
    let first = plant().publish();
    let held = open(&first).unwrap();
    for version in [7, 1, 3] {
        let next = first.update(|s| s.rotate("root", vec![Key::root(GUN)]).version("root", version));
        let mut server = Server::of(&next);
        server.files.insert("2.root".to_owned(), next.bytes("root"));
        let result = Repository::refresh(&mut server, &gun(), &first_use(), Some(&held), &alice(), now());
        assert_eq!(code(result), "root-version", "{version}");
    }
    // Rows 39 to 41: a snapshot that lists root 9, an older one or the same version anew, without a chain to it.
    for version in [9, 1] {
        let next = first.update(|s| s.version("root", version));
        assert_eq!(code(again(&next, &held)), "hash", "{version}");
    }
}

#[test]
fn row_042_and_043_an_expired_root_that_was_held_is_followed() {
    let first = plant().expires("root", now() + hours(1)).publish();
    let held = open(&first).unwrap();
    let later = now() + hours(2);
    let refresh =
        |repo: &Repo| Repository::refresh(&mut Server::of(repo), &gun(), &first_use(), Some(&held), &alice(), later);
    assert_eq!(code(refresh(&first)), "expired"); // row 48
    let second = first.update(|s| s.expires("root", later + hours(1)));
    assert_eq!(refresh(&second).unwrap().root_version(), 2);
    let third = second.update(|s| s.rotate("root", vec![Key::root(GUN)]));
    assert_eq!(refresh(&third).unwrap().root_version(), 3);
}

#[test]
fn row_044_and_045_pins_hold_for_every_root() {
    let first = plant().publish();
    let held = open(&first).unwrap();
    let pin = || RootPin::KeyId(Sha256::from_hex(&first.root_key_id()).unwrap());
    let other = RootPin::KeyId(Sha256::new([1; 32]));
    let refresh = |repo: &Repo, pin: RootPin| {
        let anchor = pinned(vec![pin]);
        Repository::refresh(&mut Server::of(repo), &gun(), &anchor, Some(&held), &alice(), now())
    };
    assert_eq!(code(refresh(&first, pin())), "accepted");
    assert_eq!(distrust(refresh(&first, other)), Some(RootDistrust::NotPinned));
    let rotated = first.update(|s| s.rotate("root", vec![Key::root(GUN)]));
    assert_eq!(distrust(refresh(&rotated, pin())), Some(RootDistrust::NotPinned));
}

#[test]
fn row_046_a_renewed_certificate_is_a_new_key() {
    let first = plant().publish();
    let held = open(&first).unwrap();
    let old = first.keys("root").remove(0);
    let renewed = old.with_bundle(Leaf::new(GUN).self_signed(&old));
    let next = |signing: Vec<Key>| first.update(|s| s.rotate("root", vec![renewed.clone()]).sign_with("root", signing));
    assert_eq!(code(again(&next(vec![renewed.clone()]), &held)), "signature");
    assert_eq!(code(again(&next(vec![old, renewed.clone()]), &held)), "accepted");
}

#[test]
fn a_server_cannot_keep_us_walking() {
    let (first, newest) = chain(66);
    let held = open(&first).unwrap();
    assert_eq!(code(again(&newest, &held)), "too-many-roots");
    let mut server = Server::of(&newest);
    server.files.remove("66.root");
    let result = Repository::refresh(&mut server, &gun(), &first_use(), Some(&held), &alice(), now());
    assert_eq!(code(result), "hash"); // 64 steps are followed; the snapshot then lists the 66th
    assert_eq!(code(open(&newest)), "accepted");
}

#[test]
fn a_root_past_its_cap_is_refused() {
    let repo = plant().edit_bytes("root", |mut bytes| {
        bytes.resize((1 << 20) + 1, b' ');
        bytes
    });
    assert_eq!(code(open(&repo.publish())), "too-large");
}

#[test]
fn a_pinned_ca_that_ends_takes_what_was_verified_with_it() {
    let key = Key::p256();
    let ca = Authority::valid("site", now() - hours(10), now() + hours(10));
    let leaf = Leaf::new(GUN).server_auth().valid(now() - hours(10), now() + hours(1000)).signed_by(&key, &ca);
    let repo = rooted(vec![key.with_bundle(leaf)]);
    let opened = open_at(&repo, &pinned(vec![RootPin::ca_from_pem(&ca.pem()).unwrap()]), now()).unwrap();
    assert!(opened.judge(tag("v1"), &[], now() + hours(10)).is_ok());
    let refusal = opened.judge(tag("v1"), &[], now() + hours(11)).unwrap_err();
    assert_eq!(refusal.code(), "root-not-trusted");
}

/// The owner takes a stolen key away. Whoever has it, and can make the refresh that shows so fail, must not get the key
/// back by hiding the new root again.
#[test]
fn a_rotation_that_was_seen_once_is_not_hidden_again() {
    let base = plant().publish();
    let stolen = base.keys("targets");
    let held = open(&base).unwrap();
    let rotated = base.update(|s| s.rotate("targets", vec![Key::p256()]));
    let twice = rotated.update(|s| s.rotate("targets", vec![Key::p256()]));
    let forged = base.update(|s| s.sign_with("targets", stolen).release("v1", OTHER, 5, &["alice"]).touch("targets"));
    assert_eq!(code(again(&forged, &held)), "accepted", "as long as nobody knows");
    let mut without_targets = Server::of(&rotated);
    without_targets.files.remove(&rotated.file_of("targets"));
    let mut bad_end = Server::of(&twice);
    bad_end.files.insert("3.root".to_owned(), b"{}".to_vec());
    bad_end.files.insert("timestamp".to_owned(), b"{}".to_vec());
    // Nothing but the root itself was seen.
    let mut root_alone = Server::of(&rotated);
    root_alone.files.insert("timestamp".to_owned(), b"{}".to_vec());
    for (mut server, expected) in [(without_targets, "missing"), (bad_end, "structure"), (root_alone, "structure")] {
        let result = Repository::refresh_or_note(&mut server, &gun(), &first_use(), Some(&held), &alice(), now());
        let failed = *result.unwrap_err();
        assert_eq!(code::<()>(Err(failed.error)), expected);
        let noted = failed.noted.unwrap();
        assert!(noted.is_superseded());
        assert_ne!(code(again(&forged, &noted)), "accepted");
        assert_eq!(code(again(&twice, &noted)), "accepted");
    }
}
