//! What certs-gen makes, judged by webpki, by the file system and by a reader of YAML.

#![expect(clippy::unwrap_used, reason = "a test may end with a panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use certs_gen::{Options, issue, manifest};
use pki_types::pem::PemObject as _;
use pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::Value;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

fn in_days(days: u64) -> UnixTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::since_unix_epoch(now + Duration::from_secs(days * 86_400))
}

#[test]
fn the_chain_holds_for_every_name_and_no_longer_than_asked() {
    let options =
        Options { extra: vec!["127.0.0.1".into(), "gate.example.com".into()], days: 30, ..Options::default() };
    let issued = issue::issue(&options).unwrap();
    let ca = CertificateDer::from_pem_slice(issued.ca_certificate.as_bytes()).unwrap();
    let anchor = anchor_from_trusted_cert(&ca).unwrap();
    let leaf = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let leaf = EndEntityCert::try_from(&leaf).unwrap();
    let verify = |when, usage| {
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            std::slice::from_ref(&anchor),
            &[],
            when,
            usage,
            None,
            None,
        )
        .map(drop)
    };
    assert_eq!(verify(in_days(0), KeyUsage::server_auth()), Ok(()));
    assert_eq!(verify(in_days(29), KeyUsage::server_auth()), Ok(()));
    assert!(verify(in_days(31), KeyUsage::server_auth()).is_err());
    assert!(verify(in_days(0), KeyUsage::client_auth()).is_err());
    for name in &issued.names {
        let name = ServerName::try_from(name.as_str()).unwrap();
        assert_eq!(leaf.verify_is_valid_for_subject_name(&name), Ok(()), "{name:?}");
    }
    let stranger = ServerName::try_from("portreeve.other.svc").unwrap();
    assert!(leaf.verify_is_valid_for_subject_name(&stranger).is_err());

    let another = issue::issue(&options).unwrap();
    let another = CertificateDer::from_pem_slice(another.ca_certificate.as_bytes()).unwrap().into_owned();
    let another = anchor_from_trusted_cert(&another).unwrap();
    let usage = KeyUsage::server_auth();
    assert!(
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[another], &[], in_days(0), usage, None, None).is_err()
    );
    for key in [&issued.key, issued.ca_key.as_ref().unwrap()] {
        assert!(PrivateKeyDer::from_pem_slice(key.0.as_bytes()).is_ok());
        assert!(!format!("{issued:?}").contains("PRIVATE"));
    }
    let bundle = BASE64_STANDARD.decode(manifest::ca_bundle(&issued)).unwrap();
    assert_eq!(bundle, issued.ca_certificate.as_bytes());
}

/// Runs the real command: exit status, what it prints, what it complains of.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_certs-gen")).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[track_caller]
fn succeed(arguments: &[&str]) -> String {
    let (status, out, error) = run(arguments);
    assert_eq!((status, error.as_str()), (Some(0), ""), "{arguments:?}");
    out
}

#[track_caller]
fn fail(arguments: &[&str], words: &[&str]) {
    let (status, out, error) = run(arguments);
    assert_eq!((status, out.as_str()), (Some(1), ""), "{arguments:?}: {error}");
    for word in words {
        assert!(error.contains(word), "\"{word}\" is missing from {error}");
    }
}

/// Does a client that trusts this directory's CA take its certificate under this name?
fn holds(dir: &Dir, name: &str, when: UnixTime) -> bool {
    let ca = CertificateDer::from_pem_file(dir.path("ca.crt")).unwrap();
    let anchor = anchor_from_trusted_cert(&ca).unwrap();
    let leaf = CertificateDer::from_pem_file(dir.path("tls.crt")).unwrap();
    let leaf = EndEntityCert::try_from(&leaf).unwrap();
    let usage = KeyUsage::server_auth();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[anchor], &[], when, usage, None, None).is_ok()
        && leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap()).is_ok()
}

