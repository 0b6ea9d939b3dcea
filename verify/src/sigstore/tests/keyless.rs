//! Certificates under a trusted root: SCHEMES.md, rows 73 to 85, 90 and 91.

use std::sync::Arc;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, OtherNameValue, SanType, date_time_ymd};
use serde_json::{Value, json};

use super::plant::{
    ISSUER, Plant, Read as _, SIGNED, SUBJECT, Signing, base64, identity, keyless_layer, names, read_root, uri,
};
use super::*;
use crate::sigstore::TrustedRoot;
use crate::sigstore::key::VERIFICATIONS;

/// Who signed, under a policy with this one identity.
fn by_identity(
    signing: &Signing,
    image: &Image,
    root: &Arc<TrustedRoot>,
    signer: &Signer,
) -> Result<(), (&'static str, String)> {
    by_identity_of(signing, image, root, signer, true)
}

fn by_identity_of(
    signing: &Signing,
    image: &Image,
    root: &Arc<TrustedRoot>,
    signer: &Signer,
    sct_required: bool,
) -> Result<(), (&'static str, String)> {
    let signers = std::slice::from_ref(signer);
    let requirement = Requirement { trusted_root: Some(root), sct_required, now: 1_796_083_200, ..by(signers) };
    let signature = signing.read().map_err(|error| (error.code(), error.to_string()))?;
    let found = requirement.signers_of(about(image), &signature);
    assert_eq!(found.is_ok(), requirement.verify(about(image), &[&signature]).is_ok());
    found.map(|found| assert_eq!(found, ["ci"])).map_err(|error| {
        let text = error.to_string();
        assert!(!text.chars().any(char::is_control), "{text}");
        (error.code(), text)
    })
}

fn ci() -> Signer {
    identity(ISSUER, SUBJECT)
}

/// Is a certificate with these changes accepted for this identity?
fn with_leaf(edit: &dyn Fn(&mut CertificateParams), signer: &Signer) -> Result<(), (&'static str, String)> {
    let (plant, image) = (Plant::new(), plc());
    let leaf = plant.with_sct(&plant.ct_log, SIGNED, edit);
    let signing = Signing::keyless(&plant, &image, &leaf, SIGNED);
    by_identity(&signing, &image, &read_root(&plant.trusted_root()), signer)
}

fn assert_why(result: Result<(), (&'static str, String)>, words: &str) {
    let (_, text) = result.unwrap_err();
    assert!(text.contains(words), "{text}\ndoes not say: {words}");
}

#[test]
fn scheme_row_073_the_identity_of_the_policy() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    by_identity(&signing, &image, &root, &ci()).unwrap();
    by_identity(&signing, &image, &root, &identity(ISSUER, "https://git.plant.example/*@refs/heads/main")).unwrap();
    let (code, text) =
        by_identity(&signing, &image, &root, &identity(ISSUER, "https://git.plant.example/other")).unwrap_err();
    assert_eq!(
        (code, text.as_str()),
        (
            "other-identity",
            &*format!("it was made by {SUBJECT} of {ISSUER}, and the policy does not name this identity")
        )
    );
    let (code, _) =
        by_identity(&signing, &image, &root, &identity("https://issuer.other.example", SUBJECT)).unwrap_err();
    assert_eq!(code, "other-identity");
    // Another image.
    let other = Image::named("other");
    assert_eq!(by_identity(&signing, &other, &root, &ci()).unwrap_err().0, "other-image");
    // Without a trusted root nothing counts.
    let signers = [ci()];
    let signature = signing.read().unwrap();
    assert_eq!(why(by(&signers).signers_of(about(&image), &signature)).0, "unproven");
    // A key of a policy is not the key of a certificate.
    let signers = [signer("alice", &plant.signer)];
    let requirement = Requirement { trusted_root: Some(&root), ..by(&signers) };
    assert_eq!(why(requirement.signers_of(about(&image), &signature)).0, "certificate");
    // Keys and identities count side by side.
    let signers = [signer("alice", &plant.log), ci()];
    let requirement = Requirement { trusted_root: Some(&root), threshold: Some(1), ..by(&signers) };
    assert_eq!(requirement.verify(about(&image), &[&signature]).unwrap().signers, ["ci"]);
    assert!(Requirement { threshold: None, ..requirement }.verify(about(&image), &[&signature]).is_err());
    // A signature by a key has no identity.
    let (_, text) = by_identity(&Signing::logged(&plant, &image, SIGNED), &image, &root, &ci()).unwrap_err();
    assert!(text.contains("it was made with a key, and the policy names identities"), "{text}");
}

