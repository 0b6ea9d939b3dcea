//! What `check` says of cosign signatures: the registry, each signature, and a policy that can be pasted.

use portreeve_test_support::certificates::Authority;
use portreeve_test_support::cosign::{Artifact, Bundle, Image, Key, Layer, Payload, Statement};
use portreeve_test_support::registry::Registry;
use portreeve_test_support::signer::Signer;
use portreeve_test_support::trust_server::TrustServer;
use serde_json::{Value, json};

use crate::pki::Pki;
use crate::process::run;
use crate::product::{Site, executable};
use crate::review::policy_for;

mod certificates;

const NAME: &str = "plant/plc";

const ALLOWED: i32 = 0;
const DENIED: i32 = 1;
const BAD_INPUT: i32 = 2;
const UNDECIDED: i32 = 3;

/// A registry with an image that two keys have signed, and a site that trusts its CA and has no policy.
struct Plant {
    registry: Registry,
    authority: Authority,
    site: Site,
    release: Key,
    image: Image,
}

impl Plant {
    fn new() -> Self {
        let authority = Authority::new();
        let registry = Registry::start_under(&authority);
        let image = registry.push_image(NAME, "v1", "first");
        let release = Key::p256();
        let bundle = Bundle::dsse(&Statement::new(&image).bytes(), &release).bytes();
        registry.attach(NAME, &image, &Artifact::bundle(&image, bundle));
        let other = Bundle::dsse(&Statement::new(&image).bytes(), &Key::p384()).bytes();
        registry.attach(NAME, &image, &Artifact::bundle(&image, other));
        registry.push_image(NAME, "unsigned", "unsigned");
        let mut site = Site::new(&Pki::new());
        site.config["trust"] = json!({ "ca": site.file("registry-ca.pem", &authority.pem()) });
        Self { registry, authority, site, release, image }
    }

    fn tagged(&self, tag: &str) -> String {
        format!("{}/{NAME}:{tag}", self.registry.host())
    }

    fn key_file(&self) -> String {
        self.site.file("cosign.pub", &self.release.public_pem()).display().to_string()
    }

    fn json(&self, arguments: &[&str], status: i32) -> Value {
        let arguments = [&["--output", "json"], arguments].concat();
        let run = run(&mut self.site.command("check", &arguments), "").expect(status);
        serde_json::from_str(&run.stdout).unwrap()
    }

    /// The report on `v1` under a policy.
    fn under(&self, policy: &Value, tag: &str, status: i32) -> Value {
        let repositories = json!([{ "name": "*", "policy": policy }]);
        self.site.policies(&[json!({
            "apiVersion": "portreeve/v1", "kind": "ClusterImagePolicy", "metadata": { "name": "plant" },
            "spec": { "repositories": repositories },
        })]);
        self.json(&[&self.tagged(tag)], status)
    }

    fn cosign(&self) -> Value {
        json!({ "signers": [{ "name": "release", "publicKey": self.release.public_pem() }] })
    }

    /// Puts a text in force as the policy, and checks `v1` by it.
    fn under_text(&self, policy: &str, status: i32) -> Value {
        let file = self.site.file("pasted.yaml", policy);
        run(executable().arg("lint").arg(file), "").expect(ALLOWED);
        self.site.policy_text(policy);
        self.json(&[&self.tagged("v1")], status)
    }
}

