//! `portreeve review`, `check` and `lint` against a real Notary server: patches, verdicts and exit statuses.

use std::fs;

use serde_json::{Value, json};

use crate::notary::{Digest, KeyKind, RealNotary, Signer, needs_notary};
use crate::pki::Pki;
use crate::plant::{HMI, PLC, Plant};
use crate::process::run;
use crate::product::{Site, executable};
use crate::review::{
    DID_NOT_ANSWER, assert_allowed, assert_denied, fixture, fixture_json, in_policy, patch, pinned, pod, pod_review,
    policy, policy_for, replacing, update, warnings, with_digest,
};

const ALLOWED: i32 = 0;
const DENIED: i32 = 1;
const BAD_INPUT: i32 = 2;
const UNDECIDED: i32 = 3;

/// Reviews one manifest of one workload.
#[track_caller]
fn answer(site: &Site, name: &str, status: i32) -> Value {
    let (ended, mut answers) = site.answers(&fixture(name));
    assert_eq!(ended, Some(status), "{answers:#?}");
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

/// Reviews a Pod with one image.
#[track_caller]
fn answer_for(site: &Site, image: &str, status: i32) -> Value {
    let file = site.file("pod.json", &pod(image).to_string());
    let (ended, mut answers) = site.answers(&file);
    assert_eq!(ended, Some(status), "{answers:#?}");
    answers.remove(0)
}

#[test]
fn signed_workloads_are_pinned_to_the_signed_digest() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site_requiring_alice();
    let (plc, hmi) = (pinned(PLC, &plant.plc), pinned(HMI, &plant.hmi));
    let template = "/spec/template/spec/containers";
    let cases: [(&str, Vec<(String, &str)>); 3] = [
        ("deployment.yaml", vec![(format!("{template}/0/image"), &plc), (format!("{template}/1/image"), &hmi)]),
        ("cronjob.yaml", vec![(format!("/spec/jobTemplate{template}/0/image"), &plc)]),
        (
            "pod-init.yaml",
            vec![("/spec/initContainers/0/image".into(), &hmi), ("/spec/containers/0/image".into(), &plc)],
        ),
    ];
    for (name, images) in cases {
        let answer = answer(&site, name, ALLOWED);
        assert_allowed(&answer);
        let images: Vec<_> = images.iter().map(|(path, value)| (path.as_str(), *value)).collect();
        assert_eq!(patch(&answer), replacing(&images), "{name}");
    }
}

#[test]
fn text_output_names_image_and_digest() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site_requiring_alice();
    let run = site.review(&[], &fixture("deployment.yaml")).expect(ALLOWED);
    for (image, digest) in [("plant/plc:v1", &plant.plc), ("plant/hmi:v1", &plant.hmi)] {
        let line = run.stdout.lines().find(|line| line.contains(image));
        assert!(line.is_some_and(|line| line.contains(&digest.to_string())), "{image} in {}", run.stdout);
    }
    let run = site.review(&["--output", "text"], &fixture("unsigned.yaml")).expect(DENIED);
    assert!(run.stdout.contains("plant/plc:unsigned"), "{run:?}");
}

#[test]
fn several_documents_and_standard_input_are_read() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site();
    site.policies(&[policy(&[])]);
    let (status, answers) = site.answers(&fixture("several.yaml"));
    assert_eq!((status, answers.len()), (Some(ALLOWED), 2), "{answers:#?}");
    assert_eq!(patch(&answers[0])[0]["value"], pinned(PLC, &plant.plc));
    assert_eq!(patch(&answers[1])[0]["value"], pinned(HMI, &plant.hmi));

    let mixed = ["several.yaml", "unsigned.yaml"].map(|name| fs::read_to_string(fixture(name)).unwrap()).join("---\n");
    run(&mut site.command("review", &["-"]), &mixed).expect(DENIED);
    let json = fs::read_to_string(fixture("review-v1.json")).unwrap();
    run(&mut site.command("review", &["-"]), &json).expect(ALLOWED);
}