#[test]
fn scheme_row_075_the_whole_subject_and_no_other_spelling() {
    let subject = |text: &str| names(uri(text), None, Some(ISSUER));
    with_leaf(&subject(SUBJECT), &ci()).unwrap();
    for other in [
        format!("{SUBJECT}x"),
        format!("x{SUBJECT}"),
        SUBJECT.to_uppercase(),
        format!("https://evil.example/?{SUBJECT}"),
    ] {
        assert_eq!(with_leaf(&subject(&other), &ci()).unwrap_err().0, "other-identity", "{other}");
    }
    // Nor what an operator would not see in a message or a log, whatever the pattern.
    for control in ["\n", "\0", "\x1b", "\x7f"] {
        let signer = identity(ISSUER, "https://*");
        let found = with_leaf(&subject(&format!("{SUBJECT}{control}")), &signer);
        assert_why(found, "not exactly one subject alternative name");
    }
    let mail = SanType::Rfc822Name("release@plant.example".try_into().unwrap());
    with_leaf(&names(mail.clone(), None, Some(ISSUER)), &identity(ISSUER, "release@plant.example")).unwrap();
    let other =
        SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 57264, 1, 7], OtherNameValue::Utf8String("robot".to_owned())));
    with_leaf(&names(other, None, Some(ISSUER)), &identity(ISSUER, "robot")).unwrap();
    // Of another kind, or two of them: which one would be meant?
    let dns = SanType::DnsName("plant.example".try_into().unwrap());
    assert_why(
        with_leaf(&names(dns, None, Some(ISSUER)), &identity(ISSUER, "plant.example")),
        "subject alternative name",
    );
    let two = move |params: &mut CertificateParams| params.subject_alt_names.push(mail.clone());
    assert_why(with_leaf(&two, &ci()), "subject alternative name");
    assert_why(with_leaf(&|params| params.subject_alt_names.clear(), &ci()), "subject alternative name");
}

#[test]
fn scheme_row_076_both_fields_for_the_issuer_agree() {
    with_leaf(&names(uri(SUBJECT), Some(ISSUER), None), &ci()).unwrap();
    with_leaf(&names(uri(SUBJECT), None, Some(ISSUER)), &ci()).unwrap();
    for (old, new) in
        [(Some("https://evil.example"), Some(ISSUER)), (Some(ISSUER), Some("https://evil.example")), (None, None)]
    {
        assert_why(with_leaf(&names(uri(SUBJECT), old, new), &ci()), "issuer of its identity");
    }
}

#[test]
fn scheme_row_077_078_every_certificate_is_in_date_when_it_was_signed() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    // The certificate ended months ago.
    for (time, is_in) in [
        (SIGNED, true),
        (SIGNED - 12 * 3600, true),
        (SIGNED - 12 * 3600 - 1, false),
        (SIGNED + 12 * 3600, true),
        (SIGNED + 12 * 3600 + 1, false),
    ] {
        let result = by_identity(&Signing::keyless(&plant, &image, &plant.leaf(), time), &image, &root, &ci());
        assert_eq!(result.is_ok(), is_in, "{time}: {result:?}");
    }
    let signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    let with_validity = |start: &str, end: Option<&str>| {
        let mut root = plant.trusted_root();
        root["certificateAuthorities"][0]["validFor"] = json!({"start": start, "end": end});
        by_identity(&signing, &image, &read_root(&root), &ci())
    };
    with_validity("2026-03-02T12:00:00Z", Some("2026-03-02T12:00:00Z")).unwrap();
    assert_why(with_validity("2026-03-02T12:00:01Z", None), "the authority of its certificate was not in date");
    assert_why(
        with_validity("2026-01-01T00:00:00Z", Some("2026-03-02T11:59:59.999Z")),
        "was not in date or not trusted",
    );
}

#[test]
fn scheme_row_078_an_intermediate_that_was_not_in_date() {
    let (mut plant, image) = (Plant::new(), plc());
    for (edit, is_in) in [(date_time_ymd(2026, 3, 2), true), (date_time_ymd(2026, 3, 3), false)]
        .map(|(from, is_in)| (move |params: &mut CertificateParams| params.not_before = from, is_in))
    {
        plant.intermediate = plant.root.intermediate(edit);
        let signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
        let result = by_identity(&signing, &image, &read_root(&plant.trusted_root()), &ci());
        assert_eq!(result.is_ok(), is_in, "{result:?}");
    }
}

