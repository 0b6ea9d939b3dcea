//! The main job in a minute: `cargo run --release --example quickstart`.
//!
//! Starts a small trust server with repositories that are signed on the spot in Notary v1's way, and a small registry with
//! images that are signed in cosign's way. Creates certificates, writes policies, starts the webhook on a free loopback port,
//! and sends it the requests of a Kubernetes API server over HTTPS. Needs no network, no root, no Notary and no cosign, and
//! leaves no file behind. The exit status is 1 if a response is not the expected one.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use portreeve::commands::serve::Webhook;
use portreeve::config::Config;
use portreeve_test_support::certificates::Authority;
use portreeve_test_support::cosign;
use portreeve_test_support::registry::Registry;
use portreeve_test_support::signer::{Signer, sha256};
use portreeve_test_support::trust_server::TrustServer;
use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    match run() {
        Ok(0) => {
            println!("\nAll responses are as expected. Next: README.md, \"A first policy\".");
            ExitCode::SUCCESS
        }
        Ok(wrong) => {
            println!("\n{wrong} of the responses above are not as expected.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("\nquickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<usize, Failure> {
    let place = Place::new()?;
    let authority = Authority::new();

    heading("1. A trust server, and two repositories signed on the spot");
    let plc_digest = sha256(b"the manifest of plc:v1");
    let plc = Signer::new("registry.local:9001/plant/plc")
        .signer("alice")
        .signer("bob")
        .release("v1", plc_digest, 1234, &["alice"])
        .publish();
    let hmi = Signer::new("registry.local:9001/plant/hmi")
        .signer("alice")
        .release("v1", sha256(b"the manifest of hmi:v1"), 1234, &["alice"])
        .publish();
    let mut trust_server = TrustServer::start_under(&authority);
    trust_server.publish(&plc);
    trust_server.publish(&hmi);
    println!("   {} holds {} and {}, signed by alice", trust_server.url(), plc.gun(), hmi.gun());

    let registry = Registry::start_under(&authority);
    let release = cosign::Key::p256();
    let line = registry.push_image("line/hmi", "v1", "the first version of line/hmi");
    let bundle = cosign::Bundle::dsse(&cosign::Statement::new(&line).bytes(), &release).bytes();
    registry.attach("line/hmi", &line, &cosign::Artifact::bundle(&line, bundle));
    registry.push_image("line/hmi", "v2", "the second version, which is not signed");
    println!(
        "   {} holds line/hmi:v1, signed by the key release of cosign, and line/hmi:v2, not signed",
        registry.url()
    );

    heading("2. Certificates, a configuration and policies");
    let (certificate, key) = authority.server(&["localhost", "127.0.0.1"]);
    place.write("tls.crt", &certificate)?;
    place.write("tls.key", &key)?;
    place.write("ca.pem", &authority.pem())?;
    let config = place.write("config.yaml", &configuration(&place))?;
    let policy = policy(&trust_server.url(), &plc.signer_public_key_pem("alice"), &plc.signer_public_key_pem("bob"));
    place.write("policies/plant.yaml", &policy)?;
    let cosign_policy = cosign_policy(&registry.host(), &release.public_pem());
    place.write("policies/line.yaml", &cosign_policy)?;
    for line in policy.lines().take(17).chain(["…"]).chain(cosign_policy.lines()) {
        println!("   │ {line}");
    }

    heading("3. The webhook");
    let started = Instant::now();
    let webhook = Webhook::start(&Config::load(Some(&config))?)?;
    println!("   listening on https://{} after {} ms", webhook.address(), started.elapsed().as_millis());
    let api_server = ApiServer::new(&authority, webhook.address().port());

    heading("4. Requests of the API server, and the responses");
    let pinned = format!("registry.local:9001/plant/plc:v1@sha256:{}", hex(&plc_digest));
    let mut wrong = 0;
    wrong += api_server.expect(
        "a signed Deployment is allowed, and pinned to the signed digest",
        &deployment("line-1", "registry.local:9001/plant/plc:v1"),
        &Expected::Pinned(&pinned),
    )?;
    wrong += api_server.expect(
        "an unsigned tag is denied",
        &deployment("line-1", "registry.local:9001/plant/plc:v2"),
        &Expected::Denied("rejected"),
    )?;
    wrong += api_server.expect(
        "an image signed by alice is denied where the policy requires bob",
        &deployment("line-2", "registry.local:9001/plant/plc:v1"),
        &Expected::Denied("bob"),
    )?;
    wrong += api_server.expect(
        "a Pod with a forged owner is checked as every other Pod",
        &forged_child("line-1", "docker.io/library/miner:latest"),
        &Expected::Denied("no repository pattern"),
    )?;

    let hmi = |tag: &str| format!("{}/line/hmi:{tag}", registry.host());
    let pinned_hmi = format!("{}@{}", hmi("v1"), line.digest());
    wrong += api_server.expect(
        "an image that is signed with cosign is allowed, and pinned to the signed digest",
        &deployment("line-4", &hmi("v1")),
        &Expected::Pinned(&pinned_hmi),
    )?;
    wrong += api_server.expect(
        "an image in the registry that is not signed is denied",
        &deployment("line-4", &hmi("v2")),
        &Expected::Denied("is not signed"),
    )?;

    heading("5. The trust server is stopped");
    trust_server.stop();
    wrong += api_server.expect(
        "an image without stored trust data is denied as unavailable",
        &deployment("line-1", "registry.local:9001/plant/hmi:v1"),
        &Expected::Denied("unavailable"),
    )?;
    wrong += api_server.expect(
        "an image verified a moment ago is allowed with a warning, because the policy says useCached",
        &deployment("line-3", "registry.local:9001/plant/plc:v1"),
        &Expected::Warned(&pinned),
    )?;

    heading("6. The registry goes away");
    registry.go_away();
    wrong += api_server.expect(
        "an image by the digest that was verified needs no registry",
        &deployment("line-4", &pinned_hmi),
        &Expected::Unchanged,
    )?;
    wrong += api_server.expect(
        "a tag that was verified a moment ago is allowed with a warning, because the policy says useCached",
        &deployment("line-4", &hmi("v1")),
        &Expected::Warned(&pinned_hmi),
    )?;
    wrong += api_server.expect(
        "an image that was never verified is denied as unavailable",
        &deployment("line-4", &hmi("v3")),
        &Expected::Denied("unavailable"),
    )?;
    Ok(wrong)
}

/// The configuration. All other settings have the defaults of a cluster.
fn configuration(place: &Place) -> String {
    let at = |name: &str| place.path.join(name).display().to_string();
    json!({
        "listen": "127.0.0.1:0",
        "metricsListen": "",
        "tls": { "certificate": at("tls.crt"), "key": at("tls.key") },
        "policies": [at("policies")],
        "secrets": at("secrets"),
        "credentials": { "mounted": at("registries") },
        "trust": { "ca": at("ca.pem"), "refreshAfter": "0s" },
    })
    .to_string()
}

fn policy(trust_server: &str, alice: &str, bob: &str) -> String {
    let namespace = |namespace: &str, signer: &str, key: &str, more: &str| {
        format!(
            "apiVersion: portreeve/v1
kind: ImagePolicy
metadata: {{ name: plant, namespace: {namespace} }}
spec:
  repositories:
    - name: \"registry.local:9001/plant/*\"
      policy:
        trust:
          enabled: true
          trustServer: \"{trust_server}\"{more}
          signers:
            - name: {signer}
              publicKey: |
{}",
            key.lines().map(|line| format!("                {line}\n")).collect::<String>()
        )
    };
    let stored = "\n          whenUnavailable: useCached\n          maxStale: 24h";
    [
        namespace("line-1", "alice", alice, ""),
        namespace("line-2", "bob", bob, ""),
        namespace("line-3", "alice", alice, stored),
    ]
    .join("---\n")
}

fn cosign_policy(registry: &str, release: &str) -> String {
    format!(
        "apiVersion: portreeve/v1
kind: ImagePolicy
metadata: {{ name: line, namespace: line-4 }}
spec:
  repositories:
    - name: \"{registry}/line/*\"
      policy:
        cosign:
          whenUnavailable: useCached
          maxStale: 24h
          signers:
            - name: release
              publicKey: |
{}",
        release.lines().map(|line| format!("                {line}\n")).collect::<String>()
    )
}

fn deployment(namespace: &str, image: &str) -> Value {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "plc", "namespace": namespace },
        "spec": { "template": { "spec": { "containers": [{ "name": "plc", "image": image }] } } },
    });
    review("apps", "Deployment", namespace, &object)
}

