//! The configuration: one YAML or JSON file, every key optional, read once into values that are already checked.
//! Unknown keys are refused with a suggestion; nothing here is read twice.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::admission::children::Children;
use crate::admission::decide::UnchangedTemplates;
use crate::admission::exempt::DEFAULT_TRUSTED_CONTROLLERS;
use crate::base::text::{byte_size, duration};
use crate::http::url::PlainHttp;
use crate::kube::api::{ApiSettings, ApiUrl};
use crate::kube::object_name::is_dns_label;
use crate::logging::Format;
use crate::policy::Mode;
use crate::schemes::notary::query::WhenUnavailable;
use crate::schemes::notary::servers::{TrustServers, TrustServersError};
use crate::yaml::{self, YamlError};
use portreeve_verify::text::printable;
use portreeve_verify::tuf::anchor::FirstUse;

/// The most bytes a configuration file may have.
const FILE_CAP: u64 = 1 << 20;

/// Where a pod finds its own namespace.
const OWN_NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where `/admit`, `/validate` and the health paths are served over TLS.
    pub listen: SocketAddr,
    /// Where `/metrics` and the health paths are served in the clear; `None` turns it off.
    pub metrics_listen: Option<SocketAddr>,
    /// The serving certificate.
    pub tls: TlsFiles,
    /// Portreeve's own namespace: where cluster policies' signer secrets come from.
    pub namespace: String,
    /// Directories of policy files.
    pub policies: Vec<PathBuf>,
    /// Signers' keys, as `<namespace>/<secret>/<key>`.
    pub secrets: PathBuf,
    /// Docker configs that count for every namespace.
    pub registries: PathBuf,
    /// Is the Kubernetes API asked for pull secrets and signers' keys?
    pub ask_api: AskApi,
    /// How it is asked.
    pub api: ApiSettings,
    /// Trust.
    pub trust: TrustConfig,
    /// `warn`: decide, log, count and warn, but let in.
    pub mode: Mode,
    /// Users whose children of verified owners pass.
    pub trusted_controllers: Vec<String>,
    /// Are the images of a pod template verified by an UPDATE that changes none of them?
    pub unchanged_templates: UnchangedTemplates,
    /// Are the images of trusted controllers' children compared with their owners'?
    pub children: Children,
    /// Limits.
    pub limits: Limits,
    /// How log lines look.
    pub log_format: Format,
    /// What is logged.
    pub log_level: log::LevelFilter,
}

/// How trust data is had and what it must be.
#[derive(Clone, Debug)]
pub struct TrustConfig {
    /// A PEM bundle added to the built-in roots; may be absent.
    pub ca: PathBuf,
    /// Which trust server speaks for which registry.
    pub servers: TrustServers,
    /// Where verified metadata is kept for the next start; `None`: in memory alone.
    pub cache: Option<PathBuf>,
    /// How old a verified timestamp may be before it is asked for again.
    pub refresh_after: Duration,
    /// What stored data may do while a server is away, where policy does not say.
    pub when_unavailable: WhenUnavailable,
    /// May a root that nobody pinned be trusted?
    pub first_use: FirstUse,
    /// May trust servers be plain HTTP?
    pub plain_http: PlainHttp,
}

/// Is the Kubernetes API asked for pull secrets, and for signers' keys that are not mounted?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskApi {
    /// Never.
    No,
    /// As soon as one is needed.
    Yes,
}

/// Files of the serving side.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key (PKCS#8, PKCS#1 or SEC 1).
    pub key: PathBuf,
    /// PEM bundle of CAs that clients' certificates must chain to; `None`: no client certificate is asked for.
    pub client_ca: Option<PathBuf>,
}