#[test]
fn the_chain_is_that_of_a_certificate_authority_for_code() {
    let (mut plant, image) = (Plant::new(), plc());
    let own = plant.root.intermediate(|_| {});
    let run = |plant: &Plant| {
        let signing = Signing::keyless(plant, &image, &plant.leaf(), SIGNED);
        by_identity(&signing, &image, &read_root(&plant.trusted_root()), &ci())
    };
    // The certificate at the end of the chain has no issuer that could say that it is a CA.
    let ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    for (is_ca, is_in) in [(ca, true), (rcgen::IsCa::NoCa, false), (rcgen::IsCa::ExplicitNoCa, false)] {
        plant.intermediate = plant.root.intermediate(|params| {
            params.is_ca = is_ca;
            params.key_usages.clear();
        });
        let signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
        let mut root = plant.trusted_root();
        root["certificateAuthorities"][0]["certChain"]["certificates"].as_array_mut().unwrap().pop();
        let found = by_identity(&signing, &image, &read_root(&root), &ci());
        assert_eq!(found.is_ok(), is_in, "{found:?}");
    }
    let edits: [fn(&mut CertificateParams); 3] = [
        |params| params.is_ca = rcgen::IsCa::ExplicitNoCa,
        |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature],
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
    ];
    for edit in edits {
        plant.intermediate = plant.root.intermediate(edit);
        assert_why(run(&plant), "no authority of the trusted root has issued its certificate");
    }
    plant.intermediate = own;
    run(&plant).unwrap();
    let another = Plant::new();
    let signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    let mut root = plant.trusted_root();
    root["certificateAuthorities"] = another.trusted_root()["certificateAuthorities"].clone();
    assert_why(by_identity(&signing, &image, &read_root(&root), &ci()), "no authority");
    for usage in [vec![], vec![ExtendedKeyUsagePurpose::ServerAuth], vec![ExtendedKeyUsagePurpose::Any]] {
        let edit = move |params: &mut CertificateParams| params.extended_key_usages = usage.clone();
        assert_why(with_leaf(&edit, &ci()), "not for signing code");
    }
    with_leaf(&|params| params.key_usages.clear(), &ci()).unwrap();
    assert_why(
        with_leaf(&|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment], &ci()),
        "not for signing code",
    );
}

#[test]
fn scheme_row_079_an_unsigned_time_is_no_time() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let mut signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    signing.entry().as_object_mut().unwrap().remove("inclusionPromise");
    assert_why(
        by_identity(&signing, &image, &root, &ci()),
        "time stamp authority's part of the trusted root had ended or not begun",
    );
    // Nor is a time that another key has signed, or that was changed.
    let mut signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    signing.entry()["integratedTime"] = (SIGNED + 1).to_string().into();
    assert_why(by_identity(&signing, &image, &root, &ci()), "(SET)");
}

#[test]
fn scheme_row_084_091_the_same_entry_twice_and_too_many() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let mut signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    let entry = signing.entry().clone();
    signing.bundle["verificationMaterial"]["tlogEntries"] = json!([entry, entry]);
    assert_why(by_identity(&signing, &image, &root, &ci()), "the same entry of a log twice");
    let foreign = |index: usize| {
        let mut entry = entry.clone();
        entry["logId"]["keyId"] = base64(&[u8::try_from(index).unwrap(); 32]);
        entry
    };
    for (count, is_in) in [(31, true), (32, false)] {
        let entries: Vec<_> = (0..count).map(foreign).chain([entry.clone()]).collect();
        signing.bundle["verificationMaterial"]["tlogEntries"] = entries.into();
        let result = by_identity(&signing, &image, &root, &ci());
        assert_eq!(result.is_ok(), is_in, "{result:?}");
    }
    signing.bundle["verificationMaterial"]["tlogEntries"] = json!([entry]);
    for (count, words) in [(32, None), (33, Some("more than 32 time stamps"))] {
        let stamps: Vec<Value> = (0..count).map(|index| json!({"signedTimestamp": base64(&[0x30, index])})).collect();
        signing.bundle["verificationMaterial"]["timestampVerificationData"] = json!({"rfc3161Timestamps": stamps});
        match words {
            None => by_identity(&signing, &image, &root, &ci()).unwrap(),
            Some(words) => assert_why(by_identity(&signing, &image, &root, &ci()), words),
        }
    }
    let twice = json!({"rfc3161Timestamps": [{"signedTimestamp": "MAA="}, {"signedTimestamp": "MAA="}]});
    signing.bundle["verificationMaterial"]["timestampVerificationData"] = twice;
    assert_why(by_identity(&signing, &image, &root, &ci()), "the same time stamp twice");
}