#[test]
fn check_shows_each_signature_and_a_policy_that_can_be_pasted() {
    let plant = Plant::new();
    let report = plant.under(&json!({ "cosign": plant.cosign() }), "v1", ALLOWED);
    let [registry, digest] = [plant.registry.url(), plant.image.digest()];
    assert_eq!((&report["verdict"], &report["scheme"]), (&json!("verified"), &json!("cosign")), "{report:#}");
    assert_eq!((&report["registry"], &report["digest"]), (&json!(registry), &json!(digest)), "{report:#}");
    assert_eq!(report["repository"], format!("{}/{NAME}", plant.registry.host()));
    assert_eq!(report["signatureData"], "fetched now");
    assert_eq!(report["statement"], format!("the digest that tag v1 has at {registry}"));
    assert_eq!(report["signers"], json!(["release"]));
    assert_eq!((report.get("trustServer"), report.get("gun")), (None, None));
    assert_eq!(report["storedSignatures"]["digest"], digest, "{report:#}");
    assert_eq!(report["storedSignatures"]["count"], 1, "of the policy's signers alone: {report:#}");
    assert!(report["storedSignatures"]["ageSeconds"].as_u64().is_some_and(|age| age < 60), "{report:#}");
    let signatures = report["signatures"].as_array().unwrap();
    let counted: Vec<_> = signatures.iter().filter(|one| one["signers"] == json!(["release"])).collect();
    let passed_over: Vec<_> = signatures.iter().filter(|one| one.get("passedOver").is_some()).collect();
    assert_eq!((signatures.len(), counted.len(), passed_over.len()), (2, 1, 1), "{report:#}");
    // The policy that it prints lets the image in, and no other.
    let snippet = report["policySnippet"].as_str().unwrap().to_owned();
    let pasted = plant.under_text(&snippet, ALLOWED);
    assert_eq!((&pasted["verdict"], &pasted["policySnippet"]), (&json!("verified"), &json!(snippet)));
    assert_eq!(plant.json(&[&plant.tagged("unsigned")], DENIED)["verdict"], "rejected");
    let text = run(&mut plant.site.command("check", &[&plant.tagged("v1")]), "").expect(ALLOWED).stdout;
    for words in [
        "registry                      https://127.0.0.1:",
        "signed by                     release\n",
        "signature                     bundle in sha256:",
        ": signed by release\n",
        ": passed over: ",
        "  a policy that requires this:\n    apiVersion: portreeve/v1\n",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
}

#[test]
fn check_says_what_is_stored_while_the_registry_is_away() {
    let mut plant = Plant::new();
    plant.site.config["trust"]["cache"] = json!(plant.site.file("cache/none", "").parent());
    plant.site.config["trust"]["refreshAfter"] = json!("0s");
    let mut cosign = plant.cosign();
    plant.under(&json!({ "cosign": cosign }), "v1", ALLOWED);
    plant.registry.go_away();
    let report = plant.under(&json!({ "cosign": cosign }), "v1", UNDECIDED);
    assert_eq!(report["verdict"], "unavailable");
    assert!(report["reason"].as_str().unwrap().contains(&plant.registry.url()), "{report:#}");
    cosign["whenUnavailable"] = json!("useCached");
    cosign["maxStale"] = json!("1h");
    let report = plant.under(&json!({ "cosign": cosign }), "v1", ALLOWED);
    let data = report["signatureData"].as_str().unwrap();
    assert!(data.starts_with("stored, the registry last confirmed the digest of the tag "), "{report:#}");
    assert_eq!(report["signatures"][0]["signers"], json!(["release"]), "{report:#}");
}

#[test]
fn check_looks_at_signatures_before_there_is_a_policy() {
    let plant = Plant::new();
    let image = plant.tagged("v1");
    let report = plant.json(&["--signatures", &image], ALLOWED);
    assert_eq!((&report["verdict"], report.get("reason")), (&json!("unchecked"), None), "{report:#}");
    assert_eq!(report["signatures"].as_array().unwrap().len(), 2, "{report:#}");
    let template = report["policySnippet"].as_str().unwrap();
    assert!(template.contains("create secret generic cosign-pub --from-file=cosign.pub"), "{template}");
    // The template is a policy: with the Secret that it names it lets the image in.
    plant.site.secret("portreeve", "cosign-pub", &[("cosign.pub", &plant.release.public_pem())]);
    let report = plant.under_text(template, ALLOWED);
    assert_eq!((&report["verdict"], &report["signers"]), (&json!("verified"), &json!(["cosign-pub"])), "{report:#}");
    let report = plant.json(&["--signatures", &plant.tagged("unsigned")], DENIED);
    assert_eq!((&report["verdict"], report.get("policySnippet")), (&json!("rejected"), None), "{report:#}");
    plant.registry.go_away();
    plant.json(&["--signatures", &plant.tagged("unsigned")], UNDECIDED);
}

#[test]
fn check_by_a_key_prints_the_policy_with_the_key() {
    let plant = Plant::new();
    let (key, image) = (plant.key_file(), plant.tagged("v1"));
    let report = plant.json(&["--key", &key, &image], ALLOWED);
    assert_eq!((&report["verdict"], &report["signers"]), (&json!("verified"), &json!(["cosign"])), "{report:#}");
    let pasted = plant.under_text(report["policySnippet"].as_str().unwrap(), ALLOWED);
    assert_eq!((&pasted["verdict"], &pasted["signers"]), (&json!("verified"), &json!(["cosign"])), "{pasted:#}");
    let other = plant.site.file("other.pub", &Key::p256().public_pem()).display().to_string();
    let report = plant.json(&["--key", &other, &image], DENIED);
    assert_eq!((&report["verdict"], report.get("policySnippet")), (&json!("rejected"), None), "{report:#}");
    let private = plant.site.file("cosign.key", &plant.release.private_pem()).display().to_string();
    let told = run(&mut plant.site.command("check", &["--key", &private, &image]), "").expect(BAD_INPUT).stderr;
    assert!(told.contains("cosign.key: it is a private key"), "{told}");
}

#[test]
fn check_shows_every_check_of_a_policy_with_two_schemes() {
    let plant = Plant::new();
    let server = TrustServer::start_under(&plant.authority);
    let gun = format!("{}/{NAME}", plant.registry.host());
    let v1 = plant.image.sha256();
    // In the old format as well.
    let payload = Payload::new(&plant.image).reference(&gun).bytes();
    plant.registry.attach_tag(NAME, &plant.image, &Artifact::layers(&[Layer::new(payload, &plant.release)]));
    server.publish(&Signer::new(&gun).signer("alice").release("v1", v1, 100, &["alice"]).publish());
    let trust = json!({ "enabled": true, "trustServer": server.url() });
    let other = json!({ "signers": [{ "name": "other", "publicKey": Key::p256().public_pem() }] });
    let report = plant.under(&json!({ "anyOf": [{ "cosign": other }, { "trust": trust }] }), "v1", ALLOWED);
    assert_eq!((&report["verdict"], &report["scheme"]), (&json!("verified"), &json!("trust")), "{report:#}");
    let checks = report["checks"].as_array().unwrap();
    let words: Vec<_> = checks.iter().map(|one| (&one["scheme"], &one["verdict"], &one["counts"])).collect();
    let (yes, no) = (json!("verified"), json!("rejected"));
    assert_eq!(words, [(&json!("trust"), &yes, &json!(true)), (&json!("cosign"), &no, &json!(false))], "{report:#}");
    assert!(checks[1]["reason"].as_str().unwrap().contains("not signed by other"), "{report:#}");
    assert_eq!(checks[1]["signatures"].as_array().map(Vec::len), Some(3), "{report:#}");
    assert_eq!(report.get("policySnippet"), None, "trust let it in");
    // Two schemes that must both hold make no policy with one of them.
    let report = plant.under(&json!({ "cosign": plant.cosign(), "trust": trust }), "v1", ALLOWED);
    assert_eq!((report["checks"].as_array().map(Vec::len), report.get("policySnippet")), (Some(2), None), "{report:#}");
    // The alternative that let it in may stand alone.
    let report = plant.under(&json!({ "anyOf": [{ "cosign": plant.cosign() }, { "trust": trust }] }), "v1", ALLOWED);
    let snippet = report["policySnippet"].as_str().unwrap().to_owned();
    assert!(!snippet.contains("trust") && !snippet.contains("anyOf"), "{snippet}");
    plant.under_text(&snippet, ALLOWED);
    let text = run(&mut plant.site.command("check", &[&plant.tagged("v1")]), "").expect(ALLOWED).stdout;
    assert!(text.contains("scheme                        cosign\n"), "{text}");
}

/// Nothing leaves this machine: the proxy is not there.
#[test]
fn a_denial_for_docker_s_own_server_says_that_it_ends_and_what_to_do() {
    let site = Site::new(&Pki::new());
    site.policies(&[policy_for("nginx", json!({ "enabled": true, "trustServer": "https://notary.docker.io" }))]);
    let mut command = site.command("check", &["--output", "json", "nginx:1"]);
    let run = run(command.env("HTTPS_PROXY", "http://127.0.0.1:1"), "").expect(UNDECIDED);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let reason = report["reason"].as_str().unwrap();
    for words in ["the trust server did not answer", "ends on 8 December 2026", "trustServer", "docs/migrating.md"] {
        assert!(reason.contains(words), "{words} is not in {reason}");
    }
}
