//! An in-process TUF signer: creates whole Notary repositories with real keys and certificates, honest or tampered
//! with.
//!
//! ```
//! use portreeve_test_support::signer::Signer;
//!
//! let digest = [7; 32];
//! let repo = Signer::new("registry.local:9001/plant/plc")
//!     .signer("alice")
//!     .release("v1", digest, 1234, &["alice"])
//!     .publish();
//! assert!(repo.files().contains_key("timestamp"));
//! let newer = repo.update(|signer| signer.release("v2", digest, 1234, &["alice"]));
//! assert!(newer.files().len() > repo.files().len());
//! ```
//!
//! The layout is Docker's: tags in `targets/releases`, each signer's in `targets/<name>`, all delegated by `targets`.
//! [`Repo::files`] maps a file's name below `…/_trust/tuf/`, without `.json`, to its bytes. Earlier files stay under
//! their own names, as on a real server.

mod canonical;
mod key;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

pub use canonical::canonical;
pub use key::Key;
pub(crate) use key::rsa_pair;

/// A repository in preparation. Methods take a role by its name: `root`, `timestamp`, `snapshot`, `targets` or
/// `targets/<name>`. A role that changes after a publication is signed again with the next version.
#[derive(Clone)]
pub struct Signer {
    gun: String,
    roles: BTreeMap<String, Role>,
    /// The root keys before a rotation. They sign the next root as well.
    outgoing: Vec<Key>,
    files: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone)]
struct Role {
    keys: Vec<Key>,
    signing: Option<Vec<Key>>,
    threshold: u64,
    version: u64,
    expires: String,
    targets: BTreeMap<String, ([u8; 32], u64)>,
    paths: Vec<String>,
    withheld: bool,
    edits: Vec<Edit>,
    /// The last publication; `None` after a change.
    bytes: Option<Vec<u8>>,
}

#[derive(Clone)]
enum Edit {
    Signed(Arc<dyn Fn(&mut Value) + Send + Sync>),
    Envelope(Arc<dyn Fn(&mut Value) + Send + Sync>),
    Bytes(Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>),
}

impl Signer {
    /// A repository with fresh keys as `docker trust` creates it, at version 1, with Notary's expiries from now on
    /// (root 10 years, targets and snapshot 3 years, timestamp 14 days).
    pub fn new(gun: &str) -> Self {
        Self::new_at(gun, Timestamp::now())
    }

    /// The same, with expiries counted from `now`.
    pub fn new_at(gun: &str, now: Timestamp) -> Self {
        let mut roles = BTreeMap::new();
        for (name, key, days) in [
            ("root", Key::root(gun), 3650),
            ("targets", Key::p256(), 1095),
            ("snapshot", Key::p256(), 1095),
            ("timestamp", Key::p256(), 14),
        ] {
            roles.insert(name.to_owned(), Role::new(vec![key], now, days));
        }
        Self { gun: gun.to_owned(), roles, outgoing: Vec::new(), files: BTreeMap::new() }
    }

    /// The repository's name.
    pub fn gun(&self) -> &str {
        &self.gun
    }

    // ---- Honest changes ------------------------------------------------------------------------------------------

    /// Delegates to a signer with a fresh P-256 key: `targets/<name>`, and the right to release.
    pub fn signer(self, name: &str) -> Self {
        self.signer_with(name, Key::p256())
    }

    /// Delegates to a signer with this key.
    pub fn signer_with(self, name: &str, key: Key) -> Self {
        let mut releasing = self.roles.get("targets/releases").map(|role| role.keys.clone()).unwrap_or_default();
        releasing.push(key.clone());
        self.delegate(&format!("targets/{name}"), vec![key]).delegate("targets/releases", releasing)
    }

    /// Adds a delegation for all paths, or replaces its keys.
    pub fn delegate(mut self, role: &str, keys: Vec<Key>) -> Self {
        let expires = self.role("targets").expires.clone();
        match self.roles.get_mut(role) {
            Some(existing) => existing.keys = keys,
            None => {
                let mut fresh = Role::new(keys, Timestamp::now(), 1095);
                fresh.expires = expires;
                self.roles.insert(role.to_owned(), fresh);
            }
        }
        self.touch(role).touch("targets")
    }

