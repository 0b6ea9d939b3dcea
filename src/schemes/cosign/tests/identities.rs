//! Identities and transparency logs end to end: a trusted root on the disk, signatures at a registry, and what is kept of them.

use std::fs;

use portreeve_test_support::cosign::plant::{
    ISSUER, Plant, SIGNED, SUBJECT, Signing, base64, keyless_layer, logged_layer, names, uri,
};
use serde_json::{Value, json};

use super::*;
use crate::schemes::UnavailableRule;
use portreeve_verify::sigstore::{Identity, SignedBy};

const ROOT: &str = "roots/plant.json";

fn identity(name: &str, issuer: &str, subject: &str) -> Signer {
    Signer { name: name.to_owned(), by: SignedBy::Identity(Identity::new(issuer, subject).unwrap()) }
}

fn ci() -> Signer {
    identity("ci", ISSUER, SUBJECT)
}

fn key(name: &str, key: &Key) -> Signer {
    Signer::with_key(name.to_owned(), SigstoreKey::from_pem(&key.public_pem()).unwrap())
}

/// A rule under the trusted root `plant`.
fn under(signers: Vec<Signer>) -> Rule {
    Rule { trusted_root: Some("plant".to_owned()), ..Rule::signed_by(signers) }
}

fn write(bench: &Bench, root: &Value) {
    bench.scratch.write(ROOT, root.to_string());
}

/// With the plant's trusted root, and a bundle by its certificate.
fn signed(options: &Options) -> (Bench, Plant) {
    let (bench, plant) = (Bench::with(options), Plant::new());
    write(&bench, &plant.trusted_root());
    let signing = Signing::keyless(&plant, &bench.image, &plant.leaf(), SIGNED);
    bench.registry.attach(NAME, &bench.image, &signing.artifact(&bench.image));
    (bench, plant)
}

fn fresh() -> Options {
    Options { refresh_after: Duration::ZERO, ..Options::default() }
}

fn ask(bench: &Bench, rule: &Rule) -> Result<Verified, Refusal> {
    bench.ask(&Ask::of(":v1", rule))
}

#[test]
fn scheme_row_073_an_image_by_the_identity_of_the_policy_is_pinned() {
    let (bench, _plant) = signed(&Options::default());
    let rule = under(vec![ci()]);
    let verified = ask(&bench, &rule).unwrap();
    assert_eq!(verified.digest.sha256().to_string(), bench.image.digest());
    assert_eq!((verified.signers.as_slice(), verified.freshness), (["ci".to_owned()].as_slice(), Freshness::Fetched));
    assert_eq!(verified.evidence.expires(), [], "the certificate has ended long ago, and the signature has not");
    bench.registry.forget_requests();
    for image in [":v1".to_owned(), bench.by_digest()] {
        let verified = bench.ask(&Ask::of(&image, &rule)).unwrap();
        assert_eq!((verified.freshness, verified.evidence.findings()[0].signers.len()), (Freshness::Cached, 1));
    }
    assert_eq!(bench.registry.round_trips(), [""; 0]);
}

#[test]
fn scheme_row_075_another_identity_is_told_whom_the_certificate_names() {
    let (bench, plant) = signed(&fresh());
    for signer in [
        identity("ci", "https://other.plant.example", SUBJECT),
        identity("ci", ISSUER, "https://git.plant.example/line-2/*"),
        identity("ci", ISSUER, "git.plant.example/line-1/build.yml@refs/heads/main"),
    ] {
        let message = rejected(ask(&bench, &under(vec![signer])), "signature");
        assert!(message.contains("it is not signed by ci"), "{message}");
        assert!(
            message
                .contains(&format!("it was made by {SUBJECT} of {ISSUER}, and the policy does not name this identity")),
            "{message}"
        );
    }
    ask(&bench, &under(vec![identity("ci", ISSUER, "https://git.plant.example/line-1/*")])).unwrap();
    // The key of the certificate is no identity, and the other way round.
    let message = rejected(ask(&bench, &rule_of(&[("release", &plant.signer)])), "signature");
    assert!(message.contains("it was made with a certificate (keyless), and the policy names keys"), "{message}");
}

#[test]
fn an_unsigned_image_is_told_how_identities_sign() {
    let bench = Bench::new();
    write(&bench, &Plant::new().trusted_root());
    let message = rejected(ask(&bench, &under(vec![ci()])), "not-signed");
    assert!(message.contains(&format!("sign it with `cosign sign {}@sha256:", bench.name())), "{message}");
    let both = under(vec![ci(), key("release", &bench.alice)]);
    assert!(rejected(ask(&bench, &both), "not-signed").contains("`cosign sign --key … "));
}

