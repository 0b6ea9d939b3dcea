use std::collections::BTreeMap;

use jiff::Timestamp;
use portreeve_test_support::cosign::Key;
use portreeve_test_support::temp::TempDir;
use portreeve_verify::image::Reference;
use portreeve_verify::sigstore::{Identity, SignedBy};

use super::*;
use crate::policy::{Note, Scope, Selection};
use crate::schemes::Finding;

#[test]
fn warn_of_the_configuration_counts_as_in_the_webhook() {
    let rejected = Verdict::Rejected { code: "no-policy", reason: "".into() };
    let evaluation = Evaluation::of(rejected);
    for (configured, status, word) in
        [(Mode::Enforce, ExitStatus::Denied, None), (Mode::Warn, ExitStatus::Allowed, Some("warn"))]
    {
        let mode = evaluation.mode(configured);
        assert_eq!(status_of(mode, &evaluation), status);
        assert_eq!(Report::of("x", "n", mode, &evaluation).mode, word);
    }
}

/// The only check of the only policy in `text`, for an image under `namespace`. The text must pass `lint`, and nothing may be
/// noted but what the rule says on purpose.
fn check_of(text: &str, namespace: &str, image: &str) -> Check {
    let files = BTreeMap::from([("p.yaml".to_owned(), text.to_owned())]);
    let set = crate::policy::check_data(&files, &crate::policy::Owner::Site)
        .unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    let is_meant = |note: &Note| matches!(note, Note::SameRepository | Note::NoCertificateTransparency);
    let unexpected: Vec<_> = set.notes().into_iter().filter(|note| !is_meant(&note.note)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}\n{text}");
    let image = Reference::parse(image).unwrap();
    let Selection::Rules(alternatives) = set.select(namespace, &image) else { panic!("{text}") };
    match alternatives[0].rules[0].signed().map(|signed| signed.any_of.as_slice()) {
        Some([checks]) => match checks.as_slice() {
            [check] => check.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn rule_of(text: &str, namespace: &str, image: &str) -> Arc<cosign::Rule> {
    match check_of(text, namespace, image) {
        Check::Cosign(rule) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_snippet_is_a_policy_that_asks_for_no_less() {
    let keys = [Key::p256(), Key::p384(), Key::ed25519(), Key::rsa()];
    let signers: Vec<Signer> = keys
        .iter()
        .enumerate()
        .map(|(index, key)| {
            let name = format!("signer-{index}@plant.example");
            Signer::with_key(name, SigstoreKey::from_pem(&key.public_pem()).unwrap())
        })
        .collect();
    let plain = cosign::Rule::signed_by(signers);
    let full = cosign::Rule {
        signers: plain.signers.clone(),
        signer_secrets: vec!["release-key".to_owned(), "ci".to_owned()],
        threshold: Some(2),
        annotations: BTreeMap::from([
            ("line: \"1\"\n".to_owned(), "#".to_owned()),
            ("yes".to_owned(), "no".to_owned()),
        ]),
        same_repository: true,
        trusted_root: Some("plant".to_owned()),
        log_required: true,
        ignores_certificate_transparency: false,
        when_unavailable: None,
        max_stale: None,
    };
    let secrets =
        cosign::Rule { signer_secrets: vec!["release-key".to_owned()], ..cosign::Rule::signed_by(Vec::new()) };
    let identity = Identity::new("https://issuer.plant.example", "https://git.plant.example/\"*").unwrap();
    let identities = cosign::Rule {
        trusted_root: Some("007".to_owned()),
        ignores_certificate_transparency: true,
        ..cosign::Rule::signed_by(vec![Signer { name: "ci".to_owned(), by: SignedBy::Identity(identity) }])
    };
    for rule in [plain, full, secrets, identities] {
        for scope in [None, Some(Scope::Cluster), Some(Scope::Namespace("line-1".to_owned()))] {
            let mut text = snippet::head("registry.local:9001/plant/plc_v2.1", scope.as_ref());
            snippet::cosign(&mut text, &rule);
            assert_eq!(*rule_of(&text, "line-1", "registry.local:9001/plant/plc_v2.1:v1"), rule, "{text}");
        }
    }
}

#[test]
fn a_snippet_of_notation_asks_for_no_less_and_names_the_signers() {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let stores = texts(&["ca:plant", "signingAuthority:site", "tsa:plant"]);
    let plant = texts(&["x509.subject: C=US, ST=WA, O=Plant"]);
    let plain = notation::Rule::under(&stores[..1], &plant, false).unwrap();
    let full = notation::Rule {
        after_cert_expiry_only: true,
        metadata: BTreeMap::from([("line: \"1\"\n".to_owned(), "no".to_owned())]),
        ..notation::Rule::under(&stores, &plant, true).unwrap()
    };
    let any = notation::Rule::under(&stores, &[], false).unwrap();
    let written = |rule: &notation::Rule, signers: &[&str]| {
        let mut text = snippet::head("registry.local:9001/plant/plc", None);
        snippet::notation(&mut text, rule, &texts(signers));
        match check_of(&text, "line-1", "registry.local:9001/plant/plc:v1") {
            Check::Notation(rule) => rule,
            other => panic!("{other:?}"),
        }
    };
    let subject = r"CN=builder,O=Plant\, Inc.,ST=WA,C=US";
    for rule in [plain, full] {
        assert_eq!(*written(&rule, &[subject]), rule);
    }
    let identity = format!("x509.subject: {subject}");
    let narrowed = notation::Rule::under(&stores, &[identity], false).unwrap();
    assert_eq!(*written(&any, &[subject]), narrowed);
    // A subject that no policy can name.
    let mut text = snippet::head("registry.local:9001/plant/plc", None);
    snippet::notation(&mut text, &any, &texts(&[subject, "CN=builder"]));
    assert!(text.contains("trustedIdentities:\n            - \"*\"\n"), "{text}");
}

#[test]
fn a_template_names_the_secret_for_the_key() {
    let text = snippet::template(snippet::head("docker.io/library/nginx", None), "portreeve");
    assert!(text.contains("kubectl -n portreeve create secret generic cosign-pub --from-file=cosign.pub"), "{text}");
    assert_eq!(rule_of(&text, "line-1", "nginx").signer_secrets, ["cosign-pub"]);
}

#[test]
fn a_key_file_is_a_signer() {
    let directory = TempDir::new();
    let signers = |file: &str| match Against::cosign(Some(&directory.path().join(file)), None)? {
        Against::Check(Check::Cosign(rule)) => Ok(rule.signers.iter().map(|one| one.name.clone()).collect::<Vec<_>>()),
        _ => panic!(),
    };
    directory.write("release key.pub", Key::p256().public_pem());
    directory.write("cosign.key", Key::p256().private_pem());
    assert_eq!(signers("release key.pub"), Ok(vec!["release-key".to_owned()]));
    assert!(signers("cosign.key").is_err_and(|error: String| error.contains("private key")));
    assert!(signers("none.pub").is_err_and(|error| error.contains("none.pub: ")));
    assert!(Against::cosign(None, None).is_ok_and(|against| against.names_no_signer()));
}

/// A report without anything but what every image has.
fn report() -> Report {
    let evaluation = Evaluation::of(Verdict::Rejected { code: "signature", reason: "no signature counts".into() });
    Report::of("plc:v1", "line-1", Mode::Enforce, &evaluation)
}

#[test]
fn signatures_are_told_one_by_one() {
    let counted = Finding {
        signature: "bundle in sha256:aa".to_owned(),
        signers: vec!["release".to_owned(), "ci".to_owned()],
        passed_over: None,
    };
    let passed_over = Finding {
        signature: "layer 1 of sha256:bb".to_owned(),
        signers: Vec::new(),
        passed_over: Some("it is by another key".to_owned()),
    };
    let report = Report { signatures: vec![counted, passed_over], ..report() };
    let text = report.to_text(Timestamp::UNIX_EPOCH);
    for line in [
        "signature                     bundle in sha256:aa: signed by release, ci\n",
        "signature                     layer 1 of sha256:bb: passed over: it is by another key\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["signatures"][0]["signers"], serde_json::json!(["release", "ci"]));
    assert_eq!(json["signatures"][1]["passedOver"], "it is by another key");
    assert_eq!(json.get("checks"), None);
}
