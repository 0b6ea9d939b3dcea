//! The files of an installation.
//!
//! Limits are the executable's own: the defaults are measured.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use portreeve_test_support::certificates::Authority;
use portreeve_test_support::signer::Repo;
use portreeve_test_support::temp::TempDir;
use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::client::trusting;

/// The registry of all images.
pub(crate) const REGISTRY: &str = "registry.local:9001";
/// An installation's files: certificates, policies, configuration.
pub(crate) struct Site {
    scratch: TempDir,
    authority: Authority,
    config: Value,
    client: Arc<ClientConfig>,
}

impl Site {
    /// A site whose images are signed on this trust server, under this CA. Verified data is used for an hour and kept
    /// in memory alone.
    pub(crate) fn new(trust_server: &str, trust_ca_pem: &str) -> Self {
        let scratch = TempDir::new();
        let authority = Authority::named("Bench CA");
        let (chain, key) = authority.server(&["localhost"]);
        let dir = scratch.path();
        fs::create_dir_all(dir.join("policies")).unwrap();
        fs::write(dir.join("tls.crt"), chain).unwrap();
        fs::write(dir.join("tls.key"), key).unwrap();
        fs::write(dir.join("ca.pem"), trust_ca_pem).unwrap();
        let config = json!({
            "tls": { "certificate": dir.join("tls.crt"), "key": dir.join("tls.key") },
            "policies": [dir.join("policies")],
            "trust": {
                "ca": dir.join("ca.pem"),
                "servers": { REGISTRY: trust_server },
                "refreshAfter": "1h",
            },
            "log": { "format": "json" },
        });
        let client = trusting(&authority.pem());
        Self { scratch, authority, config, client }
    }

    /// Changes one setting (`trust`, `refreshAfter`).
    pub(crate) fn set(&mut self, section: &str, key: &str, value: impl Into<Value>) {
        self.config[section][key] = value.into();
    }

    /// Keeps verified data on disk as well.
    pub(crate) fn store(&mut self) {
        let cache = self.scratch.path().join("cache");
        self.set("trust", "cache", cache.to_str().unwrap());
    }

    /// Deletes the data on disk.
    pub(crate) fn empty_store(&self) {
        let _ = fs::remove_dir_all(self.scratch.path().join("cache")); // it may not be there yet
    }

    /// Keeps verified data in memory alone.
    pub(crate) fn store_nothing(&mut self) {
        self.set("trust", "cache", "");
    }

    /// Writes a policy file: a cluster policy for these patterns, each of which requires this signer.
    pub(crate) fn policy(&self, file: &str, patterns: &[String], signer: (&str, &str)) {
        let (name, public_key) = signer;
        let trust = json!({ "enabled": true, "signers": [{ "name": name, "publicKey": public_key }] });
        self.policy_with(file, patterns, &json!({ "trust": trust }));
    }

    /// The same, with any requirement.
    pub(crate) fn policy_with(&self, file: &str, patterns: &[String], required: &Value) {
        let repository = |pattern| json!({ "name": pattern, "policy": required });
        let policy = json!({
            "apiVersion": "portreeve/v1",
            "kind": "ClusterImagePolicy",
            "metadata": { "name": file },
            "spec": { "repositories": patterns.iter().map(repository).collect::<Vec<_>>() },
        });
        // As kubelet does: the whole file or nothing.
        let (new, file) = (self.scratch.path().join("new-policy"), self.scratch.path().join("policies").join(file));
        fs::write(&new, policy.to_string()).unwrap();
        fs::rename(new, file.with_extension("yaml")).unwrap();
    }

    /// The policy for all images of the registry, signed by this repository's alice.
    pub(crate) fn policy_of(&self, repo: &Repo) {
        self.policy("plant", &[format!("{REGISTRY}/*")], ("alice", &repo.signer_public_key_pem("alice")));
    }

    /// A trust store of CAs with one certificate.
    pub(crate) fn trust_store(&mut self, name: &str, pem: &str) {
        let stores = self.scratch.path().join("notation");
        let store = stores.join("truststore/x509/ca").join(name);
        fs::create_dir_all(&store).unwrap();
        fs::write(store.join("root.crt"), pem).unwrap();
        self.config["notation"] = json!({ "trustStores": stores });
    }

    /// A certificate and a key for another server under the same CA.
    pub(crate) fn certificate(&self) -> (String, String) {
        self.authority.server(&["localhost"])
    }

    pub(crate) fn client_config(&self) -> &Arc<ClientConfig> {
        &self.client
    }

    /// Writes the configuration for these ports.
    pub(crate) fn write_config(&self, port: u16, plain_port: u16) -> PathBuf {
        let mut config = self.config.clone();
        config["listen"] = format!("127.0.0.1:{port}").into();
        config["metricsListen"] = format!("127.0.0.1:{plain_port}").into();
        let file = self.scratch.path().join("portreeve.json");
        fs::write(&file, config.to_string()).unwrap();
        file
    }
}

/// The executable.
pub(crate) fn executable() -> PathBuf {
    std::env::var_os("PORTREEVE").map_or_else(|| env!("CARGO_BIN_EXE_portreeve").into(), PathBuf::from)
}
