//! Rows 28 to 48: rotations of the root, and what holds for every root in their chain.

use portreeve_test_support::certificates::{Authority, Leaf};

use super::*;

/// A repository whose root keys are these.
pub(crate) fn rooted(keys: Vec<Key>) -> Repo {
    plant().rotate("root", keys.clone()).version("root", 1).sign_with("root", keys).publish()
}

/// Why a root was not trusted.
pub(crate) fn distrust<T>(result: Result<T, RefreshError>) -> Option<RootDistrust> {
    match result {
        Err(RefreshError::Rejected(Rejection::RootNotTrusted { why, .. })) => Some(why),
        _ => None,
    }
}

/// The result for a second root with these keys, this threshold and these signatures, after a verified root of one key.
struct Rotation {
    base: Repo,
    held: Repository,
    old: Key,
    new: Key,
}

impl Rotation {
    fn new() -> Self {
        let (old, new) = (Key::root(GUN), Key::root(GUN));
        let base = rooted(vec![old.clone()]).update(|s| s.sign_with("root", vec![old.clone()]).version("root", 1));
        Self { held: open(&base).unwrap(), base, old, new }
    }

    fn to(&self, keys: &[&Key], threshold: u64, signing: &[&Key]) -> &'static str {
        let keys_of = |keys: &[&Key]| keys.iter().map(|key| (*key).clone()).collect::<Vec<_>>();
        let next = self.base.update(|s| {
            let s = s.rotate("root", keys_of(keys)).threshold("root", threshold);
            s.version("root", 2).sign_with("root", keys_of(signing))
        });
        code(again(&next, &self.held))
    }
}

#[test]
fn row_028_a_rotation_is_signed_by_old_and_new() {
    let r = Rotation::new();
    assert_eq!(r.to(&[&r.new], 1, &[&r.old, &r.new]), "accepted");
}

#[test]
fn row_029_the_new_signature_alone_is_not_enough() {
    let r = Rotation::new();
    assert_eq!(r.to(&[&r.new], 1, &[&r.new]), "signature");
}

#[test]
fn row_030_the_old_signature_alone_is_not_enough() {
    let r = Rotation::new();
    assert_eq!(r.to(&[&r.new], 1, &[&r.old]), "signature");
}

#[test]
fn row_031_a_raised_threshold_holds_at_once() {
    let r = Rotation::new();
    assert_eq!(r.to(&[&r.old, &r.new], 2, &[&r.old]), "signature");
    assert_eq!(r.to(&[&r.old, &r.new], 2, &[&r.old, &r.new]), "accepted");
}

#[test]
fn row_032_a_lowered_threshold_does_not_hold_for_the_old_keys() {
    // From two of two keys to one of one: one of the old keys is not enough.
    let r = Rotation::new();
    let (two, third) = (vec![r.old.clone(), r.new.clone()], Key::root(GUN));
    let base =
        r.base.update(|s| s.rotate("root", two.clone()).threshold("root", 2).version("root", 2).sign_with("root", two));
    let second = again(&base, &r.held).unwrap();
    assert_eq!(second.root_version(), 2);
    let lowered = |signing: Vec<Key>| {
        let next = base.update(|s| {
            s.rotate("root", vec![third.clone()]).threshold("root", 1).version("root", 3).sign_with("root", signing)
        });
        code(again(&next, &second))
    };
    assert_eq!(lowered(vec![r.old.clone(), third.clone()]), "signature");
    assert_eq!(lowered(vec![r.old.clone(), r.new.clone(), third.clone()]), "accepted");
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

/// The result for changed files, after `held`.
fn served(repo: &Repo, held: &Repository, tamper: impl FnOnce(&mut Server)) -> &'static str {
    let mut server = Server::of(repo);
    tamper(&mut server);
    code(Repository::refresh(&mut server, &gun(), &first_use(), Some(held), &alice(), now()))
}

#[test]
fn row_033_the_chain_is_walked() {
    let (first, newest) = chain(5);
    assert_eq!(again(&newest, &open(&first).unwrap()).unwrap().root_version(), 5);
}

#[test]
fn row_034_a_missing_root_is_a_gap() {
    let (first, newest) = chain(5);
    let held = open(&first).unwrap();
    assert_eq!(served(&newest, &held, |server| drop(server.files.remove("3.root"))), "hash");
    assert_eq!(served(&newest, &held, |server| drop(server.files.remove("5.root"))), "hash");
}

#[test]
fn row_035_a_badly_signed_root_is_a_gap() {
    let (first, newest) = chain(5);
    let stranger = rooted(vec![Key::root(GUN)]).update(|s| s.version("root", 3));
    let gap = served(&newest, &open(&first).unwrap(), |server| {
        server.files.insert("3.root".to_owned(), stranger.bytes("root"));
    });
    assert_eq!(gap, "signature");
}

#[test]
fn row_036_only_the_last_root_must_be_in_date() {
    let first = plant().publish();
    let held = open(&first).unwrap();
    // The metadata and the certificate of the root between them have expired.
    let key = Key::p256();
    let ended = key.with_bundle(Leaf::new(GUN).valid(now() - hours(9), now() - hours(2)).self_signed(&key));
    let middle = first.update(|s| s.rotate("root", vec![ended]).expires("root", now() - hours(1)).version("root", 2));
    let last =
        middle.update(|s| s.rotate("root", vec![Key::root(GUN)]).expires("root", now() + hours(9)).version("root", 3));
    assert_eq!(again(&last, &held).unwrap().root_version(), 3);
    assert_eq!(code(again(&middle, &held)), "root-not-trusted");
}