#[test]
fn the_command_writes_once_unless_forced() {
    let dir = Dir::new();
    let out = succeed(&["--service", "gate", "--out", dir.text()]);
    assert!(out.contains("tls.key\n") && out.contains("gate.portreeve.svc,") && out.contains("\ncaBundle: "), "{out}");
    assert!(!out.contains("PRIVATE"));
    for (name, mode) in [
        ("ca.crt", 0o644),
        ("ca.key", 0o600),
        ("tls.crt", 0o644),
        ("tls.key", 0o600),
        ("secret.yaml", 0o600),
        ("ca-bundle-mutating.yaml", 0o644),
        ("ca-bundle-validating.yaml", 0o644),
        ("kustomization.yaml", 0o644),
        (".gitignore", 0o644),
    ] {
        assert_eq!(dir.mode(name) & !0o022 | mode & 0o022, mode, "{name}");
    }
    let first = dir.read("tls.crt");

    fs::remove_file(dir.path("tls.crt")).unwrap();
    fail(&["--out", dir.text()], &["tls.key", "secret.yaml", "--renew", "--force"]);
    assert!(!dir.path("tls.crt").exists(), "half a set is worth less than none");

    // Whatever mode the old file had, the new key is private.
    fs::set_permissions(dir.path("tls.key"), fs::Permissions::from_mode(0o666)).unwrap();
    succeed(&["--force", "--out", dir.text()]);
    assert_ne!(dir.read("tls.crt"), first);
    assert_eq!(dir.mode("tls.key"), 0o600);
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 9, "nothing else is left behind");
}

/// With Helm, or with a plain manifest, nothing else keeps the directory out of Git.
#[test]
fn git_takes_none_of_the_files() {
    let dir = Dir::new();
    succeed(&["--out", dir.text()]);
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&dir.0).args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "--quiet"]);
    assert_eq!(git(&["status", "--porcelain", "--untracked-files=all"]), "");
    // One that is there says what its owner wants.
    fs::write(dir.path(".gitignore"), "*.key\n").unwrap();
    let out = succeed(&["--force", "--out", dir.text()]);
    assert_eq!(dir.read(".gitignore"), "*.key\n");
    assert!(!out.contains(".gitignore"), "{out}");
}

#[test]
fn a_private_file_is_private_whatever_the_umask() {
    let dir = Dir::new();
    let line = format!("umask 000; exec {} --out {}", env!("CARGO_BIN_EXE_certs-gen"), dir.text());
    assert!(Command::new("sh").args(["-c", &line]).output().unwrap().status.success());
    for name in ["ca.key", "tls.key", "secret.yaml"] {
        assert_eq!(dir.mode(name), 0o600, "{name}");
    }
}

#[test]
fn the_manifests_hold_what_the_files_hold() {
    let dir = Dir::new();
    let out = succeed(&["--namespace", "edge-1", "--out", dir.text()]);
    let bundle = out.lines().find_map(|line| line.strip_prefix("caBundle: ")).unwrap();
    assert_eq!(BASE64_STANDARD.decode(bundle).unwrap(), dir.read("ca.crt").as_bytes());

    let secret = dir.yaml("secret.yaml");
    assert_eq!((&secret["kind"], &secret["type"]), (&"Secret".into(), &"kubernetes.io/tls".into()));
    assert_eq!(secret["metadata"]["name"], "portreeve-certs");
    assert_eq!(secret["metadata"]["namespace"], "edge-1");
    for name in ["ca.crt", "tls.crt", "tls.key"] {
        let value = secret["data"][name].as_str().unwrap();
        assert_eq!(BASE64_STANDARD.decode(value).unwrap(), dir.read(name).as_bytes(), "{name}");
    }
    assert_eq!(secret["data"].as_object().unwrap().len(), 3, "the CA's key stays out of the cluster");

    for (file, kind, names) in [
        ("ca-bundle-mutating.yaml", "MutatingWebhookConfiguration", &["admit.portreeve.svc"][..]),
        (
            "ca-bundle-validating.yaml",
            "ValidatingWebhookConfiguration",
            &["validate.portreeve.svc", "policies.portreeve.svc"],
        ),
    ] {
        let patch = dir.yaml(file);
        assert_eq!((&patch["kind"], &patch["metadata"]["name"]), (&kind.into(), &"portreeve".into()));
        let webhooks = patch["webhooks"].as_array().unwrap();
        assert_eq!(webhooks.iter().map(|webhook| &webhook["name"]).collect::<Vec<_>>(), names);
        assert!(webhooks.iter().all(|webhook| webhook["clientConfig"]["caBundle"] == bundle));
    }
    assert_eq!(dir.yaml("kustomization.yaml")["resources"], serde_json::json!(["secret.yaml"]));
}