/// The output of `kubectl get`, and mistakes that must not be skipped silently.
#[test]
fn lists_are_read_whole_and_slips_are_told() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site();
    site.policies(&[policy(&[])]);
    let review =
        |args: &[&str], input: &Value| run(&mut site.command("review", &[args, &["-"]].concat()), &input.to_string());
    let pod = |name: &str, tag: &str| {
        let container = json!({ "name": "c", "image": format!("{PLC}:{tag}") });
        json!({ "metadata": { "name": name }, "spec": { "containers": [container] } })
    };
    let list = |items: &[Value]| json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items });
    let told = review(&["--namespace", "line-1"], &list(&[pod("a", "v1"), pod("b", "unsigned")])).expect(DENIED).stdout;
    let lines: Vec<&str> = told.lines().collect();
    assert!(
        lines[0].starts_with("allowed  Pod line-1/a: ") && lines[1].starts_with("denied   Pod line-1/b: "),
        "{told}"
    );
    let mut beside = list(&[pod("a", "v1")]);
    beside["spec"] = pod("b", "unsigned")["spec"].clone();
    let told = review(&[], &beside).expect(BAD_INPUT).stderr;
    assert!(told.contains("standard input: 1:") && told.contains("\"spec\" beside its items"), "{told}");
    let near = json!({ "apiVersion": "app/v1", "kind": "Deployment", "metadata": { "name": "a" } });
    let told = review(&[], &near).expect(BAD_INPUT).stderr;
    assert!(told.contains("did you mean kind Deployment in apiVersion apps/v1?"), "{told}");
    // For an object that cannot be decoded, the message has its name and the reason.
    let mut broken = pod("broken", "v1");
    broken["spec"]["containers"][0]["image"] = 7.into();
    let told = review(&[], &list(&[broken])).expect(DENIED).stdout;
    assert!(told.starts_with("denied   Pod default/broken: the object cannot be decoded"), "{told}");
    assert!(told.contains("spec.containers[0].image: invalid type: integer `7`"), "{told}");
    // Nor is a list read in place of an object: an API server would store nothing of it.
    let list_of = |name: &str, spec: Value| json!({ "metadata": { "name": name }, "spec": spec });
    let of_lists = [list_of("a", json!([])), list_of("b", json!({ "containers": [["c", format!("{PLC}:v1")]] }))];
    let told = review(&[], &list(&of_lists)).expect(DENIED).stdout;
    for (name, field) in [("a", "spec"), ("b", "spec.containers[0]")] {
        let words = format!(
            "denied   Pod default/{name}: the object cannot be decoded, so that its images are not known: {field}: "
        );
        assert!(told.contains(&words), "{told}");
    }
}

#[test]
fn one_unsigned_image_denies_the_workload() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site_requiring_alice();
    for name in ["unsigned.yaml", "unsigned-init.yaml", "ephemeral.yaml", "image-volume.yaml", "review-ephemeral.json"]
    {
        let container = if name == "review-ephemeral.json" { "debugger" } else { "newcomer" };
        assert_denied(&answer(&site, name, DENIED), &[container, "plant/plc:unsigned", "plant"]);
    }
    // The kind of an error is not found by searching its text for a number.
    assert_denied(&answer_for(&site, &format!("{PLC}:v401"), DENIED), &["plant/plc:v401"]);
    // An unknown repository is a rejection, not an outage.
    assert_denied(&answer_for(&site, "registry.local:9001/plant/none:v1", DENIED), &["plant/none"]);
    // Another host's images match no policy here, whatever their path.
    assert_denied(&answer_for(&site, "evil.example/plant/plc:v1", DENIED), &["evil.example"]);
}

#[test]
fn an_owner_counts_only_when_a_controller_says_so() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site_requiring_alice();
    assert_denied(&answer(&site, "forged-owner.yaml", DENIED), &["plant/plc:unsigned"]);
    let child = answer(&site, "review-child.json", ALLOWED);
    assert_eq!(patch(&child), Value::Null);
    // The same object from a user.
    let mut review = fixture_json("review-child.json");
    review["request"]["userInfo"]["username"] = json!("alice");
    let file = site.file("child.json", &review.to_string());
    let (status, answers) = site.answers(&file);
    assert_eq!(status, Some(DENIED));
    assert_denied(&answers[0], &["plant/plc:unsigned"]);
}