/// The result for a root with `version`, served as `2.root` after root 1.
fn second_root_saying(version: u64) -> &'static str {
    let first = plant().publish();
    let next = first.update(|s| s.rotate("root", vec![Key::root(GUN)]).version("root", version));
    served(&next, &open(&first).unwrap(), |server| {
        server.files.insert("2.root".to_owned(), next.bytes("root"));
    })
}

/// The result for a snapshot that lists a root of `version`, after root 5, without a chain to it.
fn root_five_to(version: u64) -> &'static str {
    let fifth = plant().version("root", 5).publish();
    let held = open(&fifth).unwrap();
    assert_eq!(held.root_version(), 5);
    code(again(&fifth.update(|s| s.version("root", version)), &held))
}

#[test]
fn row_037_the_second_root_does_not_say_seven() {
    assert_eq!(second_root_saying(7), "root-version");
    assert_eq!(second_root_saying(3), "root-version");
    assert_eq!(second_root_saying(2), "accepted");
}

#[test]
fn row_038_the_second_root_does_not_say_one() {
    assert_eq!(second_root_saying(1), "root-version");
}

#[test]
fn row_039_no_root_is_jumped_over() {
    assert_eq!(root_five_to(9), "hash");
    assert_eq!(root_five_to(6), "accepted");
}

#[test]
fn row_040_the_root_does_not_go_back() {
    assert_eq!(root_five_to(4), "hash");
}

#[test]
fn row_041_one_version_of_the_root_has_one_content() {
    assert_eq!(root_five_to(5), "hash");
}

/// The result for a repository two hours later, where the known root expires in one hour.
fn two_hours_later(first: &Repo, newest: &Repo) -> Result<Repository, RefreshError> {
    let held = open(first).unwrap();
    let later = now() + hours(2);
    Repository::refresh(&mut Server::of(newest), &gun(), &first_use(), Some(&held), &alice(), later)
}

#[test]
fn row_042_from_an_expired_root_the_next_one_is_followed() {
    let first = plant().expires("root", now() + hours(1)).publish();
    let second = first.update(|s| s.expires("root", now() + hours(3)));
    assert_eq!(two_hours_later(&first, &second).unwrap().root_version(), 2);
}

#[test]
fn row_043_from_an_expired_root_the_whole_chain_is_followed() {
    let first = plant().expires("root", now() + hours(1)).publish();
    let second = first.update(|s| s.expires("root", now() + hours(1)).touch("root"));
    let third = second.update(|s| s.rotate("root", vec![Key::root(GUN)]).expires("root", now() + hours(3)));
    assert_eq!(two_hours_later(&first, &third).unwrap().root_version(), 3);
}

#[test]
fn row_048_an_expired_root_without_a_newer_one_ends_it() {
    let first = plant().expires("root", now() + hours(1)).publish();
    assert_eq!(code(two_hours_later(&first, &first)), "expired");
    let second = first.update(|s| s.expires("root", now() + hours(2)));
    assert_eq!(code(two_hours_later(&first, &second)), "expired");
    // On first contact as well.
    assert_eq!(code(open(&plant().expires("root", now()).publish())), "expired");
    assert_eq!(code(open(&plant().expires("root", now() + hours(1)).publish())), "accepted");
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
fn row_045_a_rotated_root_must_be_pinned() {
    let first = plant().publish();
    let next = Key::root(GUN);
    let rotated = first.update(|s| s.rotate("root", vec![next.clone()]));
    let pin = |id: &str| RootPin::KeyId(Sha256::from_hex(id).unwrap());
    let under = |pins: Vec<RootPin>| {
        let held = open_at(&first, &pinned(pins.clone()), now()).unwrap();
        let anchor = pinned(pins);
        Repository::refresh(&mut Server::of(&rotated), &gun(), &anchor, Some(&held), &alice(), now())
    };
    let (old, new) = (pin(&first.root_key_id()), pin(&next.id()));
    assert_eq!(distrust(under(vec![old.clone()])), Some(RootDistrust::NotPinned));
    assert_eq!(under(vec![old, new]).unwrap().root_version(), 2);
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
    assert!(opened.find_target(tag("v1"), &[], now() + hours(10)).is_ok());
    let refusal = opened.find_target(tag("v1"), &[], now() + hours(11)).unwrap_err();
    assert_eq!(refusal.code(), "root-not-trusted");
}

/// The owner removes a stolen key. A thief who can make the refresh fail that shows this must not get the key back by hiding the
/// new root again.
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
    // Nothing but the root itself was verified.
    let mut root_alone = Server::of(&rotated);
    root_alone.files.insert("timestamp".to_owned(), b"{}".to_vec());
    for (mut server, expected) in [(without_targets, "missing"), (bad_end, "structure"), (root_alone, "structure")] {
        let result = Repository::refresh_with_state(&mut server, &gun(), &first_use(), Some(&held), &alice(), now());
        let failed = *result.unwrap_err();
        assert_eq!(code::<()>(Err(failed.error)), expected);
        let noted = held.with_state(&failed.state.unwrap());
        assert!(noted.is_superseded());
        assert_ne!(code(again(&forged, &noted)), "accepted");
        assert_eq!(code(again(&twice, &noted)), "accepted");
    }
}