/// What a client may take of us. Each is named after what it stops.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that may have a request in hand, both listeners together, health probes aside. An eighth of them, at
    /// most 16, is the plain listener's own. Each listener lets in half as many more, at most 16, which only probes and
    /// newcomers can hold; past that, the one that has brought nothing for longest is closed for a new one.
    pub connections: usize,
    /// Threads that decide admissions.
    pub workers: usize,
    /// Admissions that may wait for a worker; one more is answered 503.
    pub queue: usize,
    /// Bytes of a request's head (request line and headers).
    pub head_bytes: usize,
    /// Bytes of a request's body; more is answered 413.
    pub request_bytes: usize,
    /// Bytes of all requests' bodies together, beyond 64 KiB of each; a request that would exceed it is answered 503.
    pub body_memory: usize,
    /// Bytes of verified trust data that are remembered in memory.
    pub trust_memory: usize,
    /// Bytes of memory in which trust data is read and verified, for all requests together.
    pub verify_memory: usize,
    /// The most bytes that are stored under `trust.cache`.
    pub trust_cache: usize,
    /// A TLS handshake must be done by then.
    pub handshake_time: Duration,
    /// A request's head must be there by then, counted from its first byte.
    pub head_time: Duration,
    /// A request, head and body, must be there by then, counted from its first byte.
    pub request_time: Duration,
    /// An answer must have been taken by the client by then.
    pub answer_time: Duration,
    /// A connection may be idle between requests for this long; before its first one, for `request_time` at most.
    pub idle_time: Duration,
    /// An admission is answered by then, where the client names no `?timeout=`.
    pub admission_time: Duration,
    /// After SIGTERM, requests are still taken for so long, though not ready any more: other nodes need a moment to
    /// learn that nobody is to be sent here.
    pub shutdown_delay: Duration,
    /// Finishing what is in hand after that may take this long.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            workers: 8,
            queue: 128,
            head_bytes: 16 << 10,
            request_bytes: 8 << 20,
            body_memory: 16 << 20,
            trust_memory: 16 << 20,
            verify_memory: 48 << 20,
            trust_cache: 512 << 20,
            handshake_time: Duration::from_secs(5),
            head_time: Duration::from_secs(5),
            request_time: Duration::from_secs(10),
            answer_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(120),
            admission_time: Duration::from_secs(10),
            shutdown_delay: Duration::ZERO,
            drain_time: Duration::from_secs(20),
        }
    }
}

