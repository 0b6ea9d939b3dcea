//! `check --trusted-root` and `export --trusted-root`: who has signed by a certificate, and the policy for it.

use portreeve_test_support::cosign::plant::{ISSUER, Plant as Instance, SIGNED, SUBJECT, Signing, names, uri};

use super::*;

/// A plant with a Sigstore instance, whose certificate has signed `v1` as well.
fn signed() -> (Plant, Instance, String) {
    let (plant, instance) = (Plant::new(), Instance::new());
    let signing = Signing::keyless(&instance, &plant.image, &instance.leaf(), SIGNED);
    plant.registry.attach(NAME, &plant.image, &signing.artifact(&plant.image));
    let root = root(&plant, &instance.trusted_root());
    (plant, instance, root)
}

fn root(plant: &Plant, root: &Value) -> String {
    plant.site.file("roots/plant.json", &root.to_string()).display().to_string()
}

/// The site knows the trusted root from now on.
fn mount(plant: &mut Plant) {
    plant.site.config["sigstore"] = json!({ "trustedRoots": plant.site.files().join("roots") });
}

#[test]
fn whoever_has_signed_is_named_with_a_policy() {
    let (mut plant, instance, root) = signed();
    let report = plant.json(&["--trusted-root", &root, &plant.tagged("v1")], ALLOWED);
    let whom = format!("{SUBJECT} of {ISSUER}");
    assert_eq!((&report["verdict"], &report["signers"]), (&json!("verified"), &json!([whom])));
    let signatures = report["signatures"].as_array().unwrap();
    let of = |is_counted: bool| signatures.iter().filter(|one| one.get("passedOver").is_none() == is_counted).count();
    assert_eq!((of(true), of(false)), (1, 2), "{report:#}");
    let snippet = report["policySnippet"].as_str().unwrap();
    assert!(
        snippet.contains(&format!("issuer: \"{ISSUER}\"")) && snippet.contains("trustedRoot: \"plant\""),
        "{snippet}"
    );
    mount(&mut plant);
    let report = plant.under_text(snippet, ALLOWED);
    assert_eq!(report["policySnippet"], snippet, "the policy that let it in is printed again");
    let text =
        run(&mut plant.site.command("check", &["--trusted-root", &root, &plant.tagged("v1")]), "").expect(ALLOWED);
    assert!(text.stdout.contains(&format!("signed by                     {whom}\n")), "{}", text.stdout);
    // Under the policy, another identity's image is denied.
    let other = plant.registry.push_image(NAME, "v1", "other");
    let leaf = instance.with_sct(
        &instance.ct_log,
        SIGNED,
        &names(uri("https://git.plant.example/x"), Some(ISSUER), Some(ISSUER)),
    );
    plant.registry.attach(NAME, &other, &Signing::keyless(&instance, &other, &leaf, SIGNED).artifact(&other));
    plant.site.config["trust"]["refreshAfter"] = json!("0s");
    let report = plant.under_text(snippet, DENIED);
    assert!(report["reason"].as_str().unwrap().contains("https://git.plant.example/x of "), "{report:#}");
    // An unsigned image has nobody, and a log that the root lacks is named.
    plant.json(&["--trusted-root", &root, &plant.tagged("unsigned")], DENIED);
    let mut stale = instance.trusted_root();
    stale["tlogs"].as_array_mut().unwrap().remove(0);
    let stale = plant.site.file("old/plant.json", &stale.to_string()).display().to_string();
    let report = plant.json(&["--trusted-root", &stale, &plant.tagged("v1")], DENIED);
    let why = report["signatures"][0]["passedOver"].as_str().unwrap();
    assert!(why.contains(&format!("knows no log {}", instance.log.hint())), "{report:#}");
}

#[test]
fn an_identity_and_a_logged_key_can_be_asked_for() {
    let (plant, instance, root) = signed();
    let tagged = plant.tagged("v1");
    let by = |issuer: &str, subject: &str, status| {
        plant.json(&["--trusted-root", &root, "--issuer", issuer, "--subject", subject, &tagged], status)
    };
    let wide = "https://git.plant.example/*";
    let snippet = by(ISSUER, wide, ALLOWED)["policySnippet"].as_str().unwrap().to_owned();
    assert!(snippet.contains(&format!("subject: \"{wide}\"")), "{snippet}");
    assert_eq!(by(ISSUER, wide, ALLOWED)["signers"], json!([wide]), "as typed");
    by("https://other.example", wide, DENIED);
    by(ISSUER, "git.plant.example", DENIED);
    // The plant's key has signed, and no log has its signature.
    let key = plant.key_file();
    plant.json(&["--key", &key, &tagged], ALLOWED);
    let report = plant.json(&["--key", &key, "--trusted-root", &root, &tagged], DENIED);
    assert!(report["reason"].as_str().unwrap().contains("no entry of a transparency log"), "{report:#}");
    let logged = plant.site.file("logged.pub", &instance.signer.public_pem()).display().to_string();
    let image = plant.registry.push_image(NAME, "logged", "logged");
    plant.registry.attach(NAME, &image, &Signing::logged(&instance, &image, SIGNED).artifact(&image));
    let report = plant.json(&["--key", &logged, "--trusted-root", &root, &plant.tagged("logged")], ALLOWED);
    let snippet = report["policySnippet"].as_str().unwrap();
    assert!(snippet.contains("transparencyLog: required") && snippet.contains("BEGIN PUBLIC KEY"), "{snippet}");
}

