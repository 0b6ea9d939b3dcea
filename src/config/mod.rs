//! The configuration: YAML or JSON in which every key is optional, one file or a directory of files. It is read once, and
//! becomes the settings of each room.
//!
//! A key that is not known is an error with a suggestion. No value takes effect unchecked. Only the commands read the
//! configuration; every other room is given its own settings.

mod check;
mod error;
mod notes;
mod schema;
mod workloads;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;

use crate::admission::children::Children;
use crate::admission::custom::CustomKinds;
use crate::admission::decide::UnchangedTemplates;
use crate::base::files::{FileError, into_text, read_any};
use crate::base::waiting::Waiting;
use crate::http::url::PlainHttp;
use crate::kube::api::ApiSettings;
use crate::kube::object_name::is_dns_label;
use crate::kube::signer_secrets::{ClusterSigners, SecretStore};
use crate::logging::Format;
use crate::metrics::Metrics;
use crate::policy::PolicyPlaces;
use crate::registry::oci::places::Registries;
use crate::schemes::notary::servers::TrustServers;
use crate::schemes::{Mode, WhenUnavailable, cosign, evidence, image_signatures, notary, notation};
use crate::server::Settings;
use crate::yaml;
use crate::yaml::tree::Node;
use check::Checker;
use portreeve_verify::heap_size;
use portreeve_verify::ordered;
use portreeve_verify::tuf::FirstUse;
use schema::DOCUMENT;

pub use error::ConfigError;
pub use notes::{Note, notes};

/// The most bytes of a configuration file.
const MAX_FILE_BYTES: usize = 1 << 20;

/// The most files of a configuration directory.
const MAX_FILES: usize = 64;

/// The file that tells a pod its namespace.
const OWN_NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings of the server.
    pub server: Settings,
    /// Portreeve's own namespace, in which the signer secrets of cluster policies are read.
    pub namespace: String,
    /// Directories of policy files.
    pub policies: Vec<PathBuf>,
    /// The directory with a directory for each namespace that has policies of its own; `None`: there is none.
    pub namespace_policies: Option<PathBuf>,
    /// The directory of signers' keys, as `<namespace>/<secret>/<key>`.
    pub secrets: PathBuf,
    /// The directory of Notation's trust stores and revocation lists.
    pub trust_stores: PathBuf,
    /// The directory of trusted roots of Sigstore.
    pub trusted_roots: PathBuf,
    /// The directory of docker configs that count for every namespace.
    pub mounted_credentials: PathBuf,
    /// Where images and their signatures are read.
    pub registries: Registries,
    /// Whether pull secrets and signers' keys are read from the Kubernetes API.
    pub ask_api: AskApi,
    /// How the Kubernetes API is reached.
    pub api: ApiSettings,
    /// Trust data.
    pub trust: TrustConfig,
    /// `warn`: admissions are decided, logged and counted, and let in with a warning.
    pub mode: Mode,
    /// Users whose children of verified owners are let in.
    pub trusted_controllers: Vec<String>,
    /// Whether an UPDATE that changes no image of a pod template verifies the images.
    pub unchanged_templates: UnchangedTemplates,
    /// Whether the images of a trusted controller's children are compared with those of their owners.
    pub children: Children,
    /// The kinds of custom resources that are verified.
    pub custom_kinds: CustomKinds,
    /// The format of log lines.
    pub log_format: Format,
    /// The least severe level that is logged.
    pub log_level: LevelFilter,
    /// The files that it was read from.
    pub files: Vec<PathBuf>,
    /// Notes on keys of these files.
    pub key_notes: Vec<Note>,
    /// The keys in these files that need another one to have an effect.
    conditional_keys: Vec<&'static str>,
}

/// Where trust data comes from, and what is required of it.
#[derive(Clone, Debug)]
pub struct TrustConfig {
    /// A PEM bundle that is added to the built-in roots. The file may be absent.
    pub ca: PathBuf,
    /// The trust server of each registry.
    pub servers: TrustServers,
    /// Where verified metadata is kept for the next start; `None`: in memory alone.
    pub cache: Option<PathBuf>,
    /// The age at which a verified timestamp is fetched again.
    pub refresh_after: Duration,
    /// Whether stored data may be used while a server is unavailable. A policy can say otherwise.
    pub when_unavailable: WhenUnavailable,
    /// Whether a root that no policy pins is trusted on first use.
    pub first_use: FirstUse,
    /// Whether trust servers may be reached over plain HTTP.
    pub plain_http: PlainHttp,
    /// How much room trust data may take.
    pub limits: TrustLimits,
}

