//! Checks of single values. An error names the file and the key, with what was found and what was expected.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::schema::DOCUMENT;
use super::{ConfigError, TrustConfig, TrustLimits};
use crate::admission::exempt::DEFAULT_TRUSTED_CONTROLLERS;
use crate::base::text::{byte_size, duration};
use crate::http::url::PlainHttp;
use crate::kube::api::{ApiSettings, ApiUrl};
use crate::registry::oci::places::Registries;
use crate::schemes::WhenUnavailable;
use crate::schemes::notary::servers::TrustServers;
use crate::server::settings::{Limits, Settings, TlsFiles};
use crate::yaml::tree::{Node, Value};
use portreeve_verify::tuf::FirstUse;

/// Reads and checks the values of the configuration. Keys are written with dots. A key that is absent or null in every file
/// has its default, and so has each key of a section that is absent or null.
pub(super) struct Checker<'a> {
    /// The files, each in the shape of [`DOCUMENT`]. The last one that has a key decides on it.
    pub(super) files: &'a [(PathBuf, Node)],
}

impl Checker<'_> {
    pub(super) fn wrong(&self, key: &'static str, found: impl Into<String>, expected: &'static str) -> ConfigError {
        ConfigError::Value { file: self.file(key), key, found: found.into(), expected }
    }

    /// The file that decides on a key, for errors.
    pub(super) fn file(&self, key: &'static str) -> PathBuf {
        let deciding = self.files.iter().rfind(|(_, document)| value(document, key).is_some());
        deciding.or(self.files.last()).map_or_else(|| "(defaults)".into(), |(file, _)| file.clone())
    }

    /// Is the key in a file, with a value?
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    pub(super) fn find(&self, key: &'static str) -> Option<&Node> {
        debug_assert!(DOCUMENT.has(key), "{key} is not in the schema");
        self.files.iter().rev().find_map(|(_, document)| value(document, key))
    }

    pub(super) fn text(&self, key: &'static str) -> Option<&str> {
        self.find(key)?.text()
    }

    /// A string, or the default.
    pub(super) fn path(&self, key: &'static str, default: &str) -> PathBuf {
        self.text(key).unwrap_or(default).into()
    }

    /// A path; absent or `""` in the file means none.
    fn path_unless_empty(&self, key: &'static str) -> Option<PathBuf> {
        self.text(key).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// The strings of a list; `None` if it is absent.
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<&str>> {
        match &self.find(key)?.value {
            Value::List(items) => Some(items.iter().filter_map(Node::text).collect()),
            _ => None,
        }
    }

    /// The users of `admission.trustedControllers`: a list replaces the defaults, and `add` is added to them.
    pub(super) fn trusted_controllers(&self) -> Vec<String> {
        const KEY: &str = "admission.trustedControllers";
        let owned = |users: Vec<&str>| users.into_iter().map(str::to_owned).collect();
        if let Some(users) = self.texts(KEY) {
            return owned(users);
        }
        let mut users = DEFAULT_TRUSTED_CONTROLLERS.to_vec();
        let added = self.find(KEY).and_then(|mapping| mapping.get("add"));
        if let Some(Node { value: Value::List(items), .. }) = added {
            users.extend(items.iter().filter_map(Node::text));
        }
        owned(users)
    }

    /// The entries of a mapping with any keys, of all files.
    fn map(&self, key: &'static str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for (_, document) in self.files {
            if let Some(Node { value: Value::Map(entries), .. }) = value(document, key) {
                for (key, value) in entries {
                    map.insert(key.text.clone(), value.text().unwrap_or_default().to_owned());
                }
            }
        }
        map
    }

    pub(super) fn is_on(&self, key: &'static str) -> bool {
        matches!(self.find(key), Some(Node { value: Value::Bool(true), .. }))
    }

    /// What a word stands for. No word of the schema is without a meaning, so the error is that of a mistake of ours.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let Some(word) = self.text(key) else { return Ok(default) };
        let found = choices.iter().find(|(name, _)| *name == word);
        found.map(|&(_, meaning)| meaning).ok_or_else(|| self.wrong(key, word, "a word with a meaning"))
    }

    pub(super) fn address(&self, key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
        text.parse().map_err(|_| self.wrong(key, text, "an address and port such as [::]:8000 or 10.0.0.1:8000"))
    }

    pub(super) fn duration(&self, key: &'static str, default: Duration) -> Result<Duration, ConfigError> {
        let Some(text) = self.text(key) else { return Ok(default) };
        duration(text).ok_or_else(|| self.wrong(key, text, "a duration such as 30s, 5m or 24h"))
    }

    pub(super) fn time_limit(&self, key: &'static str, default: Duration) -> Result<Duration, ConfigError> {
        let limit = self.duration(key, default)?;
        if limit.is_zero() {
            return Err(self.wrong(key, "0s", "a duration above zero: no wait is unlimited"));
        }
        Ok(limit)
    }

    pub(super) fn count(&self, key: &'static str, default: usize, most: usize) -> Result<usize, ConfigError> {
        let count = self.find(key).and_then(Node::count).unwrap_or(default);
        if count == 0 || count > most {
            return Err(self.wrong(key, count.to_string(), "a number from 1 to 65536 (workers: to 1024)"));
        }
        Ok(count)
    }

    pub(super) fn bytes(&self, key: &'static str, default: usize) -> Result<usize, ConfigError> {
        let Some(node) = self.find(key) else { return Ok(default) };
        let (text, bytes) = match (node.count(), node.text().unwrap_or_default()) {
            (Some(bytes), _) => (bytes.to_string(), Some(bytes)),
            (None, text) => (text.to_owned(), byte_size(text)),
        };
        bytes
            .filter(|bytes| (1024..=1 << 30).contains(bytes))
            .ok_or_else(|| self.wrong(key, text, "a size from 1KiB to 1GiB such as 64KiB or 8MiB"))
    }

    pub(super) fn server(&self, limits: Limits) -> Result<Settings, ConfigError> {
        Ok(Settings {
            listen: self.address("listen", self.text("listen").unwrap_or("[::]:8000"))?,
            metrics_listen: match self.text("metricsListen").unwrap_or("[::]:8080") {
                "" => None,
                text => Some(self.address("metricsListen", text)?),
            },
            tls: TlsFiles {
                certificate: self.path("tls.certificate", "/etc/certs/tls.crt"),
                key: self.path("tls.key", "/etc/certs/tls.key"),
                client_ca: self.path_unless_empty("tls.clientCa"),
            },
            limits,
        })
    }

    pub(super) fn trust(&self, limits: TrustLimits) -> Result<TrustConfig, ConfigError> {
        let plain_http = match self.is_on("trust.allowPlainHttp") {
            true => PlainHttp::DangerouslyAllowed,
            false => PlainHttp::Refused,
        };
        let servers = TrustServers::new(self.map("trust.servers"), plain_http)
            .map_err(|source| ConfigError::Servers { file: self.file("trust.servers"), source })?;
        let max_stale = self.duration("trust.maxStale", Duration::ZERO)?;
        let use_cached = WhenUnavailable::UseCached { max_stale };
        let choices = [("deny", WhenUnavailable::Deny), ("useCached", use_cached)];
        let when_unavailable = self.choice("trust.whenUnavailable", WhenUnavailable::Deny, &choices)?;
        if when_unavailable == use_cached && max_stale.is_zero() {
            let expected = "how old stored data may be, such as 24h, with useCached";
            return Err(self.wrong("trust.maxStale", "0s", expected));
        }
        Ok(TrustConfig {
            ca: self.path("trust.ca", "/etc/certs/ca.pem"),
            servers,
            cache: self.path_unless_empty("trust.cache"),
            refresh_after: self.duration("trust.refreshAfter", Duration::from_secs(30))?,
            when_unavailable,
            first_use: match self.is_on("trust.requirePinnedRoots") {
                true => FirstUse::Forbidden,
                false => FirstUse::Allowed,
            },
            plain_http,
            limits,
        })
    }

    pub(super) fn registries(&self, plain_http: PlainHttp) -> Result<Registries, ConfigError> {
        Registries::new(self.map("registries.endpoints"), self.map("registries.signatures"), plain_http)
            .map_err(|source| ConfigError::Registries { file: self.file("registries"), source })
    }

    pub(super) fn api(&self) -> Result<ApiSettings, ConfigError> {
        let mut api = ApiSettings::default();
        if let Some(url) = self.text("credentials.api.server").filter(|url| !url.is_empty()) {
            let known = ApiUrl::parse(url);
            if known.is_none() {
                return Err(self.wrong("credentials.api.server", url, "an address such as https://10.96.0.1:443"));
            }
            api.server = known;
        }
        if let Some(token) = self.text("credentials.api.token") {
            api.token = token.into();
        }
        if let Some(ca) = self.text("credentials.api.ca") {
            api.ca = ca.into();
        }
        Ok(api)
    }

    /// The limits of the server, and those of trust data.
    pub(super) fn limits(&self) -> Result<(Limits, TrustLimits), ConfigError> {
        let (default, trust) = (Limits::default(), TrustLimits::default());
        let server = Limits {
            connections: self.count("limits.connections", default.connections, 65_536)?,
            workers: self.count("limits.workers", default.workers, 1024)?,
            queue: self.count("limits.queue", default.queue, 65_536)?,
            head_bytes: self.bytes("limits.headBytes", default.head_bytes)?,
            request_bytes: self.bytes("limits.requestBytes", default.request_bytes)?,
            body_memory: self.bytes("limits.bodyMemory", default.body_memory)?,
            handshake_time: self.time_limit("limits.handshakeTime", default.handshake_time)?,
            head_time: self.time_limit("limits.headTime", default.head_time)?,
            request_time: self.time_limit("limits.requestTime", default.request_time)?,
            answer_time: self.time_limit("limits.answerTime", default.answer_time)?,
            idle_time: self.time_limit("limits.idleTime", default.idle_time)?,
            admission_time: self.time_limit("limits.admissionTime", default.admission_time)?,
            shutdown_delay: self.duration("limits.shutdownDelay", default.shutdown_delay)?,
            drain_time: self.time_limit("limits.drainTime", default.drain_time)?,
        };
        let trust = TrustLimits {
            memory: self.bytes("limits.trustMemory", trust.memory)?,
            verify_memory: self.bytes("limits.verifyMemory", trust.verify_memory)?,
            cache: self.bytes("limits.trustCache", trust.cache)?,
        };
        Ok((server, trust))
    }
}

/// What one file has under a key.
fn value<'a>(document: &'a Node, key: &str) -> Option<&'a Node> {
    key.split('.').try_fold(document, |section, name| section.get(name))
}