#[test]
fn every_required_signer_must_have_signed_with_the_configured_key() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site();
    let (alice, bob) = (&plant.alice, &plant.bob);
    let impostor = Signer::new("alice");

    site.policies(&[policy(&[bob])]);
    assert_denied(&answer_for(&site, &format!("{PLC}:v1"), DENIED), &["bob"]);
    site.policies(&[policy(&[alice, bob])]);
    let both = answer_for(&site, &format!("{HMI}:v1"), ALLOWED);
    assert_eq!(patch(&both)[0]["value"], pinned(HMI, &plant.hmi));
    assert_denied(&answer_for(&site, &format!("{HMI}:v2"), DENIED), &["bob"]);
    assert_denied(&answer_for(&site, &format!("{PLC}:v1"), DENIED), &["bob"]);
    site.policies(&[policy(&[&impostor])]);
    assert_denied(&answer_for(&site, &format!("{PLC}:v1"), DENIED), &["alice"]);
    // Without required signers a repository with plain `targets` counts, and a draft that was not released does not.
    site.policies(&[policy(&[])]);
    assert_denied(&answer_for(&site, &format!("{HMI}:draft"), DENIED), &["plant/hmi:draft"]);
    let bare = answer_for(&site, "registry.local:9001/plant/bare:v1", ALLOWED);
    assert_eq!(patch(&bare)[0]["value"], pinned("registry.local:9001/plant/bare", &plant.bare));
}

#[test]
fn a_key_that_is_listed_but_did_not_sign_does_not_count() {
    needs_notary!();
    let pki = Pki::new();
    let notary = RealNotary::start(&pki);
    let (alice, impostor, digest) = (Signer::new("alice"), Signer::new("alice"), Digest::of("v1"));
    notary
        .repository(PLC)
        .add_signer(&impostor)
        .delegate("targets/alice", &alice) // this client does not have its private key
        .sign("v1", &digest, &["targets/releases", "targets/alice"]);
    let site = Site::with_server(&pki, &notary.url());
    site.policies(&[policy(&[&alice])]);
    assert_denied(&answer_for(&site, &format!("{PLC}:v1"), DENIED), &["alice"]);
    site.policies(&[policy(&[&impostor])]);
    answer_for(&site, &format!("{PLC}:v1"), ALLOWED);
}

#[test]
fn a_portieris_policy_with_a_signer_secret_works_unchanged() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site();
    site.policy_text(&fs::read_to_string(fixture("policy.yaml")).unwrap());
    site.secret("line-1", "alice-key", &[("name", "alice"), ("publicKey", plant.alice.public_key())]);
    answer(&site, "deployment.yaml", ALLOWED);
    // A secret with another key is a rejection.
    site.secret("line-1", "alice-key", &[("name", "alice"), ("publicKey", plant.bob.public_key())]);
    assert_denied(&answer(&site, "deployment.yaml", DENIED), &["alice"]);
    // A cluster policy never reads keys from the workload's namespace, where a tenant could choose them.
    site.secret("line-1", "alice-key", &[("name", "alice"), ("publicKey", plant.alice.public_key())]);
    let trust = json!({ "enabled": true, "signerSecrets": [{ "name": "alice-key" }] });
    site.policies(&[policy_for("registry.local:9001/plant/*", trust)]);
    let run = site.review(&[], &fixture("deployment.yaml"));
    assert!(matches!(run.status, Some(DENIED..=UNDECIDED)), "{run:?}");
}

#[test]
fn digests_must_be_released_ones() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site_requiring_alice();
    let unknown = Digest::of("something else");
    answer_for(&site, &with_digest(PLC, &plant.plc), ALLOWED);
    answer_for(&site, &pinned(PLC, &plant.plc), ALLOWED);
    assert_denied(&answer_for(&site, &with_digest(PLC, &unknown), DENIED), &["plant/plc"]);
    assert_denied(&answer_for(&site, &pinned(PLC, &unknown), DENIED), &["plant/plc"]);
    // The digest is released, but under another tag.
    assert_denied(&answer_for(&site, &with_digest(&format!("{PLC}:v2"), &plant.plc), DENIED), &["plant/plc"]);
    for bad in ["registry.local:9001/plant/plc@sha256:abc", "registry.local:9001/Plant&/x", "?"] {
        assert_denied(&answer_for(&site, bad, DENIED), &["plc"]);
    }
}