    /// Removes a delegation and its metadata.
    pub fn undelegate(mut self, role: &str) -> Self {
        self.roles.remove(role);
        self.touch("targets")
    }

    /// Sets the path prefixes of a delegation.
    pub fn paths(mut self, role: &str, paths: &[&str]) -> Self {
        self.role_mut(role).paths = paths.iter().map(|path| (*path).to_owned()).collect();
        self.touch("targets")
    }

    /// Releases a tag: adds it to `targets/releases` and to the role of each of these signers.
    pub fn release(mut self, tag: &str, digest: [u8; 32], length: u64, signers: &[&str]) -> Self {
        if !self.roles.contains_key("targets/releases") {
            self = self.delegate("targets/releases", vec![Key::p256()]);
        }
        for name in signers {
            self = self.target(&format!("targets/{name}"), tag, digest, length);
        }
        self.target("targets/releases", tag, digest, length)
    }

    /// Adds a tag to one role.
    pub fn target(mut self, role: &str, tag: &str, digest: [u8; 32], length: u64) -> Self {
        self.role_mut(role).targets.insert(tag.to_owned(), (digest, length));
        self.touch(role)
    }

    /// Removes a tag from one role.
    pub fn remove_target(mut self, role: &str, tag: &str) -> Self {
        self.role_mut(role).targets.remove(tag);
        self.touch(role)
    }

    /// Replaces a role's keys. The old root keys sign a new root as well.
    pub fn rotate(mut self, role: &str, keys: Vec<Key>) -> Self {
        if role.contains('/') {
            return self.delegate(role, keys);
        }
        if role == "root" && self.outgoing.is_empty() {
            self.outgoing = self.role("root").keys.clone();
        }
        self.role_mut(role).keys = keys;
        self.touch("root").touch(role)
    }

    /// Sets a role's threshold.
    pub fn threshold(mut self, role: &str, threshold: u64) -> Self {
        self.role_mut(role).threshold = threshold;
        self.touch(if role.contains('/') { "targets" } else { "root" })
    }

    /// Sets a role's version.
    pub fn version(mut self, role: &str, version: u64) -> Self {
        self = self.touch(role);
        self.role_mut(role).version = version;
        self
    }

    /// Sets a role's expiry.
    pub fn expires(mut self, role: &str, expires: Timestamp) -> Self {
        self.role_mut(role).expires = expires.to_string();
        self.touch(role)
    }

    /// Signs a role again, with the next version if it is published.
    pub fn touch(mut self, role: &str) -> Self {
        let Some(state) = self.roles.get_mut(role) else { return self };
        if state.bytes.take().is_some() {
            state.version += 1;
        }
        self
    }

    // ---- Attacks -------------------------------------------------------------------------------------------------

    /// Signs a role with these keys, whatever keys it lists, from now on.
    pub fn sign_with(mut self, role: &str, keys: Vec<Key>) -> Self {
        self.role_mut(role).signing = Some(keys);
        self.touch(role)
    }

    /// Changes the signed part before it is signed.
    pub fn edit(self, role: &str, edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        self.push_edit(role, Edit::Signed(Arc::new(edit)))
    }

    /// Changes the envelope (`signed` and `signatures`) after it is signed.
    pub fn edit_envelope(self, role: &str, edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        self.push_edit(role, Edit::Envelope(Arc::new(edit)))
    }

    /// Changes the bytes. Files that list the role list the hash of the changed bytes.
    pub fn edit_bytes(self, role: &str, edit: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.push_edit(role, Edit::Bytes(Arc::new(edit)))
    }

    /// Drops all edits of a role.
    pub fn unedit(mut self, role: &str) -> Self {
        self.role_mut(role).edits.clear();
        self.touch(role)
    }

    /// Leaves a delegation's metadata out of the snapshot.
    pub fn withhold(mut self, role: &str) -> Self {
        self.role_mut(role).withheld = true;
        self.touch("snapshot")
    }

    // ---- Publishing ----------------------------------------------------------------------------------------------