impl Config {
    /// The configuration in a file; without one, all defaults.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = file else { return Self::from_wire(Wire::default(), Path::new("(defaults)")) };
        let text = read_capped(path).map_err(|source| ConfigError::Unreadable { file: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// The configuration in a text; `file` names it in errors.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        // A file of comments alone is an empty configuration.
        let wire: Option<Wire> =
            yaml::read(text).map_err(|source| ConfigError::Syntax { file: file.to_owned(), source })?;
        Self::from_wire(wire.unwrap_or_default(), file)
    }

    fn from_wire(wire: Wire, file: &Path) -> Result<Self, ConfigError> {
        let check = Checker { file };
        let Wire { listen, metrics_listen, namespace, policies, secrets, .. } = wire;
        // A section whose keys are all commented out is an empty one.
        let (tls, credentials) = (wire.tls.unwrap_or_default(), wire.credentials.unwrap_or_default());
        let (trust, admission) = (wire.trust.unwrap_or_default(), wire.admission.unwrap_or_default());
        let (limits, log) = (wire.limits.unwrap_or_default(), wire.log.unwrap_or_default());
        let metrics_listen = match metrics_listen.as_deref() {
            None => Some(check.address("metricsListen", "0.0.0.0:8080")?),
            Some("") => None,
            Some(text) => Some(check.address("metricsListen", text)?),
        };
        let plain_http =
            if trust.allow_plain_http.unwrap_or(false) { PlainHttp::DangerouslyAllowed } else { PlainHttp::Refused };
        let servers = TrustServers::new(trust.servers.unwrap_or_default(), plain_http)
            .map_err(|source| ConfigError::Servers { file: file.to_owned(), source })?;
        let max_stale = check.duration("trust.maxStale", trust.max_stale, Duration::ZERO)?;
        let when_unavailable = match trust.when_unavailable.unwrap_or(WireUnavailable::Deny) {
            WireUnavailable::UseCached if max_stale.is_zero() => {
                return Err(check.wrong(
                    "trust.maxStale",
                    "0s",
                    "how old stored data may be, such as 24h, with useCached",
                ));
            }
            WireUnavailable::UseCached => WhenUnavailable::UseCached { max_stale },
            WireUnavailable::Deny => WhenUnavailable::Deny,
        };
        let default_controllers = || DEFAULT_TRUSTED_CONTROLLERS.iter().map(|&user| user.to_owned()).collect();
        Ok(Self {
            listen: check.address("listen", listen.as_deref().unwrap_or("0.0.0.0:8000"))?,
            metrics_listen,
            tls: TlsFiles {
                certificate: tls.certificate.unwrap_or_else(|| "/etc/certs/tls.crt".into()),
                key: tls.key.unwrap_or_else(|| "/etc/certs/tls.key".into()),
                client_ca: tls.client_ca.filter(|path| !path.as_os_str().is_empty()),
            },
            namespace: match namespace {
                None => own_namespace(),
                Some(name) if is_dns_label(&name) => name,
                Some(name) => return Err(check.wrong("namespace", name, "a namespace: a-z, 0-9 and -, at most 63")),
            },
            policies: policies.unwrap_or_else(|| vec!["/etc/portreeve/policies".into()]),
            secrets: secrets.unwrap_or_else(|| "/etc/portreeve/secrets".into()),
            registries: credentials.mounted.unwrap_or_else(|| "/etc/portreeve/registries".into()),
            ask_api: if credentials.kubernetes.unwrap_or(false) { AskApi::Yes } else { AskApi::No },
            api: check.api(credentials.api.unwrap_or_default())?,
            trust: TrustConfig {
                ca: trust.ca.unwrap_or_else(|| "/etc/certs/ca.pem".into()),
                servers,
                cache: trust.cache.filter(|path| !path.as_os_str().is_empty()),
                refresh_after: check.duration("trust.refreshAfter", trust.refresh_after, Duration::from_secs(30))?,
                when_unavailable,
                first_use: if trust.require_pinned_roots.unwrap_or(false) {
                    FirstUse::Forbidden
                } else {
                    FirstUse::Allowed
                },
                plain_http,
            },
            mode: match admission.mode.unwrap_or(WireMode::Enforce) {
                WireMode::Enforce => Mode::Enforce,
                WireMode::Warn => Mode::Warn,
            },
            trusted_controllers: admission.trusted_controllers.unwrap_or_else(default_controllers),
            unchanged_templates: match admission.unchanged_templates.unwrap_or(WireUnchanged::Skip) {
                WireUnchanged::Verify => UnchangedTemplates::Verify,
                WireUnchanged::Skip => UnchangedTemplates::Skip,
            },
            children: match admission.children.unwrap_or(WireChildren::Trust) {
                WireChildren::Trust => Children::Trust,
                WireChildren::Compare => Children::Compare,
            },
            limits: check.limits(limits)?,
            log_format: match log.format {
                None => Format::for_stderr(),
                Some(WireFormat::Json) => Format::Json,
                Some(WireFormat::Text) => Format::Text,
            },
            log_level: match log.level.unwrap_or(WireLevel::Info) {
                WireLevel::Error => log::LevelFilter::Error,
                WireLevel::Warn => log::LevelFilter::Warn,
                WireLevel::Info => log::LevelFilter::Info,
                WireLevel::Debug => log::LevelFilter::Debug,
            },
        })
    }
}

fn read_capped(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_CAP + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_CAP {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(text)
}

/// The namespace of the pod that we run in, or `portreeve` outside a cluster.
fn own_namespace() -> String {
    let name = std::fs::read_to_string(OWN_NAMESPACE_FILE).unwrap_or_default();
    if name.trim().is_empty() { "portreeve".to_owned() } else { name.trim().to_owned() }
}

/// Turns texts into values, and names the key where one is wrong.
struct Checker<'a> {
    file: &'a Path,
}

impl Checker<'_> {
    fn wrong(&self, key: &'static str, found: impl Into<String>, expected: &'static str) -> ConfigError {
        ConfigError::Value { file: self.file.to_owned(), key, found: found.into(), expected }
    }

    fn address(&self, key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
        text.parse().map_err(|_| self.wrong(key, text, "an address and port such as 0.0.0.0:8000 or [::]:8000"))
    }

    fn duration(&self, key: &'static str, text: Option<String>, default: Duration) -> Result<Duration, ConfigError> {
        let Some(text) = text else { return Ok(default) };
        duration(&text).ok_or_else(|| self.wrong(key, text, "a duration such as 30s, 5m or 24h"))
    }

    fn time_limit(&self, key: &'static str, text: Option<String>, default: Duration) -> Result<Duration, ConfigError> {
        let limit = self.duration(key, text, default)?;
        if limit.is_zero() {
            return Err(self.wrong(key, "0s", "a duration longer than nothing: there is no unlimited wait"));
        }
        Ok(limit)
    }

    fn count(
        &self,
        key: &'static str,
        count: Option<usize>,
        default: usize,
        most: usize,
    ) -> Result<usize, ConfigError> {
        let count = count.unwrap_or(default);
        if count == 0 || count > most {
            return Err(self.wrong(key, count.to_string(), "a number from 1 to 65536 (workers: to 1024)"));
        }
        Ok(count)
    }