#[test]
fn warn_lets_in_and_says_so_and_mutation_can_be_off() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site();
    let mut warn = policy(&[&plant.alice]);
    warn["spec"]["repositories"][0]["policy"]["mode"] = json!("warn");
    site.policies(&[warn]);
    let answer = answer(&site, "unsigned.yaml", ALLOWED);
    assert_allowed(&answer);
    assert!(warnings(&answer).contains("plant/plc:unsigned"), "{answer:#}");

    let mut fixed = policy(&[&plant.alice]);
    fixed["spec"]["repositories"][0]["policy"]["mutateImage"] = json!(false);
    site.policies(&[fixed]);
    let answer = answer_for(&site, &format!("{PLC}:v1"), ALLOWED);
    assert_eq!(patch(&answer), Value::Null);
    assert_denied(&answer_for(&site, &format!("{PLC}:unsigned"), DENIED), &["plant/plc:unsigned"]);
}

#[test]
fn without_a_check_nobody_is_asked() {
    needs_notary!();
    let pki = Pki::new();
    let site = Site::new(&pki); // without any trust server
    let open = json!({
        "apiVersion": "portreeve/v1", "kind": "ClusterImagePolicy", "metadata": { "name": "open" },
        "spec": { "repositories": [{ "name": "registry.local:9001/plant/*" }] },
    });
    site.policies(&[open]);
    let answer = answer_for(&site, &format!("{PLC}:v1"), ALLOWED);
    assert_eq!(patch(&answer), Value::Null);
}

#[test]
fn a_policy_names_its_own_server() {
    needs_notary!();
    let plant = Plant::visit();
    let site = Site::new(&plant.pki); // no servers in the configuration
    let trust = json!({
        "enabled": true, "trustServer": plant.notary.url(), "signers": in_policy(&[&plant.alice]),
    });
    site.policies(&[policy_for("registry.local:9001/plant/*", trust)]);
    let answer = answer(&site, "deployment.yaml", ALLOWED);
    assert_eq!(patch(&answer)[0]["value"], pinned(PLC, &plant.plc));
}

#[test]
fn docker_hub_can_be_asked_elsewhere() {
    needs_notary!();
    let pki = Pki::new();
    let notary = RealNotary::start(&pki);
    let (alice, digest) = (Signer::new("alice"), Digest::of("nginx"));
    notary.repository("docker.io/library/nginx").add_signer(&alice).sign(
        "latest",
        &digest,
        &["targets/releases", "targets/alice"],
    );
    let mut site = Site::new(&pki);
    site.config["trust"]["servers"] = json!({ "docker.io": notary.url() });
    site.policies(&[policy_for("docker.io/*", json!({ "enabled": true }))]);
    let answer = answer_for(&site, "nginx", ALLOWED);
    assert_eq!(patch(&answer)[0]["value"], with_digest("docker.io/library/nginx:latest", &digest));
}

#[test]
fn a_private_ca_is_needed_and_enough() {
    needs_notary!();
    let plant = Plant::visit();
    let mut site = plant.site_requiring_alice();
    answer(&site, "deployment.yaml", ALLOWED);
    site.config["trust"].as_object_mut().unwrap().remove("ca");
    assert_denied(&answer(&site, "deployment.yaml", UNDECIDED), &["plant/plc:v1"]);
    // The option beats the file.
    let run = site.review(&["--trust-ca", plant.pki.ca().to_str().unwrap()], &fixture("deployment.yaml"));
    run.expect(ALLOWED);
    // Another CA with the same name does not count.
    site.config["trust"]["ca"] = json!(Pki::new().ca());
    let run = site.review(&["--trust-ca", Pki::new().ca().to_str().unwrap()], &fixture("deployment.yaml"));
    assert_ne!(run.status, Some(ALLOWED), "{run:?}");
}

#[test]
fn a_server_that_is_gone_leaves_it_undecided() {
    needs_notary!();
    let mut plant = Plant::build();
    let site = plant.site_requiring_alice();
    plant.notary.stop();
    let answer = answer(&site, "deployment.yaml", UNDECIDED);
    assert_denied(&answer, &[DID_NOT_ANSWER, &plant.notary.url()]);

    // Labels and finalizers can be changed; images cannot.
    let (old, mut labelled) = (pod(&format!("{PLC}:v1")), pod(&format!("{PLC}:v1")));
    labelled["metadata"]["labels"] = json!({ "shift": "night" });
    for (new, status) in [(&labelled, ALLOWED), (&pod(&format!("{PLC}:v2")), UNDECIDED)] {
        let file = site.file("update.json", &update(&old, new).to_string());
        site.review(&[], &file).expect(status);
    }
}