#[test]
fn a_renewal_keeps_the_ca_and_the_names() {
    let dir = Dir::new();
    succeed(&[
        "--service",
        "gate",
        "--namespace",
        "edge-1",
        "--dns",
        "gate.example.com",
        "--dns",
        "::1",
        "--out",
        dir.text(),
    ]);
    let files = ["ca.crt", "ca.key", "ca-bundle-mutating.yaml", "ca-bundle-validating.yaml", "tls.crt", "tls.key"];
    let before: Vec<String> = files.iter().map(|name| dir.read(name)).collect();

    let out = succeed(&["--renew", "--days", "90", "--dns", "10.0.0.1", "--out", dir.text()]);
    assert!(out.contains("kubectl apply -f") && !out.contains("wrote ca."), "{out}");
    let after: Vec<String> = files.iter().map(|name| dir.read(name)).collect();
    assert_eq!(before[..4], after[..4], "no caBundle has to be touched");
    assert!(before[4] != after[4] && before[5] != after[5], "certificate and key are new");
    for name in ["gate.edge-1.svc", "gate.edge-1.svc.cluster.local", "gate.example.com", "::1", "10.0.0.1"] {
        assert!(holds(&dir, name, in_days(89)), "{name}");
        assert!(!holds(&dir, name, in_days(91)), "{name}");
    }
    let secret = dir.yaml("secret.yaml");
    assert_eq!(secret["metadata"]["namespace"], "edge-1");
    assert_eq!(secret["data"]["tls.crt"], BASE64_STANDARD.encode(&after[4]));

    // Named anew, it is made anew for that name alone.
    succeed(&["--renew", "--service", "other", "--namespace", "edge-1", "--out", dir.text()]);
    assert!(holds(&dir, "other.edge-1.svc", in_days(0)) && !holds(&dir, "gate.edge-1.svc", in_days(0)));
}

#[test]
fn a_renewal_that_cannot_hold_is_refused() {
    let dir = Dir::new();
    fail(&["--renew", "--out", dir.text()], &["ca.crt", "--renew needs"]);
    succeed(&["--days", "30", "--ca-days", "60", "--out", dir.text()]);
    assert!(holds(&dir, "portreeve.portreeve.svc", in_days(29)));
    let before = dir.read("tls.crt");

    fail(&["--renew", "--days", "61", "--out", dir.text()], &["the CA ends on", "--days", "--force"]);
    let other = Dir::new();
    succeed(&["--out", other.text()]);
    let key = dir.read("ca.key");
    fs::write(dir.path("ca.key"), other.read("ca.key")).unwrap();
    fail(&["--renew", "--days", "1", "--out", dir.text()], &["ca.key is not the key of"]);
    fs::write(dir.path("ca.key"), "nonsense").unwrap();
    fail(&["--renew", "--days", "1", "--out", dir.text()], &["ca.key holds no usable private key"]);
    fs::write(dir.path("ca.key"), key).unwrap();
    fs::write(dir.path("ca.crt"), "nonsense").unwrap();
    fail(&["--renew", "--days", "1", "--out", dir.text()], &["ca.crt holds no certificate"]);
    assert_eq!(dir.read("tls.crt"), before, "a refusal changes nothing");
}

const PLAIN: &str = "\
# A comment that stays.
---
apiVersion: v1
kind: Namespace
metadata: { name: portreeve }
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
webhooks:
  - name: admit.portreeve.svc
    clientConfig:
      caBundle: \"certs-gen --fill puts the CA here\"
      service: { name: portreeve }
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
webhooks:
  - name: validate.portreeve.svc
    clientConfig:
      service: { name: portreeve }
";

#[test]
fn a_single_file_that_is_there_is_told_in_the_singular() {
    let dir = Dir::new();
    fs::create_dir_all(&dir.0).unwrap();
    fs::write(dir.path("tls.key"), "").unwrap();
    fail(&["--out", dir.text()], &["tls.key is there already, and nothing was written"]);
}

