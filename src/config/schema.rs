//! The shape of the configuration file. A key that is not listed here is an error, and so is a value of another type.
//! [`super::check`] turns these values into settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
pub(super) struct Document {
    pub(super) listen: Option<String>,
    pub(super) metrics_listen: Option<String>,
    pub(super) tls: Option<TlsSection>,
    pub(super) namespace: Option<String>,
    pub(super) policies: Option<Vec<PathBuf>>,
    pub(super) secrets: Option<PathBuf>,
    pub(super) credentials: Option<CredentialsSection>,
    pub(super) trust: Option<TrustSection>,
    pub(super) registries: Option<RegistriesSection>,
    pub(super) admission: Option<AdmissionSection>,
    pub(super) limits: Option<LimitsSection>,
    pub(super) log: Option<LogSection>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
pub(super) struct TlsSection {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
pub(super) struct CredentialsSection {
    pub(super) mounted: Option<PathBuf>,
    pub(super) kubernetes: Option<bool>,
    pub(super) api: Option<ApiSection>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ApiSection {
    pub(super) server: Option<String>,
    pub(super) token: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
pub(super) struct TrustSection {
    pub(super) ca: Option<PathBuf>,
    pub(super) servers: Option<BTreeMap<String, String>>,
    pub(super) cache: Option<PathBuf>,
    pub(super) refresh_after: Option<String>,
    pub(super) when_unavailable: Option<WhenUnavailableWord>,
    pub(super) max_stale: Option<String>,
    pub(super) require_pinned_roots: Option<bool>,
    pub(super) allow_plain_http: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RegistriesSection {
    pub(super) endpoints: Option<BTreeMap<String, String>>,
    pub(super) signatures: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "deny or useCached")]
pub(super) enum WhenUnavailableWord {
    Deny,
    UseCached,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
pub(super) struct AdmissionSection {
    pub(super) mode: Option<ModeWord>,
    pub(super) trusted_controllers: Option<Vec<String>>,
    pub(super) unchanged_templates: Option<UnchangedWord>,
    pub(super) children: Option<ChildrenWord>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "trust or compare")]
pub(super) enum ChildrenWord {
    Trust,
    Compare,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "skip or verify")]
pub(super) enum UnchangedWord {
    Verify,
    Skip,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "enforce or warn")]
pub(super) enum ModeWord {
    Enforce,
    Warn,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
pub(super) struct LimitsSection {
    pub(super) connections: Option<usize>,
    pub(super) workers: Option<usize>,
    pub(super) queue: Option<usize>,
    pub(super) head_bytes: Option<Size>,
    pub(super) request_bytes: Option<Size>,
    pub(super) body_memory: Option<Size>,
    pub(super) trust_memory: Option<Size>,
    pub(super) verify_memory: Option<Size>,
    pub(super) trust_cache: Option<Size>,
    pub(super) handshake_time: Option<String>,
    pub(super) head_time: Option<String>,
    pub(super) request_time: Option<String>,
    pub(super) answer_time: Option<String>,
    pub(super) idle_time: Option<String>,
    pub(super) admission_time: Option<String>,
    pub(super) shutdown_delay: Option<String>,
    pub(super) drain_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a size such as 64KiB or 8MiB")]
pub(super) enum Size {
    Bytes(usize),
    Text(String),
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping")]
pub(super) struct LogSection {
    pub(super) format: Option<FormatWord>,
    pub(super) level: Option<LevelWord>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "json or text")]
pub(super) enum FormatWord {
    Json,
    Text,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "error, warn, info or debug")]
pub(super) enum LevelWord {
    Error,
    Warn,
    Info,
    Debug,
}