#[test]
fn a_rotated_root_is_taken_at_first_contact() {
    needs_notary!();
    let pki = Pki::new();
    let notary = RealNotary::start(&pki);
    let (alice, digest) = (Signer::new("alice"), Digest::of("v1"));
    let site = Site::with_server(&pki, &notary.url());
    site.policies(&[policy(&[&alice])]);
    let repository = notary.repository(PLC);
    repository.add_signer(&alice).sign("v1", &digest, &["targets/releases", "targets/alice"]);
    for _ in 0..2 {
        repository.rotate_root();
        let answer = answer_for(&site, &format!("{PLC}:v1"), ALLOWED);
        assert_eq!(patch(&answer)[0]["value"], pinned(PLC, &digest));
    }
    repository.unsign("v1", &["targets/releases"]);
    assert_denied(&answer_for(&site, &format!("{PLC}:v1"), DENIED), &["plant/plc:v1"]);
}

#[test]
fn p384_and_rsa_signers_count() {
    needs_notary!();
    let pki = Pki::new();
    let notary = RealNotary::start(&pki);
    let site = Site::with_server(&pki, &notary.url());
    for kind in [KeyKind::P384, KeyKind::Rsa2048] {
        let (alice, digest) = (Signer::with_key("alice", kind), Digest::of("v1"));
        let name = format!("registry.local:9001/plant/{kind:?}").to_lowercase();
        notary.repository(&name).add_signer(&alice).sign("v1", &digest, &["targets/releases", "targets/alice"]);
        site.policies(&[policy(&[&alice])]);
        let answer = answer_for(&site, &format!("{name}:v1"), ALLOWED);
        assert_eq!(patch(&answer)[0]["value"], pinned(&name, &digest), "{kind:?}");
        site.policies(&[policy(&[&Signer::with_key("alice", kind)])]);
        assert_denied(&answer_for(&site, &format!("{name}:v1"), DENIED), &["alice"]);
    }
}

#[test]
fn check_explains_one_image() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site_requiring_alice();
    let image = format!("{PLC}:v1");
    let run = run(&mut site.command("check", &["--namespace", "line-1", &image]), "").expect(ALLOWED);
    let expected = [plant.plc.to_string(), "alice".into(), "plant".into(), plant.notary.url(), "timestamp".into()];
    for word in expected {
        assert!(run.stdout.contains(&word), "no {word:?} in {}", run.stdout);
    }
    let json = crate::process::run(&mut site.command("check", &["--output", "json", &image]), "").expect(ALLOWED);
    let _: Vec<Value> = serde_json::Deserializer::from_str(&json.stdout).into_iter().collect::<Result<_, _>>().unwrap();
    crate::process::run(&mut site.command("check", &[&format!("{PLC}:unsigned")]), "").expect(DENIED);
}

/// `check --digest` prints what is to be committed, and nothing for an image that would be denied.
#[test]
fn check_prints_the_digest_form_alone() {
    needs_notary!();
    let plant = Plant::visit();
    let site = plant.site_requiring_alice();
    let check = |images: &[&str]| run(&mut site.command("check", &[&["--digest"], images].concat()), "");
    let (signed, unsigned) = (format!("{PLC}:v1"), format!("{PLC}:unsigned"));
    let told = check(&[&signed]).expect(ALLOWED);
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), (&*format!("{}\n", pinned(PLC, &plant.plc)), ""));
    let told = check(&[&unsigned, &signed]).expect(DENIED);
    assert_eq!(told.stdout, format!("{}\n", pinned(PLC, &plant.plc)));
    assert!(told.stderr.contains("plant/plc:unsigned: rejected: "), "{told:?}");
    // With mutateImage: false the webhook changes nothing. The digest can still be committed.
    let mut policy = policy(&[&plant.alice]);
    policy["spec"]["repositories"][0]["policy"]["mutateImage"] = json!(false);
    let mut open = policy_for("registry.local:9001/open/*", json!({ "enabled": false }));
    open["metadata"]["name"] = json!("open");
    site.policies(&[policy, open]);
    let told = check(&[&signed, "registry.local:9001/open/tool:1"]).expect(ALLOWED).stdout;
    assert_eq!(told, format!("{}\nregistry.local:9001/open/tool:1\n", pinned(PLC, &plant.plc)));
}

