//! Rows 1 to 27: a root at first contact; its certificates, pins, thresholds and structure.

use portreeve_test_support::certificates::{Authority, Leaf};
use serde_json::json;

use super::root::{distrust, rooted};
use super::*;

fn named(common_name: &str) -> Repo {
    rooted(vec![Key::root(common_name)])
}

#[test]
fn row_001_a_self_signed_root_is_trusted_on_first_use() {
    assert_eq!(code(open(&plant().publish())), "accepted");
}

#[test]
fn row_002_without_first_use_and_pins_there_is_no_anchor() {
    let forbidden = Anchor { pins: std::sync::Arc::default(), first_use: FirstUse::Forbidden };
    assert_eq!(distrust(open_at(&plant().publish(), &forbidden, now())), Some(RootDistrust::NoAnchor));
}

#[test]
fn row_003_a_certificate_of_another_repository_is_refused() {
    for other in ["registry.local:9001/plant/other", "registry.local:9001/plant", "registry.local:9001/plant/plc2"] {
        let result = open(&named(other));
        let words = result.as_ref().unwrap_err().to_string();
        assert!(words.contains(&format!("for another repository, \"{other}\"")), "{words}");
        assert_eq!(distrust(result), Some(RootDistrust::OtherRepository { name: other.to_owned() }));
    }
}

#[test]
fn row_004_the_common_name_may_be_a_prefix_with_a_star() {
    for good in [GUN, "*", "registry.local:9001/plant/*", "registry.local:9001/plant/plc*", "reg*"] {
        assert_eq!(code(open(&named(good))), "accepted", "{good}");
    }
}

#[test]
fn row_005_the_common_name_is_compared_exactly() {
    for bad in [
        "registry.local:9001/*/plc",
        "REGISTRY.local:9001/plant/plc",
        "",
        "registry.local:9001/plant/plc/",
        "registry.local:9001/plant/plc/*",
        "*plc",
        "**",
    ] {
        let other = RootDistrust::OtherRepository { name: bad.to_owned() };
        let expected = if bad.is_empty() { RootDistrust::Certificate } else { other };
        assert_eq!(distrust(open(&named(bad))), Some(expected), "{bad}");
    }
}

/// A root key in a certificate under a CA, and a repository that is rooted in it.
struct Pinnable {
    ca: Authority,
    key: Key,
    repo: Repo,
}

impl Pinnable {
    fn new() -> Self {
        let (ca, key) = (Authority::new(), Key::p256());
        let key = key.with_bundle(Leaf::new(GUN).server_auth().signed_by(&key, &ca));
        Self { repo: rooted(vec![key.clone()]), ca, key }
    }

    fn id(&self) -> RootPin {
        RootPin::KeyId(Sha256::from_hex(&self.key.id()).unwrap())
    }

    fn certificate(&self) -> RootPin {
        RootPin::certificate_from_pem(&self.repo.root_certificate_pem()).unwrap()
    }

    fn ca(&self) -> RootPin {
        RootPin::ca_from_pem(&self.ca.pem()).unwrap()
    }

    /// The result with these pins, where first use is allowed.
    fn under(&self, pins: Vec<RootPin>) -> &'static str {
        code(open_at(&self.repo, &pinned(pins), now()))
    }
}

fn wrong_id() -> RootPin {
    RootPin::KeyId(Sha256::new([1; 32]))
}

fn wrong_certificate() -> RootPin {
    RootPin::Certificate(b"other".to_vec())
}

#[test]
fn row_006_a_pin_is_the_bundles_id_or_its_certificate() {
    let plant = Pinnable::new();
    assert_eq!(plant.under(vec![plant.id()]), "accepted");
    assert_eq!(plant.under(vec![wrong_id(), plant.id()]), "accepted");
    assert_eq!(plant.under(vec![plant.certificate()]), "accepted");
    assert_eq!(plant.under(vec![wrong_id(), plant.certificate()]), "accepted");
}

#[test]
fn row_007_a_wrong_pin_never_falls_through_to_first_use() {
    let plant = Pinnable::new();
    assert_eq!(plant.under(vec![wrong_id()]), "root-not-trusted");
    assert_eq!(plant.under(vec![wrong_certificate()]), "root-not-trusted");
}