/// The most bytes that trust data may take.
#[derive(Clone, Copy, Debug)]
pub struct TrustLimits {
    /// Verified trust data in memory.
    pub memory: usize,
    /// Memory in which trust data is read and verified, for all requests together.
    pub verify_memory: usize,
    /// Trust data stored under `trust.cache`.
    pub cache: usize,
}

impl Default for TrustLimits {
    fn default() -> Self {
        Self { memory: 16 << 20, verify_memory: 48 << 20, cache: 512 << 20 }
    }
}

/// Whether pull secrets, and signers' keys that are not mounted, are read from the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskApi {
    /// Never.
    No,
    /// When one is needed.
    Yes,
}

impl Config {
    /// The configuration in a file, or in all files of a directory, in the order of their names: the last one that has a key
    /// decides on it. Without a path, the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let files = path.map_or_else(|| Ok(Vec::new()), files_at)?;
        let mut read = Vec::new();
        for file in files {
            let text = read_any(&file, MAX_FILE_BYTES).and_then(into_text);
            match text {
                Ok(text) => read.push(document(&text, file)?),
                Err(source) => return Err(ConfigError::Unreadable { file, source }),
            }
        }
        Self::from_files(&read)
    }

    /// The configuration in a text. `file` is its name in errors.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        Self::from_files(&[document(text, file.to_owned())?])
    }

    fn from_files(files: &[(PathBuf, Node)]) -> Result<Self, ConfigError> {
        let read = Checker { files };
        let (limits, trust_limits) = read.limits()?;
        let trust = read.trust(trust_limits)?;
        let server = read.server(limits)?;
        let namespace = match read.text("namespace") {
            None => own_namespace(),
            Some(name) if is_dns_label(name) => name.to_owned(),
            Some(name) => return Err(read.wrong("namespace", name, "a namespace: a-z, 0-9 and -, at most 63")),
        };
        let api = read.api()?;
        let registries = read.registries(trust.plain_http)?;
        let mode = read.choice("admission.mode", Mode::Enforce, &[("enforce", Mode::Enforce), ("warn", Mode::Warn)])?;
        let unchanged_templates = read.choice(
            "admission.unchangedTemplates",
            UnchangedTemplates::Skip,
            &[("verify", UnchangedTemplates::Verify), ("skip", UnchangedTemplates::Skip)],
        )?;
        let children = read.choice(
            "admission.children",
            Children::Trust,
            &[("trust", Children::Trust), ("compare", Children::Compare)],
        )?;
        let log_format =
            read.choice("log.format", Format::for_stderr(), &[("json", Format::Json), ("text", Format::Text)])?;
        let log_level = read.choice(
            "log.level",
            LevelFilter::Info,
            &[
                ("error", LevelFilter::Error),
                ("warn", LevelFilter::Warn),
                ("info", LevelFilter::Info),
                ("debug", LevelFilter::Debug),
            ],
        )?;
        let policies = read.texts("policies").unwrap_or_else(|| vec!["/etc/portreeve/policies"]);
        let mut config = Self {
            server,
            namespace,
            policies: policies.into_iter().map(PathBuf::from).collect(),
            namespace_policies: Some(read.path("namespacePolicies", "/etc/portreeve/namespace-policies"))
                .filter(|path| !path.as_os_str().is_empty()),
            secrets: read.path("secrets", "/etc/portreeve/secrets"),
            trust_stores: read.path("notation.trustStores", "/etc/portreeve/notation"),
            trusted_roots: read.path("sigstore.trustedRoots", "/etc/portreeve/sigstore"),
            mounted_credentials: read.path("credentials.mounted", "/etc/portreeve/registries"),
            ask_api: if read.is_on("credentials.kubernetes") { AskApi::Yes } else { AskApi::No },
            api,
            registries,
            trust,
            mode,
            trusted_controllers: read.trusted_controllers(),
            unchanged_templates,
            children,
            custom_kinds: workloads::read(&read)?,
            log_format,
            log_level,
            files: Vec::new(),
            key_notes: Vec::new(),
            conditional_keys: Vec::new(),
        };
        read.add_notes(&mut config);
        Ok(config)
    }

    /// Where policies are.
    pub fn policy_places(&self) -> PolicyPlaces {
        PolicyPlaces { site: self.policies.clone(), namespaces: self.namespace_policies.clone() }
    }

    /// The settings of the store of evidence.
    pub fn evidence(&self, metrics: Arc<Metrics>) -> evidence::Settings {
        evidence::Settings {
            cache: self.trust.cache.clone(),
            memory: heap_size::as_u64(self.trust.limits.memory),
            cache_bytes: heap_size::as_u64(self.trust.limits.cache),
            metrics,
        }
    }

    /// The settings of the cosign scheme.
    pub fn cosign(&self, cluster_signers: Option<ClusterSigners>, metrics: Arc<Metrics>) -> cosign::Settings {
        let secrets = SecretStore::new(self.secrets.clone());
        cosign::Settings { secrets, cluster_signers, trusted_roots: self.trusted_roots.clone(), metrics }
    }

    /// The settings of the Notation scheme.
    pub fn notation(&self, metrics: Arc<Metrics>) -> notation::Settings {
        notation::Settings { trust_stores: self.trust_stores.clone(), metrics }
    }

    /// The settings of all schemes that read registries.
    pub fn image_signatures(&self) -> image_signatures::Settings {
        image_signatures::Settings {
            registries: self.registries.clone(),
            refresh_after: self.trust.refresh_after,
            when_unavailable: self.trust.when_unavailable,
        }
    }

    /// The settings of the Notary v1 scheme.
    pub fn notary(&self, waiting: Arc<Waiting>, metrics: Arc<Metrics>) -> notary::Settings {
        notary::Settings {
            ca: Some(self.trust.ca.clone()),
            refresh_after: self.trust.refresh_after,
            plain_http: self.trust.plain_http,
            cache: self.trust.cache.clone(),
            workers: self.server.limits.workers,
            waiting,
            memory: self.trust.limits.memory,
            verify_memory: self.trust.limits.verify_memory,
            cache_bytes: self.trust.limits.cache,
            metrics,
        }
    }
}