#[test]
fn scheme_row_085_the_promise_of_a_known_certificate_log() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let run = |leaf: &[u8], sct_required| {
        by_identity_of(&Signing::keyless(&plant, &image, leaf, SIGNED), &image, &root, &ci(), sct_required)
    };
    let without = plant.without_sct(&|_| {});
    assert_why(run(&without, true), "no promise of a certificate log");
    run(&without, false).unwrap();
    let stranger = Key::p256();
    let foreign = plant.with_sct(&stranger, SIGNED, &|_| {});
    let (code, text) = run(&foreign, true).unwrap_err();
    let expected = format!("the trusted root of 2026-01-01 knows no certificate log {}", stranger.hint());
    assert!(code == "unknown-log" && text.starts_with(&expected), "{text}");
    run(&foreign, false).unwrap();
    // The promise is about another certificate.
    let edit = |params: &mut CertificateParams| params.serial_number = Some(vec![8; 16].into());
    let (good, other) = (plant.leaf(), plant.with_sct(&plant.ct_log, SIGNED, &edit));
    let sct = |der: &[u8]| {
        let oid = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 2];
        crate::crypto::certificate_ref::CertificateRef::read(der)
            .unwrap()
            .extension(oid)
            .unwrap()
            .unwrap()
            .value
            .to_vec()
    };
    let moved = plant.with_promise(sct(&other), &|_| {});
    assert_why(run(&moved, true), "no certificate log of the trusted root has signed its promise");
    run(&plant.with_promise(sct(&good), &|_| {}), true).unwrap();
    for damaged in [vec![4, 0], vec![4, 2, 0, 0], vec![4, 3, 0, 1, 0], vec![5, 0]] {
        assert!(run(&plant.with_promise(damaged, &|_| {}), true).is_err());
    }
    // More than an hour before the certificate begins, or after its end.
    let near = 13 * 3600;
    for (seconds, is_in) in
        [(SIGNED - near, true), (SIGNED - near - 1, false), (SIGNED + near, true), (SIGNED + near + 1, false)]
    {
        let found = run(&plant.with_sct(&plant.ct_log, seconds, &|_| {}), true);
        assert_eq!(found.is_ok(), is_in, "{seconds}: {found:?}");
    }
    // Before the log was trusted.
    let early = plant.with_sct(&plant.ct_log, SIGNED - 366 * 24 * 3600, &|_| {});
    assert_why(run(&early, true), "had ended or not begun");
}

#[test]
fn scheme_row_090_a_log_that_the_trusted_root_lacks() {
    let (plant, image) = (Plant::new(), plc());
    let mut root = plant.trusted_root();
    root["tlogs"].as_array_mut().unwrap().remove(0);
    let signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    let (code, text) = by_identity(&signing, &image, &read_root(&root), &ci()).unwrap_err();
    let expected = format!("the trusted root of 2026-01-01 knows no log {}", plant.log.hint());
    assert!(code == "unknown-log" && text.starts_with(&expected) && text.contains("trusted_root.json"), "{text}");
}

/// What was verified under a trusted root is remembered, with and without success, for this root and this question.
#[test]
fn a_warm_admission_repeats_no_cryptography() {
    fn operations(run: impl Fn()) -> usize {
        let before = VERIFICATIONS.get();
        run();
        VERIFICATIONS.get() - before
    }
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    let signature = signing.read().unwrap();
    let (signers, others) = ([ci()], [identity(ISSUER, "https://git.plant.example/other")]);
    let size = signature.heap_size();
    let run = |root: &Arc<TrustedRoot>, signers: &[Signer], sct_required, accepts: bool| {
        let requirement = Requirement { trusted_root: Some(root), sct_required, ..by(signers) };
        operations(|| assert_eq!(requirement.verify(about(&image), &[&signature]).is_ok(), accepts))
    };
    // The signature, the promise, the checkpoint, and the promise of the certificate log.
    assert_eq!((run(&root, &signers, true, true), run(&root, &signers, true, true)), (4, 0));
    // Which identities a policy names is not what was verified.
    assert_eq!(run(&root, &others, true, false), 0);
    assert_eq!((run(&root, &signers, false, true), run(&root, &signers, false, true)), (3, 0));
    let mut newer = plant.trusted_root();
    newer["tlogs"].as_array_mut().unwrap().remove(0);
    let newer = read_root(&newer);
    assert_eq!((run(&newer, &signers, true, false), run(&newer, &signers, true, false)), (0, 0));
    assert_eq!(run(&root, &signers, true, true), 0);
    // Roots that come and go do not make it larger.
    for day in 10..30 {
        let mut another = plant.trusted_root();
        another["tlogs"][1]["publicKey"]["validFor"]["start"] = format!("2026-01-{day}T00:00:00Z").into();
        assert!(run(&read_root(&another), &signers, true, true) > 0);
    }
    assert_eq!(signature.heap_size(), size);
}