#[test]
fn row_008_the_bare_keys_id_is_no_pin() {
    let plant = Pinnable::new();
    let bare = RootPin::KeyId(Sha256::from_hex(&plant.key.bare().id()).unwrap());
    assert_eq!(plant.under(vec![bare]), "root-not-trusted");
}

#[test]
fn row_010_certificates_and_ids_come_before_cas() {
    let plant = Pinnable::new();
    assert_eq!(plant.under(vec![wrong_id(), plant.ca()]), "root-not-trusted");
    assert_eq!(plant.under(vec![plant.ca(), wrong_certificate()]), "root-not-trusted");
    assert_eq!(plant.under(vec![plant.ca(), plant.id()]), "accepted");
    assert_eq!(plant.under(vec![plant.ca()]), "accepted");
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

/// The result for a repository whose root key has these certificates, with a pin of this CA.
fn under_ca(key: &Key, bundle: String, pin: &Authority) -> &'static str {
    let pins = vec![RootPin::ca_from_pem(&pin.pem()).unwrap()];
    code(open_at(&rooted(vec![key.with_bundle(bundle)]), &pinned(pins), now()))
}

#[test]
fn row_011_a_ca_pin_holds_through_bundled_intermediates() {
    let (ca, key) = (Authority::named("site"), Key::p256());
    let middle = ca.intermediate("middle");
    let below = middle.intermediate("below");
    for leaf in [Leaf::new(GUN).server_auth(), Leaf::new(GUN).any_purpose()] {
        assert_eq!(under_ca(&key, leaf.signed_by(&key, &ca), &ca), "accepted");
        assert_eq!(under_ca(&key, leaf.signed_by(&key, &middle) + &middle.pem(), &ca), "accepted");
        assert_eq!(under_ca(&key, leaf.signed_by(&key, &below) + &below.pem() + &middle.pem(), &ca), "accepted");
        assert_eq!(under_ca(&key, leaf.signed_by(&key, &middle), &middle), "accepted");
    }
}

#[test]
fn row_012_without_a_chain_to_the_pinned_ca_there_is_no_trust() {
    let (from, until) = (now() - hours(1000), now() + hours(1000));
    let (ca, key) = (Authority::named("site"), Key::p256());
    let middle = ca.intermediate("middle");
    let old = Authority::valid("old", from - hours(1000), from);
    let leaf = Leaf::new(GUN).server_auth().valid(from, until);
    let namesake = Authority::named("site");
    assert_eq!(under_ca(&key, leaf.signed_by(&key, &middle) + &middle.pem(), &namesake), "root-not-trusted");
    assert_eq!(under_ca(&key, leaf.signed_by(&key, &middle), &ca), "root-not-trusted");
    assert_eq!(under_ca(&key, leaf.signed_by(&key, &old), &old), "root-not-trusted");
    assert_eq!(under_ca(&key, leaf.self_signed(&key), &ca), "root-not-trusted");
    // The same CA, in date.
    let current = Authority::valid("current", from, until);
    assert_eq!(under_ca(&key, leaf.signed_by(&key, &current), &current), "accepted");
}

#[test]
fn row_013_a_leaf_for_code_signing_alone_does_not_chain() {
    let (ca, key) = (Authority::named("site"), Key::p256());
    assert_eq!(under_ca(&key, Leaf::new(GUN).signed_by(&key, &ca), &ca), "root-not-trusted");
}