#[test]
fn a_trusted_root_that_is_not_there_is_named_with_what_to_do() {
    let (bench, plant) = signed(&fresh());
    let rule = Rule { trusted_root: Some("other".to_owned()), ..under(vec![ci()]) };
    let message = rejected(ask(&bench, &rule), "trusted-root");
    let place = bench.scratch.path().join("roots/other.json").display().to_string();
    assert!(message.contains("\"other\"") && message.contains(&place), "{message}");
    // It counts as soon as it is there.
    bench.scratch.write("roots/other.json", plant.trusted_root().to_string());
    ask(&bench, &rule).unwrap();
    // A rule that asks for an identity and names no root is met by nobody.
    let message = rejected(ask(&bench, &Rule::signed_by(vec![ci()])), "signature");
    assert!(message.contains("the policy has no trusted root"), "{message}");
    let logged = Rule { log_required: true, ..bench.rule() };
    bench.attach(&bench.image, &bench.alice);
    assert!(rejected(ask(&bench, &logged), "signature").contains("the policy has no trusted root"));
}

#[test]
fn scheme_row_089_a_root_that_is_replaced_while_running() {
    let (bench, plant) = signed(&Options::default());
    let (rule, image) = (under(vec![ci()]), bench.by_digest());
    let ask = || bench.ask(&Ask::of(&image, &rule));
    ask().unwrap();
    // One that does not parse: the last good one stays in force.
    bench.scratch.write(ROOT, "{");
    assert_eq!(ask().unwrap().freshness, Freshness::Cached);
    assert!(bench.cosign.trusted_roots.current().problems()[0].contains("stays in force"));
    // The root of another instance: what was verified under the old one counts no more.
    write(&bench, &Plant::new().trusted_root());
    let message = rejected(ask(), "signature");
    assert!(message.contains("the trusted root of 2026-01-01 knows no log "), "{message}");
    // Back again, and renewed by one more authority.
    let mut renewed = plant.trusted_root();
    let more = Plant::new().trusted_root()["certificateAuthorities"][0].clone();
    renewed["certificateAuthorities"].as_array_mut().unwrap().push(more);
    write(&bench, &renewed);
    assert_eq!(ask().unwrap().freshness, Freshness::Cached, "evidence is verified under the root of the moment");
    fs::remove_file(bench.scratch.path().join(ROOT)).unwrap();
    rejected(ask(), "trusted-root");
}

#[test]
fn scheme_row_090_a_root_that_lacks_the_log_says_so() {
    let (bench, plant) = signed(&fresh());
    let mut stale = plant.trusted_root();
    stale["tlogs"].as_array_mut().unwrap().remove(0);
    write(&bench, &stale);
    let message = rejected(ask(&bench, &under(vec![ci()])), "signature");
    let id = plant.log.hint();
    let expected = format!(
        "the trusted root of 2026-01-01 knows no log {id}; if the log is newer than that, carry in a newer trusted_root.json; \
         if not, the policy may name the wrong trusted root"
    );
    assert!(message.contains(&expected), "{message}");
}

#[test]
fn scheme_row_078_parts_of_the_root_that_had_ended() {
    let (bench, plant) = signed(&fresh());
    for part in ["tlogs", "certificateAuthorities", "ctlogs"] {
        let mut ended = plant.trusted_root();
        let instance = &mut ended[part][0];
        let instance = if part == "certificateAuthorities" { instance } else { &mut instance["publicKey"] };
        instance["validFor"]["end"] = json!("2026-03-01T00:00:00Z");
        write(&bench, &ended);
        let message = rejected(ask(&bench, &under(vec![ci()])), "signature");
        assert!(message.contains("it is not signed by ci; signature manifest sha256:"), "{part}: {message}");
    }
    write(&bench, &plant.trusted_root());
    ask(&bench, &under(vec![ci()])).unwrap();
}

#[test]
fn scheme_row_085_a_certificate_without_a_promise_counts_where_the_policy_says_so() {
    let (bench, plant) = (Bench::new(), Plant::new());
    write(&bench, &plant.trusted_root());
    let leaf = plant.without_sct(&|_| {});
    let signing = Signing::keyless(&plant, &bench.image, &leaf, SIGNED);
    bench.registry.attach(NAME, &bench.image, &signing.artifact(&bench.image));
    let (strict, lax) = (under(vec![ci()]), Rule { ignores_certificate_transparency: true, ..under(vec![ci()]) });
    rejected(ask(&bench, &strict), "signature");
    ask(&bench, &lax).unwrap();
    // Neither the refusal nor the verdict is taken for that of the other rule.
    rejected(ask(&bench, &strict), "signature");
    ask(&bench, &lax).unwrap();
}

