//! Images that Notation's own library has signed (tests/notation), in real registries, and its own verifier beside ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::docs::blocks::in_page;
use crate::pki::Pki;
use crate::process::{run, skip_for_want_of};
use crate::producers::Producers;
use crate::product::Site;
use crate::registries::{self, RealRegistry};
use crate::review::{assert_allowed, assert_denied, patch, pod, pod_review, policy_of};

/// What openssl makes certificates by.
const OPENSSL: &str = "[req]\ndistinguished_name=dn\nprompt=no\nx509_extensions=ca\n[dn]\nC=US\nST=WA\nO=Plant\nCN=Root\n\
                       [ca]\nbasicConstraints=critical,CA:true,pathlen:1\nkeyUsage=critical,keyCertSign,cRLSign\n\
                       [leaf]\nbasicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n\
                       extendedKeyUsage=codeSigning\n";

/// A registry, Notation, a signer of the plant and a stranger, and an installation with the plant's trust store.
struct Plant {
    producers: Producers,
    registry: RealRegistry,
    notation: PathBuf,
    site: Site,
    /// Does the registry have the referrers API?
    has_api: bool,
}

impl Plant {
    /// `None` if a program is missing.
    #[track_caller]
    fn new(has_api: bool) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/notation/build");
        let places = run(Command::new(script).arg("--where"), "").expect(0).stdout;
        let mut places = places.lines().map(|place| Path::new(place).join("notation"));
        let Some(notation) = places.find(|program| program.exists()) else {
            skip_for_want_of("notation (tests/notation/build makes it)");
            return None;
        };
        let pki = Pki::new();
        let producers = Producers::find(&pki)?;
        if !has_api && !registries::available() {
            return None;
        }
        let registry = match has_api {
            true => RealRegistry::with_referrers(&producers),
            false => RealRegistry::without_referrers(&producers, None),
        };
        let mut site = Site::new(&pki);
        site.file("openssl.cnf", OPENSSL);
        for (name, organisation, algorithm) in [
            ("alice", "Plant", "ec_paramgen_curve:P-256"),
            ("rsa", "Plant", "rsa_keygen_bits:3072"),
            ("mallory", "Other", "ec_paramgen_curve:P-384"),
        ] {
            certificates(&site, name, organisation, algorithm);
        }
        for (store, name) in [("plant", "alice"), ("plant", "rsa")] {
            let root = std::fs::read_to_string(site.files().join(format!("{name}/root.pem"))).unwrap();
            site.file(&format!("stores/truststore/x509/ca/{store}/{name}.pem"), &root);
        }
        site.config["notation"] = json!({ "trustStores": site.files().join("stores") });
        let plant = Self { producers, registry, notation, site, has_api };
        plant.require(json!({}));
        Some(plant)
    }

    /// The policy for all images here, with these fields besides.
    fn require(&self, more: Value) {
        let mut notation = json!({
            "trustStores": ["ca:plant"],
            "trustedIdentities": ["x509.subject: C=US, ST=WA, O=Plant"],
        });
        for (name, value) in more.as_object().unwrap() {
            notation[name] = value.clone();
        }
        let pattern = format!("{}/plant/*", self.registry.host());
        self.site.policies(&[policy_of(&pattern, json!({ "notation": notation }))]);
    }

    /// Pushes an image. Returns `<name>:v1` and `<name>@<digest>`.
    fn push(&self, path: &str) -> (String, String) {
        let name = format!("{}/plant/{path}", self.registry.host());
        let tagged = format!("{name}:v1");
        let digest = self.producers.push(&tagged, path);
        (tagged, format!("{name}@{digest}"))
    }

    fn notation(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.notation);
        command.env_clear().env("HOME", self.site.files()).args(args).arg("--ca").arg(self.producers.pki.ca());
        if !self.has_api && args.first() == Some(&"sign") {
            command.arg("--tag-schema");
        }
        command
    }

    #[track_caller]
    fn sign(&self, signer: &str, format: &str, options: &[&str], pinned: &str) {
        let mut command = self.notation(&["sign", "--format", format]);
        command.arg("--key").arg(self.site.files().join(format!("{signer}/leaf.key")));
        command.arg("--chain").arg(self.site.files().join(format!("{signer}/chain.pem"))).args(options).arg(pinned);
        run(&mut command, "").expect(0);
    }

    /// What Notation's own verifier says under the same store and identity.
    fn is_verified_by_notation(&self, pinned: &str) -> bool {
        let policy = json!({ "version": "1.0", "trustPolicies": [{
            "name": "plant", "registryScopes": ["*"], "signatureVerification": { "level": "strict" },
            "trustStores": ["ca:plant"], "trustedIdentities": ["x509.subject: C=US, ST=WA, O=Plant"],
        }] });
        let policy = self.site.file("trustpolicy.json", &policy.to_string());
        let mut command = self.notation(&["verify"]);
        command.arg("--policy").arg(policy).arg("--config").arg(self.site.files().join("stores")).arg(pinned);
        run(&mut command, "").status == Some(0)
    }

    /// Reviews a Pod on the command line: exit status and answer.
    fn review(&self, image: &str) -> (Option<i32>, Value) {
        let (status, answers) = self.site.answers(&self.site.file("pod.json", &pod(image).to_string()));
        (status, answers[0].clone())
    }
}