    /// Signs every changed role, and every role that depends on one.
    pub fn publish(mut self) -> Repo {
        if self.roles.iter().any(|(name, role)| name != "timestamp" && role.bytes.is_none()) {
            self = self.touch("snapshot").touch("timestamp");
        }
        self.publish_root();
        let names: Vec<String> = self.roles.keys().filter(|name| name.starts_with("targets")).cloned().collect();
        let mut listed = BTreeMap::from([("root".to_owned(), self.built("root"))]);
        for name in names {
            let role = self.role(&name);
            // As on a real server, a delegation has a file only once it has signed something.
            let signed_in = !role.targets.is_empty() || !role.edits.is_empty();
            if name == "targets" || (signed_in && !role.withheld) {
                let bytes = self.build(&name, |signer| signer.targets_json(&name));
                self.files.insert(format!("{name}.{}", sha256_hex(&bytes)), bytes.clone());
                listed.insert(name, bytes);
            }
        }
        let snapshot = self.build("snapshot", |_| json!({"_type": "Snapshot", "meta": meta(&listed)}));
        self.files.insert(format!("snapshot.{}", sha256_hex(&snapshot)), snapshot.clone());
        let listed = BTreeMap::from([("snapshot".to_owned(), snapshot)]);
        let timestamp = self.build("timestamp", |_| json!({"_type": "Timestamp", "meta": meta(&listed)}));
        self.files.insert("timestamp".to_owned(), timestamp);
        Repo { signer: self }
    }

    fn publish_root(&mut self) {
        if self.role("root").bytes.is_some() {
            return;
        }
        let mut signing = self.role("root").keys.clone();
        for key in std::mem::take(&mut self.outgoing) {
            if !signing.iter().any(|known| known.id() == key.id()) {
                signing.push(key);
            }
        }
        let root = self.build_signed_by("root", signing, |signer| signer.root_json());
        self.files.insert(format!("{}.root", self.role("root").version), root.clone());
        self.files.insert("root".to_owned(), root);
    }

    fn root_json(&self) -> Value {
        let mut keys = Map::new();
        let mut roles = Map::new();
        for name in ["root", "targets", "snapshot", "timestamp"] {
            let role = self.role(name);
            keys.extend(role.keys.iter().map(|key| (key.id(), key.json())));
            let ids: Vec<String> = role.keys.iter().map(Key::id).collect();
            roles.insert(name.to_owned(), json!({"keyids": ids, "threshold": role.threshold}));
        }
        json!({"_type": "Root", "consistent_snapshot": false, "keys": keys, "roles": roles})
    }

    fn targets_json(&self, name: &str) -> Value {
        let mut keys = Map::new();
        let mut roles = Vec::new();
        if name == "targets" {
            for (name, role) in self.roles.iter().filter(|(name, _)| name.contains('/')) {
                keys.extend(role.keys.iter().map(|key| (key.id(), key.json())));
                let ids: Vec<String> = role.keys.iter().map(Key::id).collect();
                roles.push(json!({"name": name, "keyids": ids, "threshold": role.threshold, "paths": role.paths}));
            }
        }
        let targets: Map<String, Value> = (self.role(name).targets.iter())
            .map(|(tag, (digest, length))| {
                (tag.clone(), json!({"hashes": {"sha256": STANDARD.encode(digest)}, "length": length}))
            })
            .collect();
        json!({"_type": "Targets", "delegations": {"keys": keys, "roles": roles}, "targets": targets})
    }

    fn build(&mut self, name: &str, body: impl Fn(&Self) -> Value) -> Vec<u8> {
        let keys = self.role(name).keys.clone();
        self.build_signed_by(name, keys, body)
    }

    fn build_signed_by(&mut self, name: &str, keys: Vec<Key>, body: impl Fn(&Self) -> Value) -> Vec<u8> {
        if let Some(bytes) = &self.role(name).bytes {
            return bytes.clone();
        }
        let role = self.role(name);
        let mut signed = body(self);
        signed["version"] = json!(role.version);
        signed["expires"] = json!(role.expires);
        for edit in &role.edits {
            if let Edit::Signed(edit) = edit {
                edit(&mut signed);
            }
        }
        let keys = role.signing.as_ref().unwrap_or(&keys);
        let signatures: Vec<Value> = keys.iter().map(|key| key.sign(&signed)).collect();
        let mut envelope = json!({"signed": signed, "signatures": signatures});
        for edit in &role.edits {
            if let Edit::Envelope(edit) = edit {
                edit(&mut envelope);
            }
        }
        let mut bytes = serde_json::to_vec(&envelope).expect("JSON");
        for edit in &role.edits {
            if let Edit::Bytes(edit) = edit {
                bytes = edit(bytes);
            }
        }
        self.role_mut(name).bytes = Some(bytes.clone());
        bytes
    }