fn forged_child(namespace: &str, image: &str) -> Value {
    let owner = json!({ "apiVersion": "batch/v1", "kind": "Job", "name": "nightly", "uid": "1", "controller": true });
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "nightly-x7", "namespace": namespace, "ownerReferences": [owner] },
        "spec": { "containers": [{ "name": "miner", "image": image }] },
    });
    review("", "Pod", namespace, &object)
}

fn review(group: &str, kind: &str, namespace: &str, object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "0f7b7d0e-quickstart",
            "kind": { "group": group, "version": "v1", "kind": kind },
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": { "username": "kubernetes-admin", "groups": ["system:authenticated"] },
            "object": object,
        },
    })
}

enum Expected<'a> {
    /// Allowed, and the first container's image is replaced by this one.
    Pinned(&'a str),
    /// The same, with a warning.
    Warned(&'a str),
    /// Allowed, without a patch and without a warning.
    Unchanged,
    /// Denied, with a message that contains this.
    Denied(&'a str),
}

/// An HTTPS client that trusts our CA alone.
struct ApiServer {
    agent: ureq::Agent,
    url: String,
}

impl ApiServer {
    fn new(authority: &Authority, port: u16) -> Self {
        let roots = RootCerts::Specific(Arc::new(vec![Certificate::from_der(&authority.der()).to_owned()]));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build();
        let agent = ureq::Agent::config_builder().tls_config(tls).proxy(None).build().into();
        Self { agent, url: format!("https://localhost:{port}/admit?timeout=10s") }
    }

    /// Sends a request, prints the response, and returns 1 if it is not the expected one.
    fn expect(&self, title: &str, review: &Value, expected: &Expected<'_>) -> Result<usize, Failure> {
        let image = review.pointer("/request/object/spec/template/spec/containers/0/image");
        let image = image.or_else(|| review.pointer("/request/object/spec/containers/0/image"));
        println!("\n   {title}");
        println!(
            "   → {} {} in {}",
            text(review.pointer("/request/kind/kind")),
            text(image),
            text(review.pointer("/request/namespace"))
        );
        let started = Instant::now();
        let mut answer =
            self.agent.post(&self.url).content_type("application/json").send(review.to_string().as_bytes())?;
        let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
        let took = started.elapsed();
        let response = answer.get("response").ok_or("the answer has no response")?;
        let allowed = response.get("allowed").and_then(Value::as_bool).ok_or("the response has no verdict")?;
        println!("   ← {} in {:.1} ms", if allowed { "allowed" } else { "denied" }, took.as_secs_f64() * 1e3);
        let message = text(response.pointer("/status/message"));
        for line in message.lines() {
            println!("     {line}");
        }
        let warnings = response.get("warnings").and_then(Value::as_array).cloned().unwrap_or_default();
        for warning in &warnings {
            println!("     warning: {}", text(Some(warning)));
        }
        let patch = match response.get("patch").and_then(Value::as_str) {
            Some(patch) => serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(patch)?)?,
            None => Value::Null,
        };
        for operation in patch.as_array().into_iter().flatten() {
            println!("     patch: {operation}");
        }
        let value = patch.pointer("/0/value").and_then(Value::as_str);
        let is_right = match expected {
            Expected::Pinned(pinned) => allowed && value == Some(*pinned) && warnings.is_empty(),
            Expected::Warned(pinned) => allowed && value == Some(*pinned) && !warnings.is_empty(),
            Expected::Unchanged => allowed && patch.is_null() && warnings.is_empty(),
            Expected::Denied(word) => !allowed && patch.is_null() && message.contains(*word),
        };
        if !is_right {
            println!("     NOT AS IT SHOULD BE");
        }
        Ok(usize::from(!is_right))
    }
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn heading(words: &str) {
    println!("\n\u{2500}\u{2500} {words}");
}

/// A directory that is removed when the quickstart ends.
struct Place {
    path: PathBuf,
}

impl Place {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("portreeve-quickstart-{}", std::process::id()));
        for directory in ["policies", "secrets", "registries"] {
            std::fs::create_dir_all(path.join(directory))?;
        }
        Ok(Self { path })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = Path::join(&self.path, name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path); // the quickstart ends, so nothing else can be done
    }
}