#[test]
fn row_105_a_chain_keeps_the_limits_that_its_cas_set() {
    let (ca, key) = (Authority::named("site"), Key::p256());
    let leaf = Leaf::new(GUN).server_auth();
    let above = ca.intermediate_followed_by("above", 0);
    let below = above.intermediate("below");
    assert_eq!(under_ca(&key, leaf.signed_by(&key, &above) + &above.pem(), &ca), "accepted");
    assert_eq!(
        under_ca(&key, leaf.signed_by(&key, &below) + &below.pem() + &above.pem(), &ca),
        "root-not-trusted",
        "one intermediate too many below an intermediate"
    );
    // The pinned CA's own limit.
    for (allowed, one, two) in
        [(0, "root-not-trusted", "root-not-trusted"), (1, "accepted", "root-not-trusted"), (2, "accepted", "accepted")]
    {
        let ca = Authority::followed_by("narrow", allowed);
        let above = ca.intermediate("above");
        let below = above.intermediate("below");
        assert_eq!(under_ca(&key, leaf.signed_by(&key, &ca), &ca), "accepted");
        assert_eq!(under_ca(&key, leaf.signed_by(&key, &above) + &above.pem(), &ca), one, "{allowed}");
        let bundle = leaf.signed_by(&key, &below) + &below.pem() + &above.pem();
        assert_eq!(under_ca(&key, bundle, &ca), two, "{allowed}");
    }
    // A CA whose key may not sign certificates.
    let mute = ca.intermediate_without_cert_sign("mute");
    assert_eq!(under_ca(&key, leaf.signed_by(&key, &mute) + &mute.pem(), &ca), "root-not-trusted");
    let beside = ca.intermediate("middle");
    let bundle = leaf.signed_by(&key, &beside) + &mute.pem() + &beside.pem();
    assert_eq!(under_ca(&key, bundle, &ca), "accepted", "one that is not used does no harm");
    let mute = Authority::without_cert_sign("mute");
    assert_eq!(RootPin::ca_from_pem(&mute.pem()), Err(PinError::MayNotIssue));
    let bundle = leaf.signed_by(&key, &mute);
    let pins = pinned(vec![RootPin::Ca(mute.der())]);
    assert_eq!(code(open_at(&rooted(vec![key.with_bundle(bundle)]), &pins, now())), "root-not-trusted");
}

#[test]
fn row_106_dates_at_the_ends_of_time_are_dates() {
    let key = Key::p256();
    let leaf = Leaf::new(GUN).server_auth().valid_from_1969_for_ever();
    let root = key.with_bundle(leaf.self_signed(&key));
    let endless = |signer: Signer| {
        let roles = ["root", "timestamp", "snapshot", "targets", "targets/releases", "targets/alice"];
        roles
            .into_iter()
            .fold(signer, |signer, role| signer.edit(role, |signed| signed["expires"] = json!("9999-12-31T23:59:59Z")))
    };
    let repo = endless(plant().rotate("root", vec![root.clone()]).version("root", 1)).publish();
    let opened = open(&repo).unwrap();
    assert!(opened.find_target(tag("v1"), &[as_alice(&repo)], now()).is_ok());
    assert!(opened.expiries().iter().all(|role| role.expires == Timestamp::MAX), "{:?}", opened.expiries());
    let pin = RootPin::KeyId(Sha256::from_hex(&root.id()).unwrap());
    assert_eq!(code(open_at(&repo, &pinned(vec![pin]), now())), "accepted");
    // An expiry before 1970 is an expiry.
    let over = "1969-12-31T23:59:59Z".parse::<Timestamp>().unwrap();
    let leaf = Leaf::new(GUN).valid(over - hours(1), over).self_signed(&key);
    assert_eq!(distrust(open(&rooted(vec![key.with_bundle(leaf)]))), Some(RootDistrust::OutOfDate));
    let expired = plant().edit("timestamp", |signed| signed["expires"] = json!("1969-12-31T23:59:59Z")).publish();
    assert_eq!(code(open(&expired)), "expired");
}

/// A root key with a certificate that is valid between these hours from now.
fn dated(from: i64, until: i64) -> Key {
    let key = Key::p256();
    key.with_bundle(Leaf::new(GUN).valid(now() + hours(from), now() + hours(until)).self_signed(&key))
}

/// A root with an expired and a valid certificate, which one of them signs.
fn signed_by_one_of(expired: &Key, valid: &Key, signing: &Key) -> Repo {
    let keys = vec![expired.clone(), valid.clone()];
    plant().rotate("root", keys).version("root", 1).sign_with("root", vec![signing.clone()]).publish()
}

#[test]
fn row_014_certificates_out_of_date_are_refused() {
    assert_eq!(distrust(open(&rooted(vec![dated(-100, -1)]))), Some(RootDistrust::OutOfDate));
    assert_eq!(distrust(open(&rooted(vec![dated(25, 100)]))), Some(RootDistrust::OutOfDate));
    assert_eq!(code(open(&rooted(vec![dated(-100, 0)]))), "accepted"); // to the last second (RFC 5280 §4.1.2.5)
}