/// Anybody can have the public instance make as many entries and time stamps as are read.
#[test]
fn a_proof_takes_effort_for_all_that_is_in_it() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let signers = [ci()];
    let cost = |signing: &Signing, effort: usize| {
        let left = std::sync::atomic::AtomicUsize::new(effort);
        let effort = crate::Effort::new(&left, &|| false);
        let signature = signing.read().unwrap();
        let requirement = Requirement { trusted_root: Some(&root), effort, ..by(&signers) };
        let verdict =
            requirement.verify(about(&image), &[&signature]).map_err(|rejection| rejection.reasons.is_incomplete);
        (verdict.map(drop), left.into_inner())
    };
    let mut signing = Signing::keyless(&plant, &image, &plant.leaf(), SIGNED);
    assert_eq!(cost(&signing, 1000), (Ok(()), 1000 - 77));
    assert_eq!(cost(&signing, 49), (Err(true), 49));
    let stamps: Vec<Value> = (0..32).map(|index| json!({"signedTimestamp": base64(&[0x30, index])})).collect();
    signing.bundle["verificationMaterial"]["timestampVerificationData"] = json!({"rfc3161Timestamps": stamps});
    assert_eq!(cost(&signing, 1000), (Ok(()), 1000 - 77 - 32 * 5));
    let (verdict, left) = cost(&signing, 200);
    assert!(verdict == Err(true) && left < 200, "nobody can say, and reading it has cost something");
    // A key's signature has no certificate to be looked at.
    assert_eq!(cost(&Signing::logged(&plant, &image, SIGNED), 1000), (Err(false), 1000));
}

#[test]
fn scheme_row_048_each_certificate_counts_for_one_signer() {
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let by_subject = |subject: &str| {
        let leaf = plant.with_sct(&plant.ct_log, SIGNED, &names(uri(subject), None, Some(ISSUER)));
        Signing::keyless(&plant, &image, &leaf, SIGNED).read().unwrap()
    };
    let [one, two, three] = ["https://a.example/1", "https://a.example/2", "https://b.example/3"].map(by_subject);
    let named = |name: &str, subject: &str| Signer { name: name.to_owned(), ..identity(ISSUER, subject) };
    // The wide ones come first, and leave to the narrow ones what only these can have.
    let signers = [named("any", "https://*"), named("a", "https://a.example/*"), named("one", "https://a.example/1")];
    let signed = |signatures: &[&Signature]| {
        let requirement = Requirement { trusted_root: Some(&root), threshold: Some(1), ..by(&signers) };
        requirement.verify(about(&image), signatures).unwrap().signers
    };
    assert_eq!(signed(&[&one]), ["any"]);
    assert_eq!(signed(&[&one, &one]), ["any"], "the same certificate twice");
    assert_eq!(signed(&[&one, &two]), ["any", "a"]);
    assert_eq!(signed(&[&two, &three]), ["any", "a"]);
    assert_eq!(signed(&[&one, &three]), ["any", "a"]);
    assert_eq!(signed(&[&one, &two, &three]), ["any", "a", "one"]);
}

#[test]
fn scheme_row_048_a_key_and_a_certificate_of_it_are_one_signer() {
    // In the old format a certificate may stand beside the signature of a key.
    let (plant, image) = (Plant::new(), plc());
    let root = read_root(&plant.trusted_root());
    let layer = keyless_layer(&plant, &image, &plant.leaf(), SIGNED);
    let signature = layers(&[layer]).remove(0).unwrap();
    let key = self::signer("release", &plant.signer);
    let signed = |signers: &[Signer], threshold| {
        let requirement = Requirement { trusted_root: Some(&root), threshold, ..by(signers) };
        requirement.verify(about(&image), &[&signature]).map(|accepted| accepted.signers)
    };
    assert_eq!(signed(std::slice::from_ref(&key), None).unwrap(), ["release"]);
    assert_eq!(signed(&[ci()], None).unwrap(), ["ci"]);
    assert!(signed(&[key.clone(), ci()], None).is_err());
    assert!(signed(&[ci(), key.clone()], Some(2)).is_err());
    assert_eq!(signed(&[ci(), key.clone()], Some(1)).unwrap(), ["release"]);
    let other = Signer { name: "any".to_owned(), ..identity(ISSUER, "https://*") };
    assert!(signed(&[ci(), other, key], Some(2)).is_err());
}