/// A root, a leaf under it, and their chain, in a directory of this name.
fn certificates(site: &Site, name: &str, organisation: &str, option: &str) {
    let algorithm = if option.starts_with("rsa") { "RSA" } else { "EC" };
    let at = |file: &str| site.files().join(format!("{name}/{file}")).to_str().unwrap().to_owned();
    site.file(&format!("{name}/.keep"), "");
    let config = site.files().join("openssl.cnf").to_str().unwrap().to_owned();
    let openssl = |args: &[&str]| drop(run(Command::new("/usr/bin/openssl").args(args), "").expect(0));
    for key in ["root.key", "leaf.key"] {
        openssl(&["genpkey", "-algorithm", algorithm, "-pkeyopt", option, "-out", &at(key)]);
    }
    let root = ["req", "-x509", "-new", "-key", &at("root.key"), "-out", &at("root.pem"), "-config", &config];
    openssl(&[&root[..], &["-days", "30", "-subj", &format!("/C=US/ST=WA/O={organisation}/CN={name} root")]].concat());
    let subject = format!("/C=US/ST=WA/O={organisation}/CN={name}");
    openssl(&["req", "-new", "-key", &at("leaf.key"), "-out", &at("leaf.csr"), "-config", &config, "-subj", &subject]);
    let leaf =
        ["x509", "-req", "-in", &at("leaf.csr"), "-CA", &at("root.pem"), "-CAkey", &at("root.key"), "-days", "20"];
    openssl(&[&leaf[..], &["-extfile", &config, "-extensions", "leaf", "-out", &at("leaf.pem")]].concat());
    let read = |file: &str| std::fs::read_to_string(at(file)).unwrap();
    site.file(&format!("{name}/chain.pem"), &(read("leaf.pem") + &read("root.pem")));
}

/// Both registries, both formats, and two kinds of key. Notation's own verifier agrees each time.
#[test]
fn images_that_notation_has_signed_are_pinned_and_others_are_denied() {
    for has_api in [true, false] {
        let Some(plant) = Plant::new(has_api) else { return };
        for (signer, format) in [("alice", "jws"), ("alice", "cose"), ("rsa", "jws"), ("rsa", "cose")] {
            let (tagged, pinned) = plant.push(&format!("{signer}-{format}"));
            let (status, answer) = plant.review(&tagged);
            assert_eq!(status, Some(1), "{answer:#}");
            assert_denied(&answer, &["has no Notation signature for it"]);
            plant.sign(signer, format, &[], &pinned);
            assert!(plant.is_verified_by_notation(&pinned), "{signer} {format}");
            let (status, answer) = plant.review(&tagged);
            assert_eq!(status, Some(0), "{signer} {format} {has_api}: {answer:#}");
            assert_eq!(patch(&answer)[0]["value"], pinned.replacen('@', ":v1@", 1));
        }
        // Another root, whose certificates nobody has mounted.
        let (tagged, pinned) = plant.push("stranger");
        plant.sign("mallory", "jws", &[], &pinned);
        assert!(!plant.is_verified_by_notation(&pinned));
        let (status, answer) = plant.review(&tagged);
        assert_eq!(status, Some(1), "{answer:#}");
        assert_denied(&answer, &["CN=mallory", "ca"]);
    }
}