#[test]
fn the_old_format_counts_as_well() {
    let (bench, plant) = (Bench::new(), Plant::new());
    write(&bench, &plant.trusted_root());
    let by_certificate = keyless_layer(&plant, &bench.image, &plant.leaf(), SIGNED);
    let by_key = logged_layer(&plant, &bench.image, &plant.signer.public_pem(), SIGNED);
    bench.registry.attach_tag(NAME, &bench.image, &Artifact::layers(&[by_certificate, by_key]));
    let logged = Rule { log_required: true, ..under(vec![key("release", &plant.signer)]) };
    for rule in [under(vec![ci()]), logged] {
        let verified = ask(&bench, &rule).unwrap();
        assert_eq!(verified.signers.len(), rule.signers.len());
    }
    // A key and a certificate of it are one signer.
    let message = rejected(ask(&bench, &under(vec![ci(), key("release", &plant.signer)])), "signature");
    assert!(message.contains("it is signed by 1 of 2 signers"), "{message}");
}

#[test]
fn scheme_row_051_a_key_whose_signature_must_be_in_a_log() {
    let (bench, plant) = (Bench::new(), Plant::new());
    write(&bench, &plant.trusted_root());
    let rule = Rule { log_required: true, ..under(vec![key("release", &plant.signer)]) };
    let unlogged = Signing::new(&plant, &bench.image);
    bench.registry.attach(NAME, &bench.image, &unlogged.artifact(&bench.image));
    let message = rejected(ask(&bench, &rule), "signature");
    assert!(message.contains("it has no entry of a transparency log, which the policy requires"), "{message}");
    // The same signature counts where no log is asked for, and is not taken for one that is logged.
    ask(&bench, &rule_of(&[("release", &plant.signer)])).unwrap();
    rejected(ask(&bench, &rule), "signature");
    let logged = Signing::logged_2(&plant, &bench.image);
    let stamped = Signing::logged(&plant, &bench.image, SIGNED);
    // An entry of Rekor 2 has no time, and a key needs none.
    for signing in [logged, stamped] {
        let bench = Bench::new();
        write(&bench, &plant.trusted_root());
        let image = bench.registry.push_image(NAME, "v1", "one");
        bench.registry.attach(NAME, &image, &signing.artifact(&image));
        ask(&bench, &rule).unwrap();
    }
}

#[test]
fn scheme_row_052_an_entry_of_a_log_about_something_else() {
    let (bench, mut plant, other) = (Bench::new(), Plant::new(), Plant::new());
    write(&bench, &plant.trusted_root());
    let rule = Rule { log_required: true, ..under(vec![key("release", &plant.signer)]) };
    // The entry of another key's signature, and that of another image.
    let release = std::mem::replace(&mut plant.signer, Key::p256());
    let theirs = Signing::logged(&plant, &bench.image, SIGNED).entry().clone();
    plant.signer = release;
    let another = Signing::logged(&plant, &Image::named("another"), SIGNED).entry().clone();
    for entry in [theirs, another] {
        let mut signing = Signing::new(&plant, &bench.image);
        signing.bundle["verificationMaterial"]["tlogEntries"] = json!([entry]);
        let bench = Bench::new();
        write(&bench, &plant.trusted_root());
        bench.registry.attach(NAME, &bench.image, &signing.artifact(&bench.image));
        let message = rejected(ask(&bench, &rule), "signature");
        assert!(message.contains("about another signature, key, certificate or image"), "{message}");
    }
    let mut signing = Signing::new(&plant, &bench.image);
    signing.bundle["verificationMaterial"]["tlogEntries"] =
        json!([Signing::logged(&other, &bench.image, SIGNED).entry()]);
    bench.registry.attach(NAME, &bench.image, &signing.artifact(&bench.image));
    assert!(rejected(ask(&bench, &rule), "signature").contains("knows no log "));
}

#[test]
fn scheme_row_091_more_entries_or_time_stamps_than_are_read() {
    let (bench, plant) = (Bench::new(), Plant::new());
    write(&bench, &plant.trusted_root());
    let signing = || Signing::keyless(&plant, &bench.image, &plant.leaf(), SIGNED);
    let id = |index: u8| base64(&[index; 32]);
    let (mut entries, mut stamps) = (signing(), signing());
    let entry = entries.entry().clone();
    let foreign = |index| {
        let mut entry = entry.clone();
        entry["logId"]["keyId"] = id(index);
        entry
    };
    entries.bundle["verificationMaterial"]["tlogEntries"] = (0..33).map(foreign).collect();
    let stamp = |index| json!({"signedTimestamp": id(index)});
    let all: Value = (0..33).map(stamp).collect();
    stamps.bundle["verificationMaterial"]["timestampVerificationData"] = json!({"rfc3161Timestamps": all});
    for signing in [entries, stamps] {
        let bench = Bench::new();
        write(&bench, &plant.trusted_root());
        bench.registry.attach(NAME, &bench.image, &signing.artifact(&bench.image));
        let message = rejected(ask(&bench, &under(vec![ci()])), "signature");
        assert!(message.contains("more than 32"), "{message}");
    }
}