    fn bytes(&self, key: &'static str, text: Option<WireSize>, default: usize) -> Result<usize, ConfigError> {
        let (text, bytes) = match text {
            None => return Ok(default),
            Some(WireSize::Bytes(bytes)) => (bytes.to_string(), Some(bytes)),
            Some(WireSize::Text(text)) => (text.clone(), byte_size(&text)),
        };
        bytes
            .filter(|bytes| (1024..=1 << 30).contains(bytes))
            .ok_or_else(|| self.wrong(key, text, "a size from 1KiB to 1GiB such as 64KiB or 8MiB"))
    }

    fn api(&self, wire: WireApi) -> Result<ApiSettings, ConfigError> {
        let default = ApiSettings::default();
        let server = wire.server.filter(|url| !url.is_empty());
        let server = match server.as_deref().map(|url| (url, ApiUrl::parse(url))) {
            Some((url, None)) => {
                return Err(self.wrong("credentials.api.server", url, "an address such as https://10.96.0.1:443"));
            }
            Some((_, known)) => known,
            None => None,
        };
        Ok(ApiSettings { server, token: wire.token.unwrap_or(default.token), ca: wire.ca.unwrap_or(default.ca) })
    }

    fn limits(&self, wire: WireLimits) -> Result<Limits, ConfigError> {
        let default = Limits::default();
        Ok(Limits {
            connections: self.count("limits.connections", wire.connections, default.connections, 65_536)?,
            workers: self.count("limits.workers", wire.workers, default.workers, 1024)?,
            queue: self.count("limits.queue", wire.queue, default.queue, 65_536)?,
            head_bytes: self.bytes("limits.headBytes", wire.head_bytes, default.head_bytes)?,
            request_bytes: self.bytes("limits.requestBytes", wire.request_bytes, default.request_bytes)?,
            body_memory: self.bytes("limits.bodyMemory", wire.body_memory, default.body_memory)?,
            trust_memory: self.bytes("limits.trustMemory", wire.trust_memory, default.trust_memory)?,
            verify_memory: self.bytes("limits.verifyMemory", wire.verify_memory, default.verify_memory)?,
            trust_cache: self.bytes("limits.trustCache", wire.trust_cache, default.trust_cache)?,
            handshake_time: self.time_limit("limits.handshakeTime", wire.handshake_time, default.handshake_time)?,
            head_time: self.time_limit("limits.headTime", wire.head_time, default.head_time)?,
            request_time: self.time_limit("limits.requestTime", wire.request_time, default.request_time)?,
            answer_time: self.time_limit("limits.answerTime", wire.answer_time, default.answer_time)?,
            idle_time: self.time_limit("limits.idleTime", wire.idle_time, default.idle_time)?,
            admission_time: self.time_limit("limits.admissionTime", wire.admission_time, default.admission_time)?,
            shutdown_delay: self.duration("limits.shutdownDelay", wire.shutdown_delay, default.shutdown_delay)?,
            drain_time: self.time_limit("limits.drainTime", wire.drain_time, default.drain_time)?,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
struct Wire {
    listen: Option<String>,
    metrics_listen: Option<String>,
    tls: Option<WireTls>,
    namespace: Option<String>,
    policies: Option<Vec<PathBuf>>,
    secrets: Option<PathBuf>,
    credentials: Option<WireCredentials>,
    trust: Option<WireTrust>,
    admission: Option<WireAdmission>,
    limits: Option<WireLimits>,
    log: Option<WireLog>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
struct WireTls {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
struct WireCredentials {
    mounted: Option<PathBuf>,
    kubernetes: Option<bool>,
    api: Option<WireApi>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
struct WireApi {
    server: Option<String>,
    token: Option<PathBuf>,
    ca: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
struct WireTrust {
    ca: Option<PathBuf>,
    servers: Option<BTreeMap<String, String>>,
    cache: Option<PathBuf>,
    refresh_after: Option<String>,
    when_unavailable: Option<WireUnavailable>,
    max_stale: Option<String>,
    require_pinned_roots: Option<bool>,
    allow_plain_http: Option<bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "deny or useCached")]
enum WireUnavailable {
    Deny,
    UseCached,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
struct WireAdmission {
    mode: Option<WireMode>,
    trusted_controllers: Option<Vec<String>>,
    unchanged_templates: Option<WireUnchanged>,
    children: Option<WireChildren>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "trust or compare")]
enum WireChildren {
    Trust,
    Compare,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "skip or verify")]
enum WireUnchanged {
    Verify,
    Skip,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "enforce or warn")]
enum WireMode {
    Enforce,
    Warn,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
struct WireLimits {
    connections: Option<usize>,
    workers: Option<usize>,
    queue: Option<usize>,
    head_bytes: Option<WireSize>,
    request_bytes: Option<WireSize>,
    body_memory: Option<WireSize>,
    trust_memory: Option<WireSize>,
    verify_memory: Option<WireSize>,
    trust_cache: Option<WireSize>,
    handshake_time: Option<String>,
    head_time: Option<String>,
    request_time: Option<String>,
    answer_time: Option<String>,
    idle_time: Option<String>,
    admission_time: Option<String>,
    shutdown_delay: Option<String>,
    drain_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a size such as 64KiB or 8MiB")]
enum WireSize {
    Bytes(usize),
    Text(String),
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
struct WireLog {
    format: Option<WireFormat>,
    level: Option<WireLevel>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "json or text")]
enum WireFormat {
    Json,
    Text,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "error, warn, info or debug")]
enum WireLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// A configuration that cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not YAML, an unknown key, a value of the wrong type.
    Syntax {
        /// The file.
        file: PathBuf,
        /// What and where.
        source: YamlError,
    },
    /// A value that cannot be.
    Value {
        /// The file.
        file: PathBuf,
        /// The key, with dots.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// An entry of `trust.servers`.
    Servers {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: TrustServersError,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, source } => write!(f, "{}: cannot be read: {source}", file.display()),
            Self::Syntax { file, source } => write!(f, "{}:{source}", file.display()),
            Self::Value { file, key, found, expected } => {
                write!(f, "{}: {key}: found \"{}\", expected {expected}", file.display(), printable(found, 120))
            }
            Self::Servers { file, source } => write!(f, "{}: trust.servers: {source}", file.display()),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Syntax { source, .. } => Some(source),
            Self::Value { .. } => None,
            Self::Servers { source, .. } => Some(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("c.yaml")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_of_the_documentation_loads() {
        let config = parse(
            r#"
listen: "0.0.0.0:8000"
metricsListen: ""
tls: { certificate: /etc/certs/tls.crt, key: /etc/certs/tls.key, clientCa: "" }
policies: [/etc/portreeve/policies]
secrets: /etc/portreeve/secrets
credentials: { mounted: /etc/portreeve/registries, kubernetes: false }
trust:
  ca: /etc/certs/ca.pem
  servers: { "registry.local:9001": "https://notary.local:4443" }
  refreshAfter: 30s
  whenUnavailable: useCached
  maxStale: 24h
  requirePinnedRoots: true
admission: { mode: warn, unchangedTemplates: verify, children: compare }
limits: { connections: 64, requestBytes: 4MiB, headBytes: 8192, trustMemory: 4MiB, trustCache: 64MiB }
log: { format: text, level: debug }
"#,
        )
        .unwrap();
        assert_eq!(config.metrics_listen, None);
        assert_eq!(config.tls.client_ca, None);
        assert_eq!(
            config.trust.when_unavailable,
            WhenUnavailable::UseCached { max_stale: Duration::from_secs(86_400) }
        );
        assert_eq!(config.trust.first_use, FirstUse::Forbidden);
        assert_eq!(
            (config.limits.connections, config.limits.request_bytes, config.limits.head_bytes),
            (64, 4 << 20, 8192)
        );
        assert_eq!(config.limits.trust_memory, 4 << 20);
        assert_eq!(config.limits.trust_cache, 64 << 20);
        assert_eq!(config.mode, Mode::Warn);
        assert_eq!((config.unchanged_templates, config.children), (UnchangedTemplates::Verify, Children::Compare));
        assert!(config.trust.servers.for_host("registry.local:9001").is_some());
        assert!(config.trust.servers.for_host("docker.io").is_some());
    }

    #[test]
    fn the_defaults_that_the_readme_lists_are_the_defaults() {
        let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md"));
        let (_, listing) = page.split_once("These are the defaults:\n\n```yaml\n").unwrap();
        let (listing, _) = listing.split_once("```").unwrap();
        let (mut listed, default) = (parse(listing).unwrap(), parse("").unwrap());
        // `text` on a terminal.
        listed.log_format = default.log_format;
        assert_eq!(format!("{listed:#?}"), format!("{default:#?}"));
        for key in ["maxStale", "children", "unchangedTemplates", "verifyMemory", "trustCache", "clientCa", "level"] {
            assert!(listing.contains(key), "{key}");
        }
    }

    #[test]
    fn nothing_at_all_is_the_defaults() {
        for text in ["", "# nothing yet\n", "{}", "tls:\ncredentials:\ntrust:\nadmission:\nlimits:\nlog:\n"] {
            let config = parse(text).unwrap();
            assert_eq!(config.listen.port(), 8000);
            assert_eq!(config.metrics_listen.unwrap().port(), 8080);
            assert_eq!(config.trust.when_unavailable, WhenUnavailable::Deny);
            assert_eq!((config.unchanged_templates, config.children), (UnchangedTemplates::Skip, Children::Trust));
        }
    }

    #[test]
    fn the_api_is_asked_only_where_it_is_switched_on() {
        for text in ["{}", "credentials: { kubernetes: false, api: { server: \"https://10.96.0.1\" } }"] {
            assert_eq!(parse(text).unwrap().ask_api, AskApi::No, "{text}");
        }
        let config = parse("credentials: { kubernetes: true, api: { server: \"\" } }").unwrap();
        let api = config.api;
        assert_eq!(
            (config.ask_api, api.server, api.token),
            (AskApi::Yes, None, "/var/run/secrets/kubernetes.io/serviceaccount/token".into())
        );
        let text = "credentials: { kubernetes: true, api: { server: \"https://[fd00::1]:6443/\", token: t, ca: c } }";
        let api = parse(text).unwrap().api;
        assert_eq!(api.server.unwrap().to_string(), "https://[fd00::1]:6443");
        assert_eq!((api.token, api.ca), ("t".into(), "c".into()));
    }

    #[test]
    fn mistakes_are_told_with_their_place_and_a_hint() {
        for (text, expected) in [
            ("lisen: x\n", "c.yaml:1:1: unknown field \"lisen\": did you mean \"listen\"?"),
            ("trust:\n  maxstale: 3s\n", "c.yaml:2:3: unknown field \"maxstale\": did you mean \"maxStale\"?"),
            ("admission: { mode: wran }\n", "c.yaml:1:20: unknown value \"wran\": did you mean \"warn\"?"),
            ("listen: here\n", "c.yaml: listen: found \"here\", expected an address"),
            ("trust: { refreshAfter: 5 }", "c.yaml:1:24: invalid type: integer `5`, expected a string"),
            ("trust: { refreshAfter: soon }", "c.yaml: trust.refreshAfter: found \"soon\", expected a duration"),
            ("listen: \"a\\e[31m\\tb\"\n", "c.yaml: listen: found \"a\u{fffd}[31m\u{fffd}b\", expected an address"),
            ("trust: { whenUnavailable: useCached }", "c.yaml: trust.maxStale: found \"0s\""),
            (
                "admission: { unchangedTemplates: true }",
                "c.yaml:1:34: invalid type: boolean `true`, expected skip or verify",
            ),
            ("limits: { headBytes: true }", "c.yaml:1:22: expected a size such as 64KiB or 8MiB"),
            ("tls: x", "c.yaml:1:6: invalid type: string \"x\", expected a mapping"),
            ("limits: { workers: 0 }", "c.yaml: limits.workers: found \"0\""),
            ("limits: { idleTime: 0s }", "c.yaml: limits.idleTime: found \"0s\""),
            ("limits: { requestBytes: 8MB }", "c.yaml: limits.requestBytes: found \"8MB\""),
            ("credentials: { api: { server: \"http://h\" } }", "c.yaml: credentials.api.server: found \"http://h\""),
            ("credentials: { api: { server: \"file:///h\" } }", "c.yaml: credentials.api.server: found"),
            ("credentials: { api: { tokn: x } }", "c.yaml:1:23: unknown field \"tokn\": did you mean \"token\"?"),
            ("trust: { servers: { \"a/b\": \"https://x\" } }", "c.yaml: trust.servers: \"a/b\""),
            ("namespace: \"\"", "c.yaml: namespace: found \"\", expected a namespace"),
            ("namespace: ../x", "c.yaml: namespace: found \"../x\""),
            ("log: {}\nlog: {}", "c.yaml:2:1: \"log\" stands twice in one mapping"),
            ("- a\n", "c.yaml:1:1: "),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
