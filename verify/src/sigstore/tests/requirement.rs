//! How many signers, what is remembered, and the words of a rejection.

use super::super::key::VERIFICATIONS;
use super::*;

/// How many public-key operations this takes.
fn operations(run: impl FnOnce()) -> usize {
    let before = VERIFICATIONS.get();
    run();
    VERIFICATIONS.get() - before
}

#[test]
fn scheme_row_048_distinct_keys_count() {
    let image = plc();
    let (alice, bob) = (Key::p256(), Key::rsa());
    let signers = [signer("alice", &alice), signer("bob", &bob)];
    let payload = Payload::new(&image);
    let (one, again, two) = (
        layer(&payload, &alice).unwrap(),
        layer(&payload, &alice).unwrap(),
        dsse(&Statement::new(&image), &bob).unwrap(),
    );
    assert_eq!(verify(by(&signers), &image, &[&two, &one]).unwrap().signers, ["alice", "bob"], "both formats count");
    let rejection = verify(by(&signers), &image, &[&one, &one, &again]).unwrap_err();
    assert_eq!((rejection.signed, rejection.required, rejection.reasons.first.len()), (1, 2, 0));
    assert_eq!(rejection.missing, ["bob"]);
    assert!(
        rejection.to_string().starts_with("it is signed by 1 of 2 signers, and 2 must have signed; not by bob"),
        "{rejection}"
    );
    // A second name for the same key is no second signer.
    let twins = [signer("alice", &alice), signer("alicia", &alice)];
    assert_eq!(verify(by(&twins), &image, &[&one, &again]).unwrap_err().missing, ["alicia"]);
}

#[test]
fn scheme_row_048_a_threshold_counts_signers() {
    let image = plc();
    let keys = [Key::p256(), Key::p384(), Key::ed25519()];
    let signers: Vec<_> = ["a", "b", "c"].into_iter().zip(&keys).map(|(name, key)| signer(name, key)).collect();
    let signed: Vec<_> = keys.iter().map(|key| layer(&Payload::new(&image), key).unwrap()).collect();
    for threshold in 0..5 {
        let requirement = Requirement { threshold: Some(threshold), ..by(&signers) };
        for count in 0..=signed.len() {
            let some: Vec<_> = signed.iter().take(count).collect();
            let verdict = verify(requirement, &image, &some);
            assert_eq!(verdict.is_ok(), count >= threshold.max(1), "{count} of {threshold}");
            if let Ok(accepted) = verdict {
                assert_eq!(accepted.signers.len(), count, "all who signed are named");
            }
        }
    }
}

#[test]
fn without_signers_nothing_is_signed() {
    let (image, key) = (plc(), Key::p256());
    let signature = layer(&Payload::new(&image), &key).unwrap();
    for threshold in [None, Some(0), Some(1)] {
        let requirement = Requirement { threshold, ..by(&[]) };
        assert!(verify(requirement, &image, &[&signature]).is_err());
        assert!(verify(requirement, &image, &[]).is_err());
    }
}

#[test]
fn each_signature_must_meet_everything_by_itself() {
    let (image, key) = (plc(), Key::p256());
    let signers = [signer("alice", &key)];
    let required = annotations(&[("build", "42")]);
    let mine = "registry.local:9001/plant/plc";
    let requirement = Requirement { annotations: &required, repository: Some(mine), ..by(&signers) };
    let annotated = layer(&Payload::new(&image).reference("other/image").annotation("build", "42"), &key).unwrap();
    let placed = layer(&Payload::new(&image).reference(mine), &key).unwrap();
    let foreign = layer(&Payload::new(&image).reference(mine).annotation("build", "42"), &Key::p256()).unwrap();
    assert!(verify(requirement, &image, &[&annotated, &placed, &foreign]).is_err());
    let whole = layer(&Payload::new(&image).reference(mine).annotation("build", "42"), &key).unwrap();
    assert!(verify(requirement, &image, &[&annotated, &placed, &foreign, &whole]).is_ok());
}

#[test]
fn what_was_verified_once_costs_no_public_key_operation() {
    let image = plc();
    let (key, other) = (Key::p256(), Key::p384());
    let signature = layer(&Payload::new(&image), &key).unwrap();
    let signers = [signer("bob", &other), signer("alice", &key)];
    let requirement = Requirement { threshold: Some(1), ..by(&signers) };
    let run = || assert_eq!(verify(requirement, &image, &[&signature]).unwrap().signers, ["alice"]);
    assert_eq!((operations(run), operations(run)), (2, 0));
    // Remembered is what never changes, and not the verdict.
    let bob = [signer("bob", &other)];
    assert_eq!(operations(|| assert!(verify(by(&bob), &image, &[&signature]).is_err())), 0);
    assert_eq!(operations(|| assert!(verify(requirement, &Image::named("other"), &[&signature]).is_err())), 0);
    let required = annotations(&[("build", "42")]);
    let stricter = Requirement { annotations: &required, ..requirement };
    assert_eq!(operations(|| assert!(verify(stricter, &image, &[&signature]).is_err())), 0);
}

#[test]
fn a_signature_about_another_image_costs_no_public_key_operation() {
    let (image, key) = (plc(), Key::p256());
    let signature = layer(&Payload::new(&Image::named("other")), &key).unwrap();
    let signers = [signer("alice", &key)];
    assert_eq!(operations(|| assert!(verify(by(&signers), &image, &[&signature]).is_err())), 0);
}