/// `check` knows who signed before there is a policy, and prints one that lets the image in and no other signer's.
#[test]
fn what_check_prints_is_a_policy_for_the_signer() {
    let Some(plant) = Plant::new(true) else { return };
    let (tagged, pinned) = plant.push("plc");
    let (other, other_pinned) = plant.push("other");
    plant.sign("alice", "jws", &["--expiry", "24h"], &pinned);
    plant.sign("rsa", "cose", &[], &other_pinned);
    let check = |options: &[&str]| {
        let args = [&["--trust-store", "ca:plant"], options, &[&tagged]].concat();
        run(&mut plant.site.command("check", &args), "").expect(0).stdout
    };
    let report: Value = serde_json::from_str(&check(&["--output", "json"])).unwrap();
    assert_eq!(report["signers"][0], "CN=alice,O=Plant,ST=WA,C=US");
    assert!(report["expires"]["signature"].as_str() < report["expires"]["certificate"].as_str(), "{report:#}");
    let text = check(&[]);
    assert!(text.contains("signature ends") && text.contains("certificate ends"), "{text}");
    let policy = plant.site.file("printed/p.yaml", report["policySnippet"].as_str().unwrap());
    for (image, status) in [(&tagged, 0), (&other, 1)] {
        let args = ["--policies", policy.to_str().unwrap(), image];
        run(&mut plant.site.command("check", &args), "").expect(status);
    }
}

/// What is signed besides the image, and evidence: a digest that was verified needs no registry.
#[test]
fn metadata_counts_and_evidence_outlives_the_registry() {
    let Some(mut plant) = Plant::new(true) else { return };
    let (_, first) = plant.push("first");
    let (tagged, second) = plant.push("second");
    plant.sign("alice", "jws", &["--metadata", "line=1", "--expiry", "24h"], &first);
    plant.sign("alice", "cose", &["--metadata", "line=2"], &second);
    plant.require(json!({ "metadata": { "line": "1" } }));
    let serving = plant.site.serve();
    let admit = |image: &str| serving.admit("/admit?timeout=5s", &pod_review(image));
    assert_allowed(&admit(&first));
    assert_denied(&admit(&tagged), &["line", "\"2\"", "\"1\""]);
    plant.registry.go_away();
    assert_allowed(&admit(&first));
    assert_denied(&admit(&tagged), &[]);
}

/// The commands of docs/notation.md make certificates that Notation signs with, and a trust store that knows them.
#[test]
fn the_certificates_of_the_page_sign_images() {
    const PAGE: &str = "docs/notation.md";
    let Some(mut plant) = Plant::new(true) else { return };
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let blocks = in_page(PAGE, &page);
    let blocks = blocks.iter().filter(|block| block.tests.iter().any(|name| name == "notation-certificates"));
    let commands: String = blocks.map(|block| block.text.as_str()).collect();
    plant.site.file("reader/.keep", "");
    let directory = plant.site.files().join("reader");
    run(Command::new("/bin/bash").current_dir(&directory).args(["-euc", &commands]), "").expect(0);
    std::fs::copy(directory.join("release.key"), directory.join("leaf.key")).unwrap();
    let (tagged, pinned) = plant.push("plc");
    plant.sign("reader", "jws", &[], &pinned);
    let (status, answer) = plant.review(&tagged);
    assert_eq!(status, Some(1), "{answer:#}");
    plant.site.config["notation"] = json!({ "trustStores": directory.join("notation") });
    let (status, answer) = plant.review(&tagged);
    assert_eq!(status, Some(0), "{answer:#}");
    assert_eq!(patch(&answer)[0]["value"], pinned.replacen('@', ":v1@", 1));
}
