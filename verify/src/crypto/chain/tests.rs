//! What a path may be, and what a hostile bundle can make us do. The rows of TRUST.md are in `tuf/tests/anchor.rs`.

use std::cell::Cell;

use portreeve_test_support::notation::{self as support, Extension, Kind, Spec, extended_key_usage};

use super::*;

thread_local! {
    /// How many signatures this thread has checked, and how many paths it has tried.
    pub(super) static STEPS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn leaf() -> Spec {
    Spec::leaf("registry.local/plc", Kind::P256).with(extended_key_usage(&[1]))
}

fn ca(name: &str) -> Spec {
    Spec::ca(name, Kind::P256)
}

/// Is there a path? Also how many signatures were checked and how many paths were tried.
fn search(bundle: &[support::Certificate], pin: &support::Certificate) -> (bool, (usize, usize)) {
    let bundle: Vec<_> = bundle.iter().map(|certificate| Certificate::from_der(&certificate.der).unwrap()).collect();
    STEPS.set((0, 0));
    let found = valid_until(&bundle, &pin.der, Timestamp::from_second(1_796_083_200).unwrap());
    (found.is_some(), STEPS.get())
}

#[test]
fn the_order_of_the_intermediates_does_not_matter() {
    let root = ca("Root").self_signed();
    let mut bundle = vec![root.clone()];
    for number in 0..MAX_INTERMEDIATES {
        bundle.insert(0, ca(&format!("CA {number}")).signed_by(&bundle[0]));
    }
    let signer = leaf().signed_by(&bundle[0]);
    bundle.pop();
    for _ in 0..bundle.len() {
        bundle.rotate_left(1);
        let all = [&[signer.clone()][..], &bundle].concat();
        assert!(search(&all, &root).0);
        let reversed = [&[signer.clone()][..], &bundle.iter().rev().cloned().collect::<Vec<_>>()].concat();
        assert!(search(&reversed, &root).0);
        assert!(!search(&all[..all.len() - 1], &root).0);
    }
    // One more is too many.
    let last = ca("CA").signed_by(&bundle[0]);
    assert!(!search(&[&[leaf().signed_by(&last), last][..], &bundle].concat(), &root).0);
}

/// A CA's certificate was renewed, or is certified by two roots.
#[test]
fn another_certificate_of_the_same_key_is_tried() {
    let (old, new) = (ca("Old root").self_signed(), ca("New root").self_signed());
    let intermediate = ca("CA");
    let signer = leaf().signed_by(&intermediate.self_signed());
    let [by_old, by_new] = [&old, &new].map(|root| intermediate.signed_by(root));
    for (bundle, pin) in [([&by_old, &by_new], &old), ([&by_old, &by_new], &new), ([&by_new, &by_old], &old)] {
        assert!(search(&[signer.clone(), bundle[0].clone(), bundle[1].clone()], pin).0);
    }
    // One that webpki refuses for its limits stands before one that is sound.
    let constraints: Extension = (vec![0x55, 29, 30], true, name_constraints(b"other.example"));
    let limited = intermediate.clone().with(constraints).signed_by(&old);
    assert!(!search(&[named(&intermediate), limited.clone()], &old).0);
    assert!(search(&[named(&intermediate), limited, by_old], &old).0);
}

/// A leaf with a DNS name.
fn named(issuer: &Spec) -> support::Certificate {
    let names = [&[0x30, 15, 0x82, 13][..], b"plant.example"].concat();
    leaf().with((vec![0x55, 29, 17], false, names)).signed_by(&issuer.self_signed())
}

/// Only below this domain.
fn name_constraints(domain: &[u8]) -> Vec<u8> {
    let length = u8::try_from(domain.len()).unwrap();
    [&[0x30, length + 6, 0xa0, length + 4, 0x30, length + 2, 0x82, length][..], domain].concat()
}

/// As many certificates as a bundle may have, all with one name, that have signed each other or have not.
#[test]
fn certificates_with_one_name_take_little() {
    let pin = ca("One").self_signed();
    let keys: Vec<Spec> = (0..15).map(|_| ca("One")).collect();
    // Each by its own key.
    let alone: Vec<_> = keys.iter().map(Spec::self_signed).collect();
    // Each by the next one.
    let ring: Vec<_> = (0..15).map(|at| keys[at].signed_by(&keys[(at + 1) % 15].self_signed())).collect();
    // Each by the key that has signed the leaf.
    let star: Vec<_> = keys.iter().map(|key| key.signed_by(&alone[0])).collect();
    for others in [alone.clone(), ring, star] {
        for signer in [leaf().signed_by(&alone[0]), leaf().signed_by(&ca("One").self_signed())] {
            let (found, (signatures, paths)) = search(&[&[signer][..], &others].concat(), &pin);
            assert!(!found && signatures <= MAX_CHECKS && paths == 0, "{signatures} {paths}");
        }
    }
    // Each by the pinned CA itself, and none is sound: the leaf is for another purpose.
    let other = Spec::leaf("registry.local/plc", Kind::P256);
    let below: Vec<_> = keys.iter().map(|_| keys[0].signed_by(&pin)).collect();
    let bundle = [&[other.signed_by(&alone[0])][..], &below].concat();
    let (found, (signatures, paths)) = search(&bundle, &pin);
    assert!(!found && signatures <= MAX_CHECKS && paths == MAX_PATHS, "{signatures} {paths}");
}