    fn built(&self, name: &str) -> Vec<u8> {
        self.role(name).bytes.clone().expect("a role that was signed")
    }

    fn push_edit(mut self, role: &str, edit: Edit) -> Self {
        self.role_mut(role).edits.push(edit);
        self.touch(role)
    }

    fn role(&self, name: &str) -> &Role {
        self.roles.get(name).unwrap_or_else(|| panic!("there is no role {name}"))
    }

    fn role_mut(&mut self, name: &str) -> &mut Role {
        self.roles.get_mut(name).unwrap_or_else(|| panic!("there is no role {name}"))
    }
}

impl Role {
    fn new(keys: Vec<Key>, now: Timestamp, days: i64) -> Self {
        let expires = now + SignedDuration::from_hours(24 * days);
        Self {
            keys,
            signing: None,
            threshold: 1,
            version: 1,
            expires: expires.to_string(),
            targets: BTreeMap::new(),
            paths: vec![String::new()],
            withheld: false,
            edits: Vec::new(),
            bytes: None,
        }
    }
}

/// A published repository: the files of a trust server.
#[derive(Clone)]
pub struct Repo {
    signer: Signer,
}

impl Repo {
    /// The repository's name.
    pub fn gun(&self) -> &str {
        &self.signer.gun
    }

    /// All files, by their name below `…/_trust/tuf/`, without `.json`.
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.signer.files
    }

    /// All files, for tampering.
    pub fn files_mut(&mut self) -> &mut BTreeMap<String, Vec<u8>> {
        &mut self.signer.files
    }

    /// The newest bytes of a role.
    pub fn bytes(&self, role: &str) -> Vec<u8> {
        self.signer.built(role)
    }

    /// The name of a role's newest file.
    pub fn file_of(&self, role: &str) -> String {
        match role {
            "root" | "timestamp" => role.to_owned(),
            _ => format!("{role}.{}", sha256_hex(&self.bytes(role))),
        }
    }

    /// The next publication, after these changes.
    pub fn update(&self, change: impl FnOnce(Signer) -> Signer) -> Self {
        change(self.signer.clone()).publish()
    }

    /// The keys of a role.
    pub fn keys(&self, role: &str) -> Vec<Key> {
        self.signer.role(role).keys.clone()
    }

    /// A signer's key, as PEM for a policy.
    pub fn signer_public_key_pem(&self, name: &str) -> String {
        self.signer.role(&format!("targets/{name}")).keys.first().expect("a signer with a key").public_pem()
    }

    /// The ID of the first root key, as hexadecimal digits for a policy.
    pub fn root_key_id(&self) -> String {
        self.signer.role("root").keys.first().expect("a root key").id()
    }

    /// The first root key's certificate (and what is bundled with it), as PEM for a policy.
    pub fn root_certificate_pem(&self) -> String {
        let key = self.signer.role("root").keys.first().expect("a root key").public();
        String::from_utf8(key).expect("a root key with a certificate")
    }
}

fn meta(listed: &BTreeMap<String, Vec<u8>>) -> Map<String, Value> {
    listed.iter().map(|(name, bytes)| (name.clone(), file_meta(bytes))).collect()
}

/// The entry for these bytes in a snapshot or a timestamp.
pub fn file_meta(bytes: &[u8]) -> Value {
    let sha512 = ring::digest::digest(&ring::digest::SHA512, bytes);
    json!({
        "hashes": {"sha256": STANDARD.encode(sha256(bytes)), "sha512": STANDARD.encode(sha512.as_ref())},
        "length": bytes.len(),
    })
}

/// The SHA-256 of these bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

/// The SHA-256 of these bytes as lowercase hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    sha256(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