#[test]
fn the_keys_of_many_policies_do_not_push_out_a_good_result() {
    let (image, key) = (plc(), Key::p256());
    let signature = layer(&Payload::new(&image), &key).unwrap();
    let size = signature.heap_size();
    let signers = [signer("alice", &key)];
    let run = || assert!(verify(by(&signers), &image, &[&signature]).is_ok());
    assert_eq!(operations(run), 1);
    for _ in 0..300 {
        let stranger = [signer("stranger", &Key::p256())];
        assert!(verify(by(&stranger), &image, &[&signature]).is_err());
    }
    assert_eq!((operations(run), signature.heap_size()), (0, size));
}

/// A policy may have a hundred signers, of whom one signed.
#[test]
fn the_keys_of_a_large_policy_are_all_remembered() {
    let (image, key) = (plc(), Key::ed25519());
    let signature = layer(&Payload::new(&image), &key).unwrap();
    let mut signers: Vec<_> = (0..200).map(|index| signer(&index.to_string(), &Key::ed25519())).collect();
    signers.push(signer("alice", &key));
    let requirement = Requirement { threshold: Some(1), ..by(&signers) };
    let run = || assert_eq!(verify(requirement, &image, &[&signature]).unwrap().signers, ["alice"]);
    assert_eq!((operations(run), operations(run)), (201, 0));
    let stricter = Requirement { threshold: Some(2), ..by(&signers) };
    assert_eq!(operations(|| assert!(verify(stricter, &image, &[&signature]).is_err())), 0);
}

#[test]
fn threads_remember_together() {
    let (image, key) = (plc(), Key::p256());
    let signature = layer(&Payload::new(&image), &key).unwrap();
    let signers = [signer("alice", &key)];
    #[expect(clippy::disallowed_methods, reason = "the product's workers share signatures")]
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20).for_each(|_| assert!(verify(by(&signers), &image, &[&signature]).is_ok())));
        }
    });
    assert_eq!(operations(|| assert!(verify(by(&signers), &image, &[&signature]).is_ok())), 0);
}

#[test]
fn the_size_in_memory_is_never_less_than_the_bytes() {
    let (image, key) = (plc(), Key::p256());
    let long = "x".repeat(10_000);
    for signature in [
        layer(&Payload::new(&image).annotation("a", long.as_str()), &key),
        dsse(&Statement::new(&image).annotation("a", long.as_str()), &key),
    ] {
        let size = signature.unwrap().heap_size();
        assert!((20_000..40_000).contains(&size), "the signed bytes, and the annotation again: {size}");
    }
}

#[test]
fn a_rejection_says_who_is_missing_and_why_each_signature_does_not_count() {
    let image = plc();
    let key = Key::p256();
    let signers = [signer("alice", &key)];
    let rejection = verify(by(&signers), &image, &[]).unwrap_err();
    assert_eq!(rejection.to_string(), "it is not signed by alice");

    let ed25519 = Key::ed25519();
    let signers = [signer("alice", &key), signer("bob", &ed25519), signer("eve", &Key::p256())];
    let foreign = dsse(&Statement::new(&image), &Key::p256()).unwrap();
    let prehashed = bundle(&Bundle::dsse(&Statement::new(&image).bytes(), &Key::p256()).edit(|bundle| {
        bundle["verificationMaterial"]["publicKey"]["hint"] = ed25519.hint().into();
    }));
    let other = layer(&Payload::new(&Image::named("other")), &key).unwrap();
    let text = verify(by(&signers), &image, &[&foreign, &prehashed.unwrap(), &other]).unwrap_err().to_string();
    assert!(
        text.starts_with("it is signed by 0 of 3 signers, and 3 must have signed; not by alice, bob, eve;"),
        "{text}"
    );
    let hint = foreign.hint().unwrap();
    assert!(text.contains(&format!("another key has made it; it names the key {hint}")), "{text}");
    assert!(text.contains("it names the Ed25519 key of bob") && text.contains("Ed25519ph"), "{text}");
    assert!(text.contains("it is about another image"), "{text}");
    assert!(text.contains(&format!("signature manifest {}", foreign.manifest())), "{text}");
}

/// A registry decides how many signatures there are and what they say, and a message has an end.
#[test]
fn a_rejection_has_an_end() {
    let (image, key) = (plc(), Key::p256());
    let signers: Vec<_> = (0..40).map(|index| signer(&format!("signer-{index}"), &Key::p256())).collect();
    let required = annotations(&[("build", "42")]);
    let requirement = Requirement { annotations: &required, ..by(&signers) };
    let mut all = signers.clone();
    all.push(signer("alice", &key));
    let signatures: Vec<_> = (0..32)
        .map(|index| {
            let value = format!("{index}\u{1b}[31m{}", "x".repeat(50_000));
            dsse(&Statement::new(&image).annotation("build", value), &key).unwrap()
        })
        .collect();
    let signatures: Vec<_> = signatures.iter().collect();
    let rejection = verify(Requirement { signers: &all, ..requirement }, &image, &signatures).unwrap_err();
    let text = rejection.to_string();
    assert!(text.contains(" and 33 more;") && text.ends_with("; and 28 more signatures do not count"), "{text}");
    assert!(text.len() < 2000 && !text.chars().any(char::is_control), "{}", text.len());
}