/// The file, or the files of a directory without those whose names begin with a dot: a mounted ConfigMap has such links.
fn files_at(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| ConfigError::Unreadable { file: path.to_owned(), source: FileError::Io(source) };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            files.push(entry.path());
        }
        if files.len() > MAX_FILES {
            return Err(ConfigError::TooManyFiles { directory: path.to_owned() });
        }
    }
    if files.iter().any(|file| file.ends_with("kustomization.yaml")) {
        return Err(ConfigError::Kustomization { directory: path.to_owned() });
    }
    if files.is_empty() {
        return Err(ConfigError::NoFiles { directory: path.to_owned() });
    }
    ordered::sort_by(&mut files, |a, b| notes::by_name(a, b));
    Ok(files)
}

/// A file's text in the shape of the configuration.
fn document(text: &str, file: PathBuf) -> Result<(PathBuf, Node), ConfigError> {
    match yaml::read(text, &DOCUMENT) {
        Ok(document) => Ok((file, document)),
        Err(source) => match kind_of(text) {
            Some(kind) => Err(ConfigError::Manifest { file, kind }),
            None => Err(ConfigError::Syntax { file, source }),
        },
    }
}

/// The kind of a text that is a Kubernetes object.
fn kind_of(text: &str) -> Option<String> {
    let nodes = yaml::documents(text).ok()?;
    nodes
        .iter()
        .find_map(|node| node.get("kind").filter(|_| node.get("apiVersion").is_some())?.text().map(str::to_owned))
}

/// The namespace of the pod in which this process runs; outside a cluster, `portreeve`.
fn own_namespace() -> String {
    let name = read_any(Path::new(OWN_NAMESPACE_FILE), MAX_FILE_BYTES).and_then(into_text).unwrap_or_default();
    if name.trim().is_empty() { "portreeve".to_owned() } else { name.trim().to_owned() }
}