#[test]
fn a_plain_manifest_is_filled_in() {
    let (source, dir) = (Dir::new(), Dir::new());
    fs::create_dir_all(&source.0).unwrap();
    fs::write(source.path("plain.yaml"), PLAIN).unwrap();
    let plain = source.path("plain.yaml");
    let out = succeed(&["--fill", plain.to_str().unwrap(), "--out", dir.text()]);
    let bundle = out.lines().find_map(|line| line.strip_prefix("caBundle: ")).unwrap();
    assert_eq!(dir.mode("plain.yaml"), 0o600, "it holds the key");

    let text = dir.read("plain.yaml");
    assert!(text.contains("# A comment that stays.\n"));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let kinds: Vec<&str> = documents.iter().filter_map(|document| document["kind"].as_str()).collect();
    let expected = ["Namespace", "Secret", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
    assert_eq!(kinds, expected);
    let webhooks: Vec<&Value> = documents.iter().filter(|document| document["webhooks"].is_array()).collect();
    for webhook in webhooks {
        let client = &webhook["webhooks"][0]["clientConfig"];
        assert_eq!((&client["caBundle"], &client["service"]["name"]), (&bundle.into(), &"portreeve".into()));
    }

    fail(&["--fill", plain.to_str().unwrap(), "--out", dir.text()], &["plain.yaml are there already, and nothing"]);
    succeed(&["--renew", "--fill", plain.to_str().unwrap(), "--out", dir.text()]);
    assert!(dir.read("plain.yaml").contains(bundle), "the same CA");

    fail(&["--force", "--fill", plain.to_str().unwrap(), "--out", source.text()], &["over", "plain.yaml"]);
    assert_eq!(source.read("plain.yaml"), PLAIN);
    fs::write(source.path("plain.yaml"), "kind: Pod\n").unwrap();
    fail(&["--force", "--fill", plain.to_str().unwrap(), "--out", dir.text()], &["plain.yaml", "clientConfig"]);
    fail(&["--fill", "/nowhere/at.yaml", "--out", dir.text()], &["cannot read /nowhere/at.yaml"]);
}

/// The product's own manifests, with what certs-gen makes for them.
#[test]
fn the_products_manifests_take_it() {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let site = Dir::new();
    let copy = |from: &Path, to: &str| {
        assert!(Command::new("cp").arg("-r").arg(from).arg(site.path(to)).status().unwrap().success());
    };
    fs::create_dir(&site.0).unwrap();
    copy(&manifests, "manifests");
    let plain = site.path("manifests/portreeve.yaml");
    let certs = site.path("certs");
    let out = succeed(&["--out", certs.to_str().unwrap(), "--fill", plain.to_str().unwrap()]);
    let bundle = out.lines().find_map(|line| line.strip_prefix("caBundle: ")).unwrap();
    let judge = |what: &str, text: &str| {
        let objects: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
        let of_kind = |end: &str| -> Vec<&Value> {
            objects.iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with(end))).collect()
        };
        let webhooks = of_kind("WebhookConfiguration");
        assert_eq!(webhooks.len(), 2, "{what}");
        let webhooks: Vec<&Value> = webhooks.iter().flat_map(|object| object["webhooks"].as_array().unwrap()).collect();
        assert_eq!(webhooks.len(), 3, "{what}: merged, not added");
        for webhook in webhooks {
            let client = &webhook["clientConfig"];
            assert_eq!((&client["caBundle"], &client["service"]["port"]), (&bundle.into(), &443.into()), "{what}");
        }
        let mounted = &of_kind("Deployment")[0]["spec"]["template"]["spec"]["volumes"];
        let mounted = mounted.as_array().unwrap().iter().find(|volume| volume["name"] == "certs").unwrap();
        let secret = of_kind("Secret");
        assert_eq!(secret.len(), 1, "{what}");
        assert_eq!(secret[0]["metadata"]["name"], mounted["secret"]["secretName"], "{what}");
        assert_eq!(secret[0]["metadata"]["namespace"], "portreeve", "{what}");
    };
    judge("plain file", &fs::read_to_string(certs.join("portreeve.yaml")).unwrap());

    let programs = [("kustomize", "build"), ("kubectl", "kustomize")];
    let there = |program: &str, argument: &str| Command::new(program).args([argument, "--help"]).output().is_ok();
    let Some((program, argument)) = programs.into_iter().find(|(program, argument)| there(program, argument)) else {
        // Past the test runner's capture, which would swallow it.
        let words = b"skipped: needs kustomize, or kubectl 1.21 or newer\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), words);
        return;
    };
    for name in ["by-hand", "edge-simplex"] {
        copy(&manifests.join("sites").join(name), name);
        copy(&certs, &format!("{name}/certs"));
        let made = Command::new(program).arg(argument).arg(site.path(name)).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        judge(name, &String::from_utf8(made.stdout).unwrap());
    }
}

#[test]
fn bad_usage_has_its_own_status() {
    assert_eq!(run(&["--nonsense"]).0, Some(2));
    for arguments in [&["--help"][..], &[]] {
        let (status, help, _) = run(arguments);
        assert_eq!(status, Some(0));
        assert!(help.contains("--namespace") && help.contains("--renew"));
    }
    // Without a directory nothing is written: the help, and the message after it.
    let (status, _, error) = run(&["--renew"]);
    assert_eq!(status, Some(2));
    assert!(error.contains("--namespace"), "{error}");
    assert!(error.trim_end().lines().last().unwrap().starts_with("certs-gen: --out DIR is missing"), "{error}");
}

/// A directory that certs-gen makes, gone when the test is.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("certs-gen-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(&self.0, name)
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn yaml(&self, name: &str) -> Value {
        serde_saphyr::from_str(&self.read(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a test that failed may have left it half made
    }
}