#[test]
fn lint_finds_the_line() {
    let good = fixture("policy.yaml");
    run(executable().arg("lint").arg(&good), "").expect(ALLOWED);
    let bad = fixture("policy-misindented.yaml");
    let run = run(executable().arg("lint").arg(&good).arg(&bad), "").expect(BAD_INPUT);
    for word in ["policy-misindented.yaml:9:", "trust"] {
        assert!(run.text().contains(word), "no {word:?} in {run:?}");
    }
}

#[test]
fn bad_input_is_told_from_a_denial() {
    let pki = Pki::new();
    let mut site = Site::new(&pki);
    site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
    let manifest = fixture("deployment.yaml");
    site.review(&[], &site.file("none", "").with_file_name("absent")).expect(BAD_INPUT);
    site.review(&[], &site.file("broken.yaml", "a: [")).expect(BAD_INPUT);
    site.review(&["--no-such-option"], &manifest).expect(BAD_INPUT);
    run(executable().arg("judge"), "").expect(BAD_INPUT);
    // What was typed commands no terminal.
    for arguments in [
        &["lint", "--config", "\u{1b}[31mX"][..],
        &["doctor", "--config", "\u{1b}[31mX"],
        &["\u{1b}[31mX"],
        &["--\u{1b}[31mX"],
        &["lint", "--\u{1b}[31mX"],
        &["lint", "\u{1b}[31mX"],
        &["check", "--namespace", "\u{1b}[31mX", "a"],
        &["check", "--timeout", "\u{1b}[31mX", "a"],
        &["review", "--policies", "\u{1b}[31mX", "a"],
        &["version", "\u{1b}[31mX"],
    ] {
        let told = run(executable().args(arguments), "").expect(BAD_INPUT);
        let told = [told.stdout, told.stderr].concat();
        assert!(!told.contains('\u{1b}') && told.contains('X'), "{arguments:?}: {told:?}");
    }
    // A private key that is given as a configuration is not printed.
    let key =
        site.file("tls.key", "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEG\n-----END PRIVATE KEY-----\n");
    for command in [&["lint"][..], &["doctor"], &["serve"], &["check", "registry.local/a"]] {
        let told = run(executable().args(command).arg("--config").arg(&key), "").expect(BAD_INPUT);
        let told = [told.stdout, told.stderr].concat();
        assert!(told.contains("this is a private key, and no configuration") && !told.contains("MIGH"), "{told}");
    }
    // A misspelt configuration key is refused, and the right key is suggested.
    site.config["trsut"] = json!({});
    let run = site.review(&[], &manifest).expect(BAD_INPUT);
    assert!(
        run.stderr.contains("trsut") && run.stderr.contains("\"trust\"") || run.stderr.contains("`trust`"),
        "{run:?}"
    );
    site.config.as_object_mut().unwrap().remove("trsut");
    site.policy_text(&fs::read_to_string(fixture("policy-misindented.yaml")).unwrap());
    let run = site.review(&[], &manifest).expect(BAD_INPUT);
    assert!(run.stderr.contains("plant.yaml:9:"), "{run:?}");
}

#[test]
fn objects_that_cannot_be_judged_are_denied_with_their_uid() {
    let pki = Pki::new();
    let site = Site::new(&pki);
    site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
    let mut unknown = pod_review("registry.local:9001/plant/plc:v1");
    unknown["request"]["resource"] = json!({ "group": "", "version": "v1", "resource": "services" });
    unknown["request"]["kind"] = json!({ "group": "", "version": "v1", "kind": "Service" });
    let mut undecodable = pod_review("registry.local:9001/plant/plc:v1");
    undecodable["request"]["object"]["spec"]["containers"] = json!("none");
    for review in [unknown, undecodable] {
        let (status, answers) = site.answers(&site.file("review.json", &review.to_string()));
        assert_eq!(status, Some(DENIED), "{answers:#?}");
        assert_denied(&answers[0], &[]);
        assert_eq!(answers[0]["response"]["uid"], review["request"]["uid"]);
    }
}