#[test]
fn row_015_signers_clocks_may_run_a_day_ahead() {
    assert_eq!(code(open(&rooted(vec![dated(23, 100)]))), "accepted");
    assert_eq!(code(open(&rooted(vec![dated(24, 100)]))), "accepted");
}

#[test]
fn row_016_an_expired_certificates_signature_does_not_count() {
    let (expired, valid) = (dated(-100, -1), dated(-100, 100));
    assert_eq!(code(open(&signed_by_one_of(&expired, &valid, &expired))), "root-not-trusted");
}

#[test]
fn row_017_beside_an_expired_certificate_the_valid_one_signs() {
    let (expired, valid) = (dated(-100, -1), dated(-100, 100));
    assert_eq!(code(open(&signed_by_one_of(&expired, &valid, &valid))), "accepted");
}

#[test]
fn row_018_an_expired_intermediate_spoils_its_bundle() {
    let ca = Authority::new();
    let middle = ca.intermediate_valid("middle", now() - hours(100), now() - hours(1));
    let key = Key::p256();
    let key = key.with_bundle(Leaf::new(GUN).signed_by(&key, &middle) + &middle.pem());
    assert_eq!(distrust(open(&rooted(vec![key]))), Some(RootDistrust::OutOfDate));
}

#[test]
fn a_certificate_that_ends_while_we_remember_ends_the_answer() {
    let key = Key::p256();
    let key = key.with_bundle(Leaf::new(GUN).valid(now() - hours(1), now() + hours(1)).self_signed(&key));
    let opened = open(&rooted(vec![key])).unwrap();
    assert!(opened.find_target(tag("v1"), &[], now()).is_ok());
    assert!(opened.find_target(tag("v1"), &[], now() + hours(1)).is_ok());
    let refusal = opened.find_target(tag("v1"), &[], now() + hours(1) + SignedDuration::from_secs(1)).unwrap_err();
    assert!(matches!(refusal, Rejection::RootNotTrusted { why: RootDistrust::OutOfDate, .. }));
    assert_eq!(opened.expiries()[0].expires, now() + hours(1));
}

#[test]
fn the_answer_ends_when_too_few_certificates_are_left() {
    let keys = || vec![dated(-1, 5), dated(-1, 1), dated(-1, 3)];
    for (threshold, end) in [(1, 5), (2, 3), (3, 1)] {
        let keys = keys();
        let signer = plant().rotate("root", keys.clone()).threshold("root", threshold).sign_with("root", keys);
        let opened = open(&signer.version("root", 1).publish()).unwrap();
        assert_eq!(opened.expiries()[0].expires, now() + hours(end), "threshold {threshold}");
        assert!(opened.find_target(tag("v1"), &[], now() + hours(end)).is_ok());
        assert!(opened.find_target(tag("v1"), &[], now() + hours(end) + hours(1)).is_err());
    }
    // Of two certificates of one key, which are one key, the later end counts.
    let one = dated(-1, 1);
    let twin = one.with_bundle(Leaf::new(GUN).valid(now() - hours(1), now() + hours(4)).self_signed(&one));
    let opened = open(&rooted(vec![one, twin])).unwrap();
    assert_eq!(opened.expiries()[0].expires, now() + hours(4));
}

/// Each of two signatures passes some of the checks. None passes all, so none counts.
#[test]
fn one_key_must_pass_every_check() {
    let (expired, other) = (dated(-100, -1), Key::root("registry.local:9001/plant/other"));
    assert_eq!(distrust(open(&rooted(vec![expired.clone(), other]))), Some(RootDistrust::OutOfDate));
    let valid = dated(-100, 100);
    let repo = rooted(vec![expired.clone(), valid.clone()]);
    let under = |key: &Key| {
        distrust(open_at(&repo, &pinned(vec![RootPin::KeyId(Sha256::from_hex(&key.id()).unwrap())]), now()))
    };
    assert_eq!(under(&expired), Some(RootDistrust::NotPinned));
    assert_eq!(under(&valid), None);
}

/// The result for a root whose only key is in this PEM text.
fn in_pem(key: &Key, pem: String) -> &'static str {
    code(open(&rooted(vec![key.with_bundle(pem)])))
}