#[test]
fn scheme_row_048_one_certificate_is_one_signer_whatever_the_patterns() {
    let (bench, plant) = signed(&fresh());
    let (exact, wide) = (ci(), identity("any", ISSUER, "https://git.plant.example/*"));
    // Both patterns match the one certificate: one of them counts.
    let both = under(vec![wide.clone(), exact.clone()]);
    let message = rejected(ask(&bench, &both), "signature");
    assert!(message.contains("it is signed by 1 of 2 signers, and 2 must have signed"), "{message}");
    assert_eq!(ask(&bench, &Rule { threshold: Some(1), ..under(vec![wide, exact]) }).unwrap().signers.len(), 1);
    // A second certificate, which only the wide one matches.
    let other = "https://git.plant.example/line-2/build.yml";
    let leaf = plant.with_sct(&plant.ct_log, SIGNED, &names(uri(other), Some(ISSUER), Some(ISSUER)));
    let signing = Signing::keyless(&plant, &bench.image, &leaf, SIGNED);
    bench.registry.attach(NAME, &bench.image, &signing.artifact(&bench.image));
    assert_eq!(ask(&bench, &both).unwrap().signers, ["any", "ci"]);
}

#[test]
fn a_threshold_over_a_key_and_an_identity() {
    let (bench, _plant) = signed(&fresh());
    let signers = || vec![key("release", &bench.alice), ci()];
    let (any, all) = (Rule { threshold: Some(1), ..under(signers()) }, under(signers()));
    assert_eq!(ask(&bench, &any).unwrap().signers, ["ci"]);
    let message = rejected(ask(&bench, &all), "signature");
    assert!(message.contains("it is signed by 1 of 2 signers, and 2 must have signed; not by release"), "{message}");
    bench.attach(&bench.image, &bench.alice);
    assert_eq!(ask(&bench, &all).unwrap().signers, ["release", "ci"], "the key needs no log");
    // Where a log is required, it is required of the key as well.
    let message = rejected(ask(&bench, &Rule { log_required: true, ..all }), "signature");
    assert!(message.contains("not by release"), "{message}");
}

#[test]
fn evidence_outlives_a_restart_and_is_verified_under_the_root_of_the_moment() {
    let options = Options { cache: true, ..fresh() };
    let (mut bench, plant) = signed(&options);
    let rule = under(vec![ci()]);
    let stale = Rule {
        when_unavailable: Some(UnavailableRule::UseCached),
        max_stale: Some(Duration::from_secs(3600)),
        ..under(vec![ci()])
    };
    ask(&bench, &rule).unwrap();
    bench.restart(&options);
    bench.registry.go_away();
    let by_digest = bench.by_digest();
    let ask = |bench: &Bench, rule: &Rule| bench.ask(&Ask::of(&by_digest, rule));
    assert_eq!(ask(&bench, &rule).unwrap().freshness, Freshness::Cached);
    assert!(matches!(bench.ask(&Ask::of(":v1", &stale)).unwrap().freshness, Freshness::Stale { .. }));
    // What is stored is no verdict: under another root, or for another identity, the registry would have to be asked.
    unavailable(ask(&bench, &under(vec![identity("ci", ISSUER, "https://git.plant.example/line-2/*")])));
    write(&bench, &Plant::new().trusted_root());
    unavailable(ask(&bench, &rule));
    write(&bench, &plant.trusted_root());
    bench.restart(&options);
    assert_eq!(ask(&bench, &rule).unwrap().freshness, Freshness::Cached);
}

#[test]
fn a_request_that_may_verify_no_more_says_so() {
    let (bench, _plant) = signed(&Options::default());
    let (rule, left) = (under(vec![ci()]), std::sync::atomic::AtomicUsize::new(0));
    let effort = portreeve_verify::Effort::new(&left, &|| false);
    let ask = || bench.trace_with(&Ask::of(&bench.by_digest(), &rule), effort, &mut Trace::default());
    assert!(unavailable(ask()).contains("it has more signatures than are verified for one request"));
    bench.ask(&Ask::of(&bench.by_digest(), &rule)).unwrap();
    // What was verified once is remembered, and takes no effort any more.
    ask().unwrap();
}