#[test]
fn an_image_that_only_certificates_have_signed_is_no_image_for_a_key() {
    let (plant, instance, root) = signed();
    let image = plant.registry.push_image(NAME, "keyless", "keyless");
    plant.registry.attach(
        NAME,
        &image,
        &Signing::keyless(&instance, &image, &instance.leaf(), SIGNED).artifact(&image),
    );
    let report = plant.json(&["--signatures", &plant.tagged("keyless")], ALLOWED);
    let why = report["signatures"][0]["passedOver"].as_str().unwrap();
    assert!(why.contains("\"portreeve check --trusted-root FILE\" says whose it is"), "{report:#}");
    assert_eq!(report.get("policySnippet"), None, "{report:#}");
    // Nobody has signed under a root of another instance.
    let other = plant.site.file("other/plant.json", &Instance::new().trusted_root().to_string()).display().to_string();
    let report = plant.json(&["--trusted-root", &other, &plant.tagged("keyless")], DENIED);
    assert!(
        report["reason"].as_str().unwrap().contains("not signed by any identity of the trusted root"),
        "{report:#}"
    );
    plant.json(&["--trusted-root", &root, &plant.tagged("keyless")], ALLOWED);
}

#[test]
fn a_root_without_a_log_of_certificates_is_said_aloud() {
    let (mut plant, instance, _) = signed();
    let mut private = instance.trusted_root();
    private["ctlogs"] = json!([]);
    let root = root(&plant, &private);
    let report = plant.json(&["--trusted-root", &root, &plant.tagged("v1")], ALLOWED);
    let snippet = report["policySnippet"].as_str().unwrap();
    assert!(snippet.contains("certificateTransparency: ignored\n          # It is ignored because"), "{snippet}");
    let linted = run(executable().arg("lint").arg(plant.site.file("s.yaml", snippet)), "").expect(ALLOWED).stdout;
    assert!(linted.contains("note: with \"certificateTransparency: ignored\""), "{linted}");
    mount(&mut plant);
    plant.under_text(snippet, ALLOWED);
}

#[test]
fn a_trusted_root_that_cannot_be_used_is_bad_input() {
    let (plant, instance, root) = signed();
    let text = instance.trusted_root().to_string();
    let tagged = plant.tagged("v1");
    let told = |file: &str, more: &[&str]| {
        let args = [&["--trusted-root", file], more, &[&tagged]].concat();
        run(&mut plant.site.command("check", &args), "").expect(BAD_INPUT).stderr
    };
    let at = |name: &str, text: &str| plant.site.file(name, text).display().to_string();
    for (file, words) in [
        ("/nowhere/plant.json".to_owned(), "/nowhere/plant.json: "),
        (at("damaged.json", "{"), "damaged.json: it is not strict JSON: it ends too early at byte "),
        (at("fulcio.pem", "-----BEGIN CERTIFICATE-----"), "\"cosign trusted-root create\" makes one of such files"),
        (at("plant.txt", &text), "call the file NAME.json"),
        (at("plant root.json", &text), "call the file NAME.json"),
    ] {
        assert!(told(&file, &[]).contains(words), "{file}");
    }
    assert!(
        told(&root, &["--issuer", "*", "--subject", "a"])
            .contains("issuer: \"*\" alone is not allowed: name the issuer")
    );
}

#[test]
fn signatures_by_certificates_are_carried_to_a_site() {
    let (mut plant, _instance, root) = signed();
    let tagged = plant.tagged("v1");
    let stick = plant.site.files().join("stick");
    let export = |options: &[&str], status| {
        let args = [&["--image", &tagged, "--trusted-root", &root], options, &[stick.to_str().unwrap()]].concat();
        run(&mut plant.site.command("export", &args), "").expect(status).stdout
    };
    export(&["--issuer", ISSUER, "--subject", "https://other.example/*"], DENIED);
    assert!(!stick.exists());
    let key = plant.key_file();
    export(&["--key", &key], DENIED);
    let told = export(&["--issuer", ISSUER, "--subject", SUBJECT], ALLOWED);
    assert!(told.contains(&format!("signed by {SUBJECT}")), "{told}");
    plant.registry.go_away();
    mount(&mut plant);
    let prefix = format!("{}/plant/", plant.registry.host());
    plant.site.config["registries"] = json!({ "signatures": { prefix: format!("file://{}", stick.display()) } });
    let signers = |subject: &str| json!([{ "name": "ci", "issuer": ISSUER, "subject": subject }]);
    let policy = |subject: &str| json!({ "cosign": { "signers": signers(subject), "trustedRoot": "plant" } });
    let report = plant.under(&policy(SUBJECT), "v1", ALLOWED);
    assert_eq!(report["digest"], plant.image.digest());
    plant.under(&policy("https://git.plant.example/other"), "v1", DENIED);
}