#[test]
fn row_019_a_bundle_is_one_leaf_and_then_its_cas() {
    let (ca, key) = (Authority::new(), Key::p256());
    let leaf = Leaf::new(GUN).signed_by(&key, &ca);
    let other = Leaf::new(GUN).self_signed(&Key::p256());
    assert_eq!(in_pem(&key, leaf.clone() + &ca.pem()), "accepted");
    assert_eq!(in_pem(&key, ca.pem() + &leaf), "signature");
    assert_eq!(in_pem(&key, leaf.clone() + &other), "root-not-trusted");
    assert_eq!(in_pem(&key, leaf + &ca.pem() + &other), "root-not-trusted");
    assert_eq!(in_pem(&key, Leaf::new(GUN).ca().self_signed(&key)), "root-not-trusted");
    assert_eq!(in_pem(&key, String::new()), "signature");
}

#[test]
fn row_020_a_bare_key_is_no_root_key() {
    assert_eq!(distrust(open(&rooted(vec![Key::p256()]))), Some(RootDistrust::Certificate));
    assert_eq!(distrust(open(&rooted(vec![Key::ed25519()]))), Some(RootDistrust::Certificate));
}

#[test]
fn row_021_keys_are_of_the_type_and_in_the_form_that_gives_their_id() {
    let key = Key::p256();
    let leaf = Leaf::new(GUN).self_signed(&key);
    assert_eq!(in_pem(&key, leaf.clone()), "accepted");
    assert_eq!(in_pem(&key, leaf.replace('\n', "\r\n")), "signature");
    assert_eq!(in_pem(&key, format!("{leaf}\n")), "signature");
    assert_eq!(in_pem(&key, format!("junk\n{leaf}")), "signature");
    // An ECDSA certificate under the type RSA. Its ID fits this type, but it never counts.
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

/// A root with these keys and a threshold of two, and with the signatures of the others.
fn two_of(keys: Vec<Key>, signing: Vec<Key>) -> Repo {
    let signer = plant().rotate("root", keys).version("root", 1).threshold("root", 2);
    signer.version("root", 1).sign_with("root", signing).publish()
}

#[test]
fn row_023_a_threshold_of_two_wants_two_keys() {
    let (one, two) = (Key::root(GUN), Key::root(GUN));
    let both = || vec![one.clone(), two.clone()];
    assert_eq!(code(open(&two_of(both(), both()))), "accepted");
    assert_eq!(code(open(&two_of(both(), vec![one.clone()]))), "signature");
    assert_eq!(code(open(&two_of(both(), vec![one.clone(), one.clone()]))), "signature");
    let repeated = two_of(vec![one.clone()], vec![one.clone()]).update(|signer| {
        signer.version("root", 1).edit("root", |signed| {
            let id = signed["roles"]["root"]["keyids"][0].clone();
            signed["roles"]["root"]["keyids"] = json!([id, id]);
        })
    });
    assert_eq!(code(open(&repeated)), "signature");
}

#[test]
fn row_024_two_certificates_of_one_key_are_one_key() {
    let one = Key::root(GUN);
    let twin = one.with_bundle(Leaf::new("*").self_signed(&one));
    assert_ne!(one.id(), twin.id());
    assert_eq!(code(open(&two_of(vec![one.clone(), twin.clone()], vec![one, twin]))), "signature");
}

#[test]
fn row_025_a_key_under_an_alias_never_counts() {
    let one = Key::root(GUN);
    let alias = "0".repeat(64);
    let (id, signed_alias, old_id) = (one.id(), alias.clone(), one.id());
    let repo = plant()
        .rotate("root", vec![one.clone()])
        .version("root", 1)
        .sign_with("root", vec![one])
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

/// The result of an edit of the signed part of the root.
fn edited(edit: fn(&mut serde_json::Value)) -> &'static str {
    code(open(&plant().edit("root", edit).publish()))
}

#[test]
fn row_026_thresholds_versions_and_roles_are_there() {
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
}

#[test]
fn row_027_there_is_room_for_more() {
    assert_eq!(
        edited(|s| {
            s["roles"]["mirror"] = json!({"keyids": [], "threshold": 1, "extra": true});
            s["keys"]["0"] = json!({"keytype": "unheard-of"});
            s["x-extra"] = json!([1, null]);
        }),
        "accepted"
    );
}
